"""VAE of pytorch/examples: a hidden layer of 400 each way, 20 latents, Adam, ten epochs."""

import math
from itertools import chain, count

import torch
import torch.nn.functional as F
from torch import nn

from common import batches, mnist

STEPS, POINTS, PARAMETERS, DRAWS = 10 * 469, 10, 652_824, 500


def run(clock, device):
    """Train on grey values as its authors do, Adam at 1e-3, batches of 128 in random order.

    The measure, at half and at the end: nats per binarised test image, importance weighted with
    500 draws from q(z | grey image). The authors' own: the negative ELBO of grey test images.
    """
    data = mnist(device)
    grey = data.x_test.flatten(1) / 255
    hidden, means, log_variances = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
    decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))
    model = nn.ModuleList([hidden, means, log_variances, decoder]).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    binary = torch.bernoulli(grey.cpu(), generator=torch.Generator().manual_seed(1)).to(device)
    images = chain.from_iterable(batches(data.x_train, size=128) for _ in count())

    def draw(x, *samples):
        """Mean and log variance of q(z | x), the noise, and the latents drawn with it."""
        h = hidden(x).relu()
        mean, log_variance = means(h), log_variances(h)
        noise = torch.randn(*samples, *mean.shape, device=device)
        return mean, log_variance, noise, mean + (0.5 * log_variance).exp() * noise

    def loss_of(x):
        """The negative ELBO of grey images (B, P), summed over them as in the source."""
        mean, log_variance, _, z = draw(x)
        cost = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        return cost - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()

    def likelihood(x, target):
        """ln of the mean importance weight of draws from q(z | x), summed over images (B, P)."""
        _, log_variance, noise, z = draw(x, DRAWS)
        logits = decoder(z)
        log_weight = 0.5 * (noise**2 - z**2 + log_variance).sum(dim=2)
        log_weight += (logits * target).sum(dim=2) - F.softplus(logits).sum(dim=2)
        return (log_weight.logsumexp(dim=0) - math.log(DRAWS)).sum().item()

    @torch.no_grad()
    def evaluate():
        own = loss_of(grey).item() / len(grey)
        if clock.progress < 1 and len(clock.curve) % 5 != 4:
            return None, own
        return -sum(map(likelihood, grey.split(8), binary.split(8))) / len(grey), own

    clock.train(model, optimizer, lambda: loss_of(next(images)[0].flatten(1) / 255), evaluate)

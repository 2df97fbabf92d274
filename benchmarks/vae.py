"""The VAE of pytorch/examples: a hidden layer of 400 each way, 20 latents, Adam 1e-3, batch 128."""

import torch
import torch.nn.functional as F
from torch import nn

from common import autocast, mnist

SOURCE = "https://github.com/pytorch/examples/tree/main/vae"
PUBLISHED = "none in likelihood: it trains on grey values"
STEPS = 10 * 469
LATENT, WIDTH, BATCH = 20, 400, 128


def run(clock, device):
    """Train within the clock's budget; the metric is the test -ELBO in nats per binarised image."""
    data = mnist(device)
    pixels = data.x_train[0].numel()
    encoder = nn.Sequential(nn.Linear(pixels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2 * LATENT))
    decoder = nn.Sequential(nn.Linear(LATENT, WIDTH), nn.ReLU(), nn.Linear(WIDTH, pixels))
    model = nn.ModuleList([encoder, decoder]).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    grey = data.x_test.cpu().flatten(1) / 255
    test = torch.bernoulli(grey, generator=torch.Generator().manual_seed(1)).to(device)

    def negative_elbo(x):
        mean, log_variance = encoder(x).float().chunk(2, dim=1)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        cost = F.binary_cross_entropy_with_logits(decoder(z).float(), x, reduction="none")
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
        return cost.sum(dim=1) + kl.sum(dim=1)

    def step():
        rows = torch.randint(len(data.x_train), (BATCH,), device=device)
        with autocast(device):
            loss = negative_elbo(torch.bernoulli(data.x_train[rows].flatten(1) / 255)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def evaluate():
        return torch.stack([negative_elbo(test).mean() for _ in range(5)]).mean()

    clock.run(step, evaluate)

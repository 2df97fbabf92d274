"""The VAE of pytorch/examples: a hidden layer of 400 each way, 20 latents, Adam 1e-3, batch 128."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.clock import descend
from common import autocast, mnist

SOURCE = "https://github.com/pytorch/examples/tree/main/vae"
PUBLISHED = "none in likelihood: it trains on grey values"
STEPS = 10 * 469
SHORTER = {"epochs": 22}  # our notebook at a quarter of its training
LATENT, WIDTH, BATCH = 20, 400, 128
DRAWS = 500
POINTS = 4  # each evaluation takes a minute


def run(clock, device):
    """Train within the clock's budget; the metric is the importance-weighted test likelihood.

    As in the notebook: nats per binarised image, from 500 draws each (Burda et al. 2015).
    """
    data = mnist(device)
    pixels = data.x_train[0].numel()
    encoder = nn.Sequential(nn.Linear(pixels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2 * LATENT))
    decoder = nn.Sequential(nn.Linear(LATENT, WIDTH), nn.ReLU(), nn.Linear(WIDTH, pixels))
    model = nn.ModuleList([encoder, decoder]).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    grey = data.x_test.cpu().flatten(1) / 255
    test = torch.bernoulli(grey, generator=torch.Generator().manual_seed(1)).to(device)

    def draw(x, samples):
        """Mean, log variance, latents (K, B, D), and the costs -ln p(x | z), (K, B)."""
        mean, log_variance = encoder(x).float().chunk(2, dim=1)
        z = mean + (0.5 * log_variance).exp() * torch.randn(samples, *mean.shape, device=device)
        logits = decoder(z).float()
        cost = F.softplus(logits).sum(dim=2) - (logits * x).sum(dim=2)
        return mean, log_variance, z, cost

    def step():
        rows = torch.randint(len(data.x_train), (BATCH,), device=device)
        with autocast(device):
            x = torch.bernoulli(data.x_train[rows].flatten(1) / 255)
            mean, log_variance, _, cost = draw(x, 1)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
        descend(optimizer, (cost + kl).mean())

    @torch.no_grad()
    def evaluate():
        parts = []
        for x in test.split(8):
            with autocast(device):
                mean, log_variance, z, cost = draw(x, DRAWS)
            standard = (z - mean) ** 2 / log_variance.exp()
            log_weight = 0.5 * (standard - z**2 + log_variance).sum(dim=2) - cost
            parts.append(math.log(DRAWS) - log_weight.logsumexp(dim=0))
        return torch.cat(parts).mean()

    clock.run(step, evaluate)

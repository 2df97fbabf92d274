"""VAE on MNIST against the 784-400-20 perceptron of PyTorch's examples."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import transforms

from tests.benchmarks.shared import endless, loader

NOTEBOOK, DATA = "vae", "mnist"
NAMES = ["train", "VAE", "data", "test", "mean_image", "hidden_size", "latent_size", "batch_size"]
NAMES += ["reconstruction_cost", "kl_divergence"]
METRIC, UNIT, HIGHER_IS_BETTER = "test -ELBO", "nats per image", False
UPDATES = 4690  # of the baseline as published
CPU_MODE = "full"  # a perceptron: its full-mode sizes are no burden for a CPU
BASELINE = "pytorch/examples, vae: perceptron 784-400-20, Adam 1e-3, batch 128, 10 epochs, PIL and ToTensor"
OURS = "residual perceptrons, binarised anew in each epoch, one-cycle AdamW, batches indexed on the device"


class Perceptron(nn.Module):
    """784-400-20 and back, as in pytorch/examples/vae/main.py (settings as of 2024-05)."""

    def __init__(self):
        super().__init__()
        self.enter, self.mean, self.log_variance = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))

    def forward(self, x):
        """Images (B, 784) -> logits (B, 784), mean (B, 20), log variance (B, 20)."""
        hidden = F.relu(self.enter(x))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        return self.decoder(mean + (0.5 * log_variance).exp() * torch.randn_like(mean)), mean, log_variance


def baseline(side):
    n = side.notebook()
    torch.set_float32_matmul_precision("highest")
    workers = 1 if side.device.type == "cuda" else 0  # as published
    images = loader(n.data.x_train, n.data.y_train, transforms.ToTensor(), 128, workers)

    def train(steps):
        model = Perceptron().to(side.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for x, _ in side.watch(endless(images, steps)):
            x = x.to(side.device).flatten(1)
            logits, mean, log_variance = model(x)
            cost = F.binary_cross_entropy(torch.sigmoid(logits), x, reduction="sum")
            loss = cost - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
            optimizer.zero_grad()
            loss.backward()
            loss.item()  # the example adds it up in each step
            optimizer.step()
        return model

    def evaluate(model):
        logits, mean, log_variance = model(n.test)
        return (n.reconstruction_cost(logits, n.test) + n.kl_divergence(mean, log_variance)).mean()

    side.run(train, evaluate, batch=128, points=10, reference_step=10 * len(images))


def ours(side):
    n = side.notebook(watch="batches")
    per_epoch = math.ceil(len(n.data.x_train) / n.batch_size)

    def train(steps):
        model = n.VAE(n.mean_image, n.hidden_size, n.latent_size).to(side.device)
        n.train(model, max(1, steps // per_epoch), log=False)
        return model

    side.run(train, lambda model: sum(model(n.test)).mean(), batch=n.batch_size, points=30)

"""DDPM on MNIST against TeaPearce/Conditional_Diffusion_MNIST."""

import time

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import transforms

from common.yardstick import Yardstick
from tests.benchmarks.shared import endless, fd_evaluation, loader

NOTEBOOK, DATA = "ddpm", "mnist"
NAMES = ["train", "draw", "data", "UNet", "channels", "classes", "test_images", "test_labels", "batch_size", "compiled"]
NAMES += ["sampler_steps", "guidance_scale"]
METRIC, UNIT, HIGHER_IS_BETTER = "FD-c", "", False
UPDATES = 20 * 235  # of the baseline as published
CPU_MODE = "quick"
BASELINE = (
    "TeaPearce/Conditional_Diffusion_MNIST: noise prediction, linear schedule, 400 ancestral steps, Adam 1e-4 that "
    "falls linearly, batch 256, fp32, no average of weights, width 128 on a GPU; on a CPU width 16, since one "
    "training step of the published width takes most of the budget there"
)
OURS = "velocity prediction, cosine schedule, averaged weights, Adam 2e-3, DDIM with 20 evaluations"

# script.py (settings as of 2022-08, when it was last changed)
T, BATCH, RATE, DROP, WIDTH, CPU_WIDTH, WORKERS = 400, 256, 1e-4, 0.1, 128, 16, 5


def two_convolutions(inputs, outputs):
    layers = []
    for wide in (inputs, outputs):
        layers.append(nn.Sequential(nn.Conv2d(wide, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.GELU()))
    return nn.Sequential(*layers)


def embedding(inputs, size):
    return nn.Sequential(nn.Linear(inputs, size), nn.GELU(), nn.Linear(size, size), nn.Unflatten(1, (size, 1, 1)))


class ContextUNet(nn.Module):
    """Noisy images (B, 1, 28, 28), time (B,) and one-hot class (B, 10), 0 for none -> noise (B, 1, 28, 28)."""

    def __init__(self, width):
        super().__init__()
        W = width
        self.enter, self.enter_again = two_convolutions(1, W)
        self.down1 = nn.Sequential(two_convolutions(W, W), nn.MaxPool2d(2))  # 14x14
        self.down2 = nn.Sequential(two_convolutions(W, 2 * W), nn.MaxPool2d(2))  # 7x7
        self.bottom = nn.Sequential(nn.AvgPool2d(7), nn.GELU())
        self.up0 = nn.Sequential(nn.ConvTranspose2d(2 * W, 2 * W, 7, 7), nn.GroupNorm(8, 2 * W), nn.ReLU())
        self.up1, self.up2 = (
            nn.Sequential(nn.ConvTranspose2d(inputs, W, 2, 2), two_convolutions(W, W), two_convolutions(W, W))
            for inputs in (4 * W, 2 * W)
        )
        self.time, self.label = (nn.ModuleList([embedding(inputs, 2 * W), embedding(inputs, W)]) for inputs in (1, 10))
        self.leave = nn.Sequential(nn.Conv2d(2 * W, W, 3, 1, 1), nn.GroupNorm(8, W), nn.ReLU())
        self.last = nn.Conv2d(W, 1, 3, 1, 1)

    def forward(self, x, t, label):
        x = self.enter(x)
        x = (x + self.enter_again(x)) / 1.414
        down1 = self.down1(x)
        down2 = self.down2(down1)
        h = self.up0(self.bottom(down2))
        h = self.up1(torch.cat([self.label[0](label) * h + self.time[0](t[:, None]), down2], dim=1))
        h = self.up2(torch.cat([self.label[1](label) * h + self.time[1](t[:, None]), down1], dim=1))
        return self.last(self.leave(torch.cat([h, x], dim=1)))


def samples(side):
    return 1000 if side.device.type == "cuda" else 64  # scored against the 10,000 test images


def baseline(side):
    data, cuda = side.data(DATA), side.device.type == "cuda"
    yardstick, count = Yardstick(data), samples(side)
    torch.set_float32_matmul_precision("highest")
    batches = loader(data.x_train, data.y_train, transforms.ToTensor(), BATCH, workers=WORKERS)
    beta = torch.linspace(1e-4, 0.02, T + 1, device=side.device)
    alpha_bar = (1 - beta).cumprod(0)

    def loss_of(model, x, y):
        t, noise = torch.randint(1, T + 1, (len(x),), device=x.device), torch.randn_like(x)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        kept = (torch.rand(len(x), 1, device=x.device) > DROP).float()
        answer = model(a.sqrt() * x + (1 - a).sqrt() * noise, t / T, F.one_hot(y, 10).float() * kept)
        return F.mse_loss(answer, noise)

    def train(steps):
        model = ContextUNet(WIDTH if cuda else CPU_WIDTH).to(side.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        for step, (x, y) in enumerate(side.watch(endless(batches, steps))):
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)  # published: over 20 epochs
            loss = loss_of(model, x.to(side.device), y.to(side.device))
            optimizer.zero_grad()
            loss.backward()
            loss.item()  # the published loop shows it in each step
            optimizer.step()
        return model

    @torch.no_grad()
    def draw(model, count, steps=T):
        model.eval()
        label = F.one_hot(data.y_train[:count], 10).float()
        x = torch.randn(count, 1, 28, 28, device=side.device)
        for t in range(T, T - steps, -1):
            noise = model(x, torch.full((count,), t / T, device=side.device), label)
            x = (x - beta[t] / (1 - alpha_bar[t]).sqrt() * noise) / (1 - beta[t]).sqrt()
            x = x + beta[t].sqrt() * torch.randn_like(x) if t > 1 else x
        return x.clamp(0, 1)

    evaluate = fd_evaluation(side, yardstick, draw, count)
    side.run(train, evaluate, batch=BATCH, points=8 if cuda else 1)
    if not cuda:  # what the published width would take
        wide, began = ContextUNet(WIDTH), time.perf_counter()
        loss_of(wide, data.x_train[:16] / 255, data.y_train[:16]).backward()
        step = (time.perf_counter() - began) * BATCH / 16
        began = time.perf_counter()
        draw(wide, 10, steps=1)
        sampling = (time.perf_counter() - began) * T * 1000 / 10
        side.extra["as_published"] = {"seconds_per_step": round(step, 1), "sampling_seconds": round(sampling)}


def ours(side):
    n, cuda = side.notebook(watch="progress"), side.device.type == "cuda"
    if not cuda:  # the loss on 2,000 test images, which the notebook logs, is no part of training
        n.test_images, n.test_labels = n.test_images[:64], n.test_labels[:64]
    yardstick, count = Yardstick(n.data), samples(side)

    def train(steps):
        model = n.UNet(n.channels, n.classes).to(side.device)
        steps = max(8, steps)  # the notebook looks at test images eight times
        return n.train(model, steps, keep=[steps])[2][steps][1]

    def draw(model, count):
        return n.draw(model, n.data.y_train[:count], n.sampler_steps, scale=n.guidance_scale)

    evaluate = fd_evaluation(side, yardstick, draw, count)
    points = 20 if cuda else 3
    side.run(train, evaluate, batch=n.batch_size, points=points, subject="average", compiled=n.compiled)

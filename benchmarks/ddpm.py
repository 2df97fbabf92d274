"""Conditional DDPM on MNIST as in TeaPearce/Conditional_Diffusion_MNIST: 400 steps, width 128."""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.clock import descend
from common import autocast, mnist, to_device
from image_generation.sample_quality import SampleQuality

SOURCE = "https://github.com/TeaPearce/Conditional_Diffusion_MNIST"
PUBLISHED = "none on this scale"
STEPS = 20 * 235
SHORTER = {"train_steps": 1250}  # our notebook at a quarter of its training
WIDTH, BATCH, TIMES, SAMPLES, SAMPLER_STEPS = 128, 256, 400, 1000, 36
POINTS = 2  # each evaluation takes minutes
REMARK = (
    "Its samples are drawn in 36 steps of DDIM: its authors' 400 would take eleven times as long. "
    "Each of its points has 1,000 samples; 1,000 real images have an FD-c of 0.27 to 0.64."
)


def convolutions(channels, out):
    """Two 3x3 convolutions with batch norm and GELU."""
    layers = []
    for size in (channels, out):
        layers += [nn.Conv2d(size, out, 3, 1, 1), nn.BatchNorm2d(out), nn.GELU()]
    return nn.Sequential(*layers)


def embedding(inputs, outputs):
    """A perceptron from time or class to one number for each channel."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.GELU(), nn.Linear(outputs, outputs))


class UNet(nn.Module):
    """28, 14 and 7 pixels, then one vector, and back; time and class scale and shift on the way."""

    def __init__(self, side):
        super().__init__()
        low = side // 4
        self.first = convolutions(1, WIDTH)
        self.down1 = nn.Sequential(convolutions(WIDTH, WIDTH), nn.MaxPool2d(2))
        self.down2 = nn.Sequential(convolutions(WIDTH, 2 * WIDTH), nn.MaxPool2d(2))
        self.vector = nn.Sequential(nn.AvgPool2d(low), nn.GELU())
        self.time1, self.time2 = embedding(1, 2 * WIDTH), embedding(1, WIDTH)
        self.label1, self.label2 = embedding(10, 2 * WIDTH), embedding(10, WIDTH)
        self.up0 = nn.Sequential(
            nn.ConvTranspose2d(2 * WIDTH, 2 * WIDTH, low, low),
            nn.GroupNorm(8, 2 * WIDTH),
            nn.ReLU(),
        )
        double = [nn.ConvTranspose2d(size * WIDTH, WIDTH, 2, 2) for size in (4, 2)]
        self.up1, self.up2 = (nn.Sequential(up, convolutions(WIDTH, WIDTH)) for up in double)
        self.last = nn.Sequential(
            nn.Conv2d(2 * WIDTH, WIDTH, 3, 1, 1),
            nn.GroupNorm(8, WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, 1, 3, 1, 1),
        )

    def forward(self, x, t, y):
        first = self.first(x)
        half = self.down1(first)
        low = self.down2(half)
        up = self.up0(self.vector(low))
        scale, shift = self.label1(y)[:, :, None, None], self.time1(t)[:, :, None, None]
        up = self.up1(torch.cat([scale * up + shift, low], dim=1))
        scale, shift = self.label2(y)[:, :, None, None], self.time2(t)[:, :, None, None]
        up = self.up2(torch.cat([scale * up + shift, half], dim=1))
        return self.last(torch.cat([up, first], dim=1))


def run(clock, device):
    """Train within the clock's budget; the metric is FD-c of 1,000 samples by 36 DDIM steps.

    The source draws by 400 ancestral steps, which takes an hour here; 36 evaluations of the network
    a sample are what our notebook takes. No guidance, one of the source's three choices.
    """
    data = mnist(device, quick_size=16)
    quality = SampleQuality(data)
    model = to_device(UNet(data.x_train.shape[-1]), device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    beta = torch.linspace(1e-4, 0.02, TIMES, device=device)
    alpha = (1 - beta).cumprod(dim=0)

    def step():
        rows = torch.randint(len(data.x_train), (BATCH,), device=device)
        x, t = data.x_train[rows] / 255, torch.randint(TIMES, (BATCH,), device=device)
        noise, a = torch.randn(x.shape, device=device), alpha[t][:, None, None, None]
        label = F.one_hot(data.y_train[rows], 10).float()
        label = label * (torch.rand(BATCH, 1, device=device) > 0.1)
        with autocast(device):
            guess = model(a.sqrt() * x + (1 - a).sqrt() * noise, t[:, None] / TIMES, label)
        descend(optimizer, F.mse_loss(guess.float(), noise), rate=1e-4 * (1 - clock.progress))

    @torch.no_grad()
    def evaluate():
        model.eval()
        images = []
        for y in (torch.arange(SAMPLES, device=device) % 10).split(250):
            x = torch.randn(len(y), *data.x_train.shape[1:], device=device)
            label = F.one_hot(y, 10).float()
            times = torch.linspace(TIMES - 1, 0, SAMPLER_STEPS, device=device).round().long()
            for number, t in enumerate(times):
                time = (t / TIMES).expand(len(y), 1)
                with autocast(device):
                    guess = model(x, time, label).float()
                image = (x - (1 - alpha[t]).sqrt() * guess) / alpha[t].sqrt()
                later = alpha[times[number + 1]] if number + 1 < len(times) else alpha.new_ones(())
                x = later.sqrt() * image + (1 - later).sqrt() * guess
            images.append(x)
        model.train()
        return quality.distance(torch.cat(images))

    clock.run(step, evaluate)

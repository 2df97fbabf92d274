"""Images per second: batches drawn on the device, against a DataLoader.

python -m benchmarks.data_path
"""

import time

import torch
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

from common import batches, cifar10, setup

SECONDS, BATCH = 10, 512


def rate(loader) -> float:
    """Return images per second over some passes."""
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        for images, _ in loader():
            count += len(images)
            if time.perf_counter() - begin > SECONDS:
                break
    return count / (time.perf_counter() - begin)


def main() -> None:
    """Print the rates."""
    device = setup()
    data = cifar10(device)
    scale = v2.ToDtype(torch.float32, scale=True)

    def ours():
        for images, labels in batches(data.x_train, data.y_train, size=BATCH):
            yield images / 255, labels

    print(f"batches of common:            {rate(ours):9,.0f} images per second")
    dataset = TensorDataset(data.x_train.cpu(), data.y_train.cpu())

    def collate(rows):
        images, labels = zip(*rows, strict=True)
        return torch.stack([scale(image) for image in images]), torch.stack(labels)

    for workers in (0, 2):
        options = {"batch_size": BATCH, "shuffle": True, "num_workers": workers}
        loader = DataLoader(dataset, collate_fn=collate, **options)
        print(
            f"DataLoader with {workers} workers:    {rate(loader.__iter__):9,.0f} images per second"
        )


if __name__ == "__main__":
    main()

"""How good are features learned without labels? The same three measures for every task here.

    train_x = extract(encoder, data.x_train, prepare)    # frozen features (N, D)
    test_x = extract(encoder, data.x_test, prepare)
    measure(train_x, data.y_train, test_x, data.y_test)  # {"kNN accuracy": ..., ...} in percent

All functions take features (N, D) and labels (N,) on one device and return percent of the test
images. `measure` returns the names under which `record(extra=...)` stores them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOTE_TEMPERATURE = 0.1
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
DRAWS = 3  # of the labelled images, where only few have labels


@torch.no_grad()
def extract(encoder: nn.Module, images: Tensor, prepare: Callable) -> Tensor:
    """Return the features (N, D) in float32 of uint8 images (N, C, H, W); the encoder is frozen.

    `prepare` turns a batch of bytes into the encoder's input. The encoder is in evaluation mode
    meanwhile, so that no image's features depend on its batch, and as it was before afterwards.
    """
    training = encoder.training
    encoder.eval()
    features = torch.cat([encoder(prepare(part)).float() for part in images.split(500)])
    encoder.train(training)
    return features


def knn_accuracy(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor) -> float:
    """Let the nearest training images vote, each with weight exp(cosine / 0.1) (Wu et al. 2018).

    There are 200 of them for 50,000 training images and fewer in proportion for smaller sets.
    """
    neighbours = min(max(len(train_x) // 250, 1), 200)
    keys, right = F.normalize(train_x, dim=1), 0
    for part, labels in zip(F.normalize(test_x, dim=1).split(500), test_y.split(500), strict=True):
        cosine, index = (part @ keys.T).topk(neighbours, dim=1)  # (500, k): never all pairs at once
        votes = torch.zeros(len(part), int(train_y.max()) + 1, device=part.device)
        votes.scatter_add_(1, train_y[index], (cosine / VOTE_TEMPERATURE).exp())
        right += (votes.argmax(dim=1) == labels).sum()
    return 100 * right.item() / len(test_y)


def linear_probe(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor) -> float:
    """Fit logistic regression to features scaled to mean 0 and variance 1.

    The penalty on its weights is the one of four that does best on a fifth of the training
    features, held out; the final fit uses all of them.
    """
    spread, centre = torch.std_mean(train_x, dim=0)
    train_x, test_x = (train_x - centre) / (spread + 1e-6), (test_x - centre) / (spread + 1e-6)
    order = torch.randperm(len(train_x), generator=torch.Generator().manual_seed(0))
    held_out, rest = order.to(train_x.device).tensor_split([len(order) // 5])
    x, y, classes = train_x[rest], train_y[rest], int(train_y.max()) + 1
    accuracy = {}
    for penalty in PENALTIES:
        guess = _fit(x, y, classes, penalty)(train_x[held_out]).argmax(dim=1)
        accuracy[penalty] = (guess == train_y[held_out]).float().mean().item()
    best = max(PENALTIES, key=accuracy.get)
    guess = _fit(train_x, train_y, classes, best)(test_x).argmax(dim=1)
    return 100 * (guess == test_y).float().mean().item()


def _fit(x: Tensor, y: Tensor, classes: int, penalty: float) -> Callable:
    weight = torch.zeros(classes, x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(classes, device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(x, weight, bias), y) + penalty * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return lambda x: F.linear(x, weight.detach(), bias.detach())


def draw_labels(labels: Tensor, per_class: int, draw: int) -> Tensor:
    """Return the rows of `per_class` random images of each class; `draw` numbers the drawings."""
    generator = torch.Generator().manual_seed(draw)
    rows = []
    for label in labels.unique().tolist():
        same = (labels == label).nonzero()[:, 0]
        chosen = torch.randperm(len(same), generator=generator)[:per_class]
        rows.append(same[chosen.to(same.device)])
    return torch.cat(rows)


def few_labels(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, per_class: int
) -> list[float]:
    """Fit the linear probe to `per_class` labelled images of each class, drawn three times."""
    accuracies = []
    for draw in range(DRAWS):
        rows = draw_labels(train_y, per_class, draw)
        accuracies.append(linear_probe(train_x[rows], train_y[rows], test_x, test_y))
    return accuracies


def measure(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor) -> dict[str, float]:
    """Return the figures that tasks record as `extra`: nearest neighbours, probe, few labels."""
    features, classes = (train_x, train_y, test_x, test_y), int(train_y.max()) + 1
    result = {"kNN accuracy": knn_accuracy(*features)}
    result["linear probe accuracy"] = linear_probe(*features)
    for percent in (1, 10):
        accuracies = few_labels(*features, per_class=len(train_x) * percent // 100 // classes)
        result[f"{percent} % labels accuracy"] = sum(accuracies) / len(accuracies)
    return result

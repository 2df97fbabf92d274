"""The measures of features learned without labels: known answers, few labels, what is frozen."""

import pytest
import torch

from representation_learning import feature_quality
from representation_learning.feature_quality import draw_labels, extract, few_labels, measure


@pytest.fixture
def labels():
    return torch.arange(1000) % 10


def clouds(labels, distance):
    """One Gaussian cloud for each class, `distance` from the origin along an axis of its own."""
    return torch.randn(len(labels), 20) + distance * torch.eye(20)[labels]


@pytest.mark.parametrize("measured", [feature_quality.knn_accuracy, feature_quality.linear_probe])
@pytest.mark.parametrize(("distance", "low", "high"), [(8, 99, 100), (0, 4, 18)])
def test_clouds_far_apart_are_told_apart_and_noise_is_not(labels, measured, distance, low, high):
    torch.manual_seed(0)
    accuracy = measured(clouds(labels, distance), labels, clouds(labels, distance), labels)
    assert low <= accuracy <= high


def test_the_probe_sees_directions_that_the_vote_does_not(labels):
    torch.manual_seed(0)
    train_x, test_x = (clouds(labels, 4) for _ in range(2))
    loud = torch.cat([torch.ones(20), torch.full((20,), 30.0)])  # 20 useless, large features
    noisy = [torch.cat([x, torch.randn(1000, 20)], dim=1) * loud for x in (train_x, test_x)]
    data = noisy[0], labels, noisy[1], labels
    probe = feature_quality.linear_probe(*data)
    assert probe > 85 and feature_quality.knn_accuracy(*data) < probe - 20


def test_neighbours_vote_by_cosine_and_weight():
    train_x = torch.tensor([[1.0, 0.0], [0.0, 5.0]])  # lengths must not matter
    labels = torch.tensor([0, 1])
    test_x = torch.tensor([[9.0, 1.0], [0.1, 0.2]])
    assert feature_quality.knn_accuracy(train_x, labels, test_x, labels) == 100


def test_few_labels_are_drawn_anew_and_more_help(labels):
    torch.manual_seed(0)
    rows = [draw_labels(labels, 3, draw) for draw in range(2)]
    assert all(torch.equal(labels[drawn].bincount(), torch.full((10,), 3)) for drawn in rows)
    assert not torch.equal(*rows) and torch.equal(rows[0], draw_labels(labels, 3, 0))
    features = clouds(labels, 2), labels, clouds(labels, 2), labels
    few, many = few_labels(*features, per_class=2), few_labels(*features, per_class=50)
    assert len(few) == feature_quality.DRAWS and len(set(few)) > 1
    assert sum(many) > sum(few) + 15


def test_extract_freezes_the_encoder_and_gives_back_its_mode():
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(12)).train()
    images = torch.randint(256, (7, 3, 2, 2), dtype=torch.uint8)
    features = extract(encoder, images, lambda images: images.float())
    assert features.shape == (7, 12) and not features.requires_grad and encoder.training
    assert encoder[1].num_batches_tracked == 0
    alone = extract(encoder, images[:1], lambda images: images.float())
    torch.testing.assert_close(alone, features[:1])


def test_measure_names_its_figures(labels):
    torch.manual_seed(0)
    result = measure(clouds(labels, 8), labels, clouds(labels, 8), labels)
    names = ["kNN accuracy", "linear probe accuracy", "1 % labels accuracy", "10 % labels accuracy"]
    assert list(result) == names and min(result.values()) > 60

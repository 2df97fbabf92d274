"""The strongest baseline that needs no gradient: for each class a mixture of Gaussians."""

import torch
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch import Tensor


def mixture_digits(
    images: Tensor, classes: Tensor, asked: Tensor, parts: int, components: int, seed: int
) -> Tensor:
    """Fit images (N, 1, H, W) uint8 of the classes (N,); draw images (M, 1, H, W) in [0, 1].

    The `components` Gaussians of each class have full covariance in the first `parts` principal
    components of all images; `asked` (M,) are the classes to draw.
    """
    pixels = images.flatten(1).cpu() / 255
    pca = PCA(parts, random_state=seed).fit(pixels)
    drawn = torch.empty(len(asked), *images.shape[1:], device=images.device)
    for label in asked.unique():
        points = pca.transform(pixels[(classes == label).cpu()])
        mixture = GaussianMixture(components, tol=0.1, reg_covar=1e-3, random_state=seed)
        rows = asked == label
        samples = pca.inverse_transform(mixture.fit(points).sample(int(rows.sum()))[0])
        drawn[rows] = (
            torch.tensor(samples, dtype=torch.float32).view(-1, *images.shape[1:]).to(drawn)
        )
    return drawn.clamp(0, 1)

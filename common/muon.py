"""Muon, an optimizer for weight matrices; the notebook *Schedules and Muon* derives it."""

from collections.abc import Iterable

import torch

from common.device import autocast


def orthogonalise(x: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Pull all singular values of matrices (..., rows, columns) towards 1; keep the vectors.

    Newton-Schulz iteration with the coefficients of Jordan et al. (2024): after 5 steps the
    singular values lie between about 0.7 and 1.2. A matrix of zeros stays one.
    """
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # now no singular value exceeds 1
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (2.0315 * gram @ gram - 4.7750 * gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made orthogonal before each step (Jordan et al. 2024).

    `params` are weights of at least two dimensions, (rows, columns) or convolutions, whose filters
    are flattened to (rows, columns); give biases, norms, embeddings and the last layer to AdamW.
    `rows` splits taller matrices into parts of that many rows: the gates of a GRU, the queries,
    keys and values of attention. One step changes an entry by 0.2 `lr` (root mean square), about
    as AdamW does, whatever the shape (Liu et al. 2025, equation 4; `adjust_lr_fn` of
    torch.optim.Muon). Raises ValueError for a weight of fewer than two dimensions.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        steps: int = 5,
        rows: int | None = None,
    ):
        settings = {"momentum": momentum, "weight_decay": weight_decay, "steps": steps}
        super().__init__(params, {"lr": lr, "rows": rows, **settings})
        for weight in (weight for group in self.param_groups for weight in group["params"]):
            if weight.ndim < 2:
                raise ValueError(f"Muon needs matrices, got a weight {tuple(weight.shape)}.")

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Change each weight that has a gradient."""
        for group in self.param_groups:
            for weight in (weight for weight in group["params"] if weight.grad is not None):
                state = self.state[weight]
                if not state:
                    state["average"] = torch.zeros_like(weight)
                average = state["average"].lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(average, group["momentum"])  # Nesterov: one step ahead
                matrix = update.flatten(1)
                rows = min(group["rows"] or len(matrix), len(matrix))
                parts = matrix.view(-1, rows, matrix.shape[1])
                with autocast(weight.device):
                    direction = orthogonalise(parts, group["steps"]).to(weight.dtype)
                size = 0.2 * max(parts.shape[1:]) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(direction.reshape(weight.shape), alpha=group["lr"] * size)

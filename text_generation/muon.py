"""Muon, which torch has only from 2.9 on. The GPT notebook derives it."""

import torch

from common import autocast


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, for matrices (Jordan et al. 2024).

    A matrix of more than `rows` rows is treated in parts of `rows` rows: the gates of a GRU, the
    quarters of a perceptron's first layer.
    """

    def __init__(self, matrices, lr: float, rows: int):
        super().__init__(matrices, {"lr": lr, "rows": rows})

    @torch.no_grad()
    def step(self) -> None:
        group = self.param_groups[0]
        for weight in group["params"]:
            state = self.state[weight]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(weight)
            momentum = state["momentum"].lerp_(weight.grad, 0.05)
            update = weight.grad.lerp(momentum, 0.95)  # Nesterov: look one step ahead
            parts = update.view(-1, min(group["rows"], len(weight)), weight.shape[1])
            with autocast(weight.device):
                parts = orthogonalised(parts)
            weight.sub_(parts.view_as(weight), alpha=group["lr"])


def orthogonalised(x: torch.Tensor) -> torch.Tensor:
    """Return nearly the nearest matrices with singular values 1: (N, rows, columns)."""
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # now no singular value is above 1
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (2.0315 * square @ square - 4.7750 * square) @ x
    return x

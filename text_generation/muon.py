"""Muon for matrices and AdamW for the rest, in one optimizer. The GPT notebook derives Muon."""

import torch

from common import autocast


class MuonAdam(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for a model's matrices, AdamW for its embeddings and vectors.

    A matrix with more than `rows` rows is treated in parts of `rows` rows: the gates of a GRU, the
    parts of a perceptron's first layer. The two parameter groups hold their "lr" and, for a
    schedule, the rate that they were given as "peak".
    """

    def __init__(self, model: torch.nn.Module, muon_rate: float, adam_rate: float, rows: int):
        tables = [m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding)]
        matrices, others = [], []
        for weight in model.parameters():
            is_matrix = weight.ndim == 2 and all(weight is not table for table in tables)
            (matrices if is_matrix else others).append(weight)
        groups = [
            {"params": matrices, "lr": muon_rate, "peak": muon_rate},
            {"params": others, "lr": adam_rate, "peak": adam_rate},
        ]
        super().__init__(groups, {"rows": rows})
        self.adam = torch.optim.AdamW(others, lr=adam_rate, betas=(0.9, 0.98), weight_decay=0.0)

    @torch.no_grad()
    def step(self) -> None:
        group, rest = self.param_groups
        self.adam.param_groups[0]["lr"] = rest["lr"]
        self.adam.step()
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

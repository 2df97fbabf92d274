"""The two modes and the data folder, read from the environment."""

import os
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
MODES = ("quick", "full")


def mode() -> str:
    """Return "quick" or "full": the value of DL_MODE; unset means full on a CUDA GPU and quick elsewhere.

    Raises ValueError if DL_MODE is anything else.
    """
    value = os.environ.get("DL_MODE", "").strip().lower()
    if not value:
        return "full" if torch.cuda.is_available() else "quick"
    if value not in MODES:
        raise ValueError(f"DL_MODE is {value!r}; set it to quick or full, or leave it unset.")
    return value


def pick(*, full, quick):
    """Return the argument that belongs to the current mode, as in `epochs = pick(full=30, quick=3)`."""
    return full if mode() == "full" else quick


def data_folder() -> Path:
    """Return the folder of the real data sets: DL_DATA, or `data/` in the repository root."""
    return Path(os.environ.get("DL_DATA") or ROOT / "data").expanduser()

"""A live progress bar that leaves nothing behind."""

import sys

from tqdm import tqdm


def progress(iterable, label: str = "", total: int | None = None) -> tqdm:
    """Wrap an iterable in a bar that disappears when it ends; print log lines with its `write` method.

    `python -m tools.run` and the tests switch the bar off (TQDM_DISABLE=1), so no trace of it is stored.
    Plain tqdm works in a terminal and in JupyterLab alike; the widget bar would store its state.
    """
    return tqdm(iterable, desc=label, total=total, leave=False, file=sys.stdout, mininterval=0.2, ncols=80)

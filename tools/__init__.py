"""Commands of this repository: each is run as `python -m tools.NAME` and explains itself."""

import sys


def _explain(kind, error, trace) -> None:
    """Say in one sentence what is no fault of the code; print any other error as Python does."""
    if issubclass(kind, KeyboardInterrupt):
        print("\ninterrupted, nothing was stored.", file=sys.stderr)
    elif issubclass(kind, ModuleNotFoundError) and error.name.partition(".")[0] != "tools":
        activate = "activate the environment that you installed into (. .venv/bin/activate)"
        print(f"{error.name} is not installed: {activate}.", file=sys.stderr)
        print("To install: pip install -r requirements-dev.txt", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _explain

"""What the commands share: their command line, and one sentence for what is the user's doing."""

import argparse
import errno
import io
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.tasks import TaskError, nearest

SYSTEM = (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EPERM)


class Parser(argparse.ArgumentParser):
    """A command line whose help is its module's docstring; a mistyped option names the nearest."""

    def __init__(self, name: str, description: str | None):
        form = argparse.RawDescriptionHelpFormatter
        command = f"python -m tools {name}"
        super().__init__(command, description=description, formatter_class=form, allow_abbrev=False)

    def error(self, message: str):
        """Say what is wrong and exit with status 2."""
        if match := re.fullmatch(r"unrecognized arguments: (-\S+).*", message):
            hint = nearest(match[1], self._option_string_actions)
            message = f"there is no option {match[1]}; {hint or 'see --help'}"
        super().error(message)


def require_writable(*folders: Path) -> None:
    """Raise TaskError if a folder cannot be written: asked before a run, which may take hours."""
    for folder in folders:
        try:
            folder.mkdir(exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            message = f"Nothing was run: {folder.name}/ cannot be written ({error})."
            raise TaskError(message) from error


def explained(command: Callable[[], int]) -> int:
    """Run a command; say in one sentence what is the user's doing, and let a bug show itself."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every pipe knows every character
    try:
        return command()
    except TaskError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has left, as in `... | head`
        sys.stderr.close()
        return 1
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("tools", "common"):
            raise
        activate = "activate the environment that you installed into (. .venv/bin/activate)"
        print(f"{error.name} is not installed: {activate}", file=sys.stderr)
        print("or install it: pip install -r requirements-dev.txt", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in SYSTEM:
            raise
        print(f"{error.filename or 'A file'} cannot be written: {error.strerror}.", file=sys.stderr)
        return 1

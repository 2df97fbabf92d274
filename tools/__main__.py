"""The commands of this repository: python -m tools COMMAND ..., each with its own --help."""

import importlib
import sys

from tools.command import explained
from tools.tasks import nearest

COMMANDS = {
    "run": "run notebooks, store their outputs",
    "check": "find what is wrong with a notebook without running it",
    "practice": "write a notebook's ideas yourself, and check them",
    "mutate": "break a notebook on purpose; its own checks must notice",
    "new": "begin a new task",
    "examine": "check a contributor's branch, and merge it",
    "tables": "bring README and docs up to date with the stored runs",
    "site": "build the site",
}
HELP = "\n".join([__doc__, "", *(f"  {name:10} {text}" for name, text in COMMANDS.items())])


def main(arguments: list[str]) -> int:
    """Run the command that the first argument names and return its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP)
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        hint = nearest(name, COMMANDS)
        print(f"There is no command {name}; {hint}\n\n{__doc__}", file=sys.stderr)
        return 2
    return explained(lambda: importlib.import_module(f"tools.{name}").main(rest))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

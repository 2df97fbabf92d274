"""Run a stranger's notebook so that it reaches as little as this machine can forbid."""

import functools
import os
import shlex
import subprocess
import sys
from pathlib import Path

LEVELS = {  # strongest first
    "bubblewrap": "no network, no other processes, an empty home, a read-only system",
    "namespaces": "no network, no other processes, an empty home",
    "audit hook": "WARNING: only Python's own network calls are refused. Use a container "
    "(CONTRIBUTING.md), or Linux with bubblewrap installed",
}
KEPT = {  # environment variables that a run gets, beside those set in `environment`
    *("PATH", "LANG", "LC_ALL", "TZ", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "LD_LIBRARY_PATH"),
    *("CUDA_VISIBLE_DEVICES", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT"),
    *("NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE"),
}
NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
GUARD = '''"""Python runs this at start-up: it refuses every connection that leaves this machine."""
import sys

HERE = ("localhost", "127.0.0.1", "::1", "", None)


def guard(event, arguments):
    if event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in HERE:
        raise RuntimeError(f"quick mode works without a network; this cell tried to reach {host}")


sys.addaudithook(guard)
'''


def works(command: list[str]) -> bool:
    """Return whether a command exists and succeeds."""
    try:
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@functools.cache
def best_level() -> str:
    """Return the strongest level of LEVELS that works on this machine."""
    if works(["bwrap", "--ro-bind", "/", "/", "--unshare-all", "true"]):
        return "bubblewrap"
    return "namespaces" if works([*_unshare(), "true"]) else "audit hook"


def isolated(command: list[str], level: str, tree: Path, mode: str) -> tuple[list[str], dict]:
    """Return a command and its environment that run `command` in `tree` at a level of LEVELS.

    `tree` is the examined copy of the repository. It and an empty home folder beside it are all
    that stays writable. In full mode the data folder is visible, but nothing can be downloaded.
    """
    home, real = tree.parent / "home", Path.home().resolve()
    home.mkdir(exist_ok=True)
    data = Path(os.environ.get("DL_DATA") or Path.cwd() / "data").expanduser().resolve()
    environment = {key: value for key, value in os.environ.items() if key.upper() in KEPT}
    for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP"):
        environment[name] = str(home)
    environment |= {
        "DL_MODE": mode,
        "DL_DATA": str(data) if mode == "full" else str(home / "no_data"),
        "PYTHONUTF8": "1",
    }
    visible = {Path(sys.prefix), Path(sys.base_prefix), tree, home}
    visible |= {data} if mode == "full" and data.exists() else set()
    inside = sorted(path for path in visible if path.is_relative_to(real))
    if level == "bubblewrap":
        wrap = ["bwrap", "--ro-bind", "/", "/", "--dev-bind", "/dev", "/dev", "--proc", "/proc"]
        wrap += ["--tmpfs", str(real), "--unshare-all", "--die-with-parent", "--new-session"]
        for path in inside:
            wrap += ["--ro-bind", str(path), str(path)]
        for path in (tree, home):
            wrap += ["--bind", str(path), str(path)]
        return [*wrap, "--chdir", str(tree), *command], environment
    if level == "namespaces":
        return [*_unshare(), "sh", "-c", _hide(real, inside), "sh", *command], environment
    guard = home / "guard"
    guard.mkdir(exist_ok=True)
    (guard / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    return command, environment | {"PYTHONPATH": str(guard)}


def _unshare() -> list[str]:
    as_user = ["--user", "--map-root-user"] if getattr(os, "geteuid", int)() else []
    return [NAMESPACES[0], *as_user, *NAMESPACES[1:]]


def _hide(home: Path, visible: list[Path]) -> str:
    """Return a shell script that empties a folder but for some paths, and runs its arguments.

    It switches the loopback on, over which the processes of one training talk to each other.
    """
    loopback = "ip link set lo up 2>/dev/null || true"  # without the command `ip` it stays off
    steps, here = ["set -e", loopback, "stage=$(mktemp -d)"], shlex.quote(str(home))
    for number, path in enumerate(visible):
        steps += [
            f"mkdir $stage/{number}",
            f"mount --rbind {shlex.quote(str(path))} $stage/{number}",
        ]
    steps.append(f"mount -t tmpfs none {here}")
    for number, path in enumerate(visible):
        place = shlex.quote(str(path))
        steps += [f"mkdir -p {place}", f"mount --move $stage/{number} {place}"]
    return "; ".join([*steps, "cd $PWD", 'exec "$@"'])

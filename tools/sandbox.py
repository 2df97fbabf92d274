"""Run a stranger's notebook where it reaches nothing of this machine: bubblewrap or a container.

Inside are the system's programs, this Python, and the examined tree as /repository, all read-only;
/repository/runs is the one folder that stays. There is no network but the loopback, no other
process, no file of the user, no socket of the machine, no capability.
"""

import functools
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from tools.tasks import TaskError

IMAGE = "examined"  # CONTRIBUTING.md says how to build it
SYSTEM = (  # of /etc what programs need to start: no passwords, no keys
    "/usr /bin /sbin /lib /lib32 /lib64 /sys /nix/store /etc/alternatives /etc/ld.so.cache "
    "/etc/ld.so.conf /etc/ld.so.conf.d /etc/localtime /etc/fonts"
).split()
DEVICES = ("nvidia*", "dxg", "kfd", "dri")  # of GPUs
# environment variables that a run gets, beside those of `sandboxed`
KEPT = "LANG LC_ALL TZ OMP_NUM_THREADS MKL_NUM_THREADS CUDA_VISIBLE_DEVICES".split()
MOST_PRINTED = 200_000  # bytes that a run may print
MOST_WRITTEN = 4 * 2**30  # bytes of one file that a run may write
MISSING = (
    "Nothing was run, for lack of a sandbox: on Linux install bubblewrap (apt install bubblewrap), "
    "elsewhere build the container of CONTRIBUTING.md{}."
)


def _bubblewrap(binds: list[str]) -> list[str]:
    """Return bwrap's command line for a new root folder in which nothing but `binds` is seen."""
    wrap = ["bwrap", "--unshare-all", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    wrap += ["--hostname", "sandbox", "--proc", "/proc", "--dev", "/dev"]
    for folder in ("/tmp", "/home", "/run", "/var/tmp"):
        wrap += ["--tmpfs", folder]
    for name in SYSTEM:
        wrap += ["--ro-bind-try", name, name]
    for device in (path for pattern in DEVICES for path in Path("/dev").glob(pattern)):
        wrap += ["--dev-bind", str(device), str(device)]
    found = {Path(folder) for folder in (sys.prefix, sys.base_prefix)}
    found |= {path.resolve() for path in found} | {Path(sys.executable).resolve().parent.parent}
    for path in sorted(path for path in found if not path.is_relative_to("/usr")):
        wrap += ["--ro-bind", str(path), str(path)]
    return [*wrap, *binds, "--remount-ro", "/"]


@functools.cache
def find_sandbox() -> str:
    """Return "bubblewrap" or "container", whichever works here; raises TaskError if none does."""
    reason = ""
    for name, command in (
        ("bubblewrap", [*_bubblewrap([]), sys.executable, "-c", ""]),
        ("container", ["docker", "image", "inspect", IMAGE]),
    ):
        if shutil.which(command[0]):
            done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)
            if done.returncode == 0:
                return name
            lines = [*done.stderr.strip().splitlines(), f"exit status {done.returncode}"]
            reason += f" ({name} does not work here: {lines[0]})"
    raise TaskError(MISSING.format(reason))


def sandboxed(
    kind: str, arguments: list[str], tree: Path, data: Path | None, **settings: str
) -> tuple[list[str], dict[str, str], Path | None]:
    """Return a command, its environment and folder that run Python with `arguments` in `tree`.

    `kind` is what `find_sandbox` returned, or "none" for the contributor's own code. Only the
    folder `runs` of `tree` is writable. `data` is the folder of data sets, `settings` are
    environment variables.
    """
    runs = tree / "runs"
    runs.mkdir(exist_ok=True)
    here = {key: value for key, value in os.environ.items() if key in KEPT}
    here |= {"PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1", "DL_DATA": "/data", **settings}
    inside = here | dict.fromkeys(("USER", "LOGNAME"), "examined")
    inside |= {"HOME": "/home", "TMPDIR": "/tmp"}
    shell = f'ulimit -f {MOST_WRITTEN // 512}; exec "$0" "$@"'
    if kind == "bubblewrap":
        binds = ["--ro-bind", str(tree), "/repository", "--bind", str(runs), "/repository/runs"]
        binds += ["--ro-bind", str(data), "/data"] if data else []
        path = {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"}
        command = [*_bubblewrap(binds), "--chdir", "/repository", "sh", "-c", shell]
        return [*command, sys.executable, *arguments], inside | path, None
    if kind == "container":
        command = ["docker", "run", "--rm", "--init", "--network=none", "--cap-drop=ALL"]
        command += ["--security-opt=no-new-privileges", "--read-only", "--pids-limit=2000"]
        command += ["--shm-size=2g", "--workdir=/repository"]
        command += [f"--tmpfs={folder}:exec,mode=1777" for folder in ("/tmp", "/home")]
        command += ["--gpus=all"] if shutil.which("nvidia-smi") else []
        command += [f"--user={os.getuid()}:{os.getgid()}"] if hasattr(os, "getuid") else []
        mounts = [f"{tree}:/repository:ro", f"{runs}:/repository/runs"]
        mounts += [f"{data}:/data:ro"] if data else []
        command += [f"--volume={mount}" for mount in mounts]
        command += [f"--env={key}={value}" for key, value in inside.items()]
        command += [IMAGE, "sh", "-c", shell, "python", *arguments]
        return command, dict(os.environ), None
    outside = os.environ | here | {"DL_DATA": str(data or tree / "no_data")}
    return [sys.executable, *arguments], outside, tree


def limited(
    command: list[str], environment: dict, folder: Path | None, seconds: float, show
) -> tuple[int | str, list[str]]:
    """Run a command; return its exit status and the lines it printed, each also shown by `show`.

    It is ended after `seconds`, or if it prints too much; the status is then a sentence.
    """
    stopped = []

    def stop(reason: str) -> None:
        stopped.append(reason)
        end = process.terminate if command[0] == "docker" else process.kill
        end()  # docker passes the signal on; what runs inside bubblewrap dies with it

    text, done = b"", 0
    pipes: dict = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    pipes["stderr"] = subprocess.STDOUT
    with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as process:
        clock = threading.Timer(seconds, stop, [f"It took longer than {seconds:,.0f} s."])
        clock.start()
        assert process.stdout
        while part := os.read(process.stdout.fileno(), 65_536):
            text = (text + part)[: MOST_PRINTED + 1]
            if len(text) > MOST_PRINTED and not stopped:
                stop(f"It prints more than {MOST_PRINTED:,} characters.")
            end = text.rfind(b"\n") + 1
            for line in text[done:end].decode(errors="replace").splitlines():
                show(line)
            done = max(done, end)
        status = process.wait()
        clock.cancel()
    return (stopped[0] if stopped else status), text.decode(errors="replace").splitlines()


def read_output(path: Path, most: int) -> str | None:
    """Return the text of a file that a run wrote; None if it is no regular file, or too large."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > most:
        return None  # a link could lead to a file of this machine
    return path.read_text(encoding="utf-8", errors="replace")

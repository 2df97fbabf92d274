"""Start a function of a notebook in several processes by torchrun, and leave none behind."""

import json
import linecache
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import torch

ROOT = Path(__file__).resolve().parents[2]
WORKPLACE = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # removed at exit
FOLDER = Path(WORKPLACE.name)
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",  # a thread for each process
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
    # After a restart, gloo must not find the addresses of dead processes (pytorch/pytorch #135712)
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}
if sys.platform in ("linux", "darwin"):  # all on this machine: gloo needs no other network device
    ENVIRONMENT["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
ENDING = """

if __name__ == "__main__":
    import json
    import sys

    device = begin()
    result = {main}(device, **json.loads(sys.argv[1]))
    torch.save(result, f"{{sys.argv[2]}}{{dist.get_rank()}}.pt")
    dist.destroy_process_group()
"""


def write_script(main: Callable, parts: Sequence[Callable]) -> Path:
    """Write the cells that define `parts` and `main` into one script, which runs `main`.

    Such cells hold imports and definitions only. One of them defines `begin`, which joins the group
    and returns the device.
    """
    cells = dict.fromkeys(part.__code__.co_filename for part in (*parts, main))  # each cell once
    text = "\n\n".join("".join(linecache.getlines(cell)) for cell in cells)
    path = FOLDER / f"{main.__name__}.py"
    path.write_text(text + ENDING.format(main=main.__name__), encoding="utf-8")
    return path


def end(processes: Sequence[psutil.Process]) -> None:
    """End processes: ask first, use force after three seconds."""
    for act in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                act(process)
        _, processes = psutil.wait_procs(processes, timeout=3)


def watch(command: list[str], limit: float) -> int | None:
    """Run a command, print what it prints, and return its exit status; None after `limit` seconds.

    However this ends, also by an interrupt, none of the processes below it is left. What goes to
    stderr is kept in the file `errors` of the temporary folder.
    """
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)}
    printed, errors = FOLDER / "printed", FOLDER / "errors"
    family, deadline = set(), time.monotonic() + limit
    with (
        open(printed, "w") as out,
        open(errors, "w") as err,
        open(printed, encoding="utf-8", errors="replace") as log,
    ):
        launcher = psutil.Popen(
            command, stdout=out, stderr=err, env=environment, start_new_session=True
        )
        try:
            while launcher.poll() is None and time.monotonic() < deadline:
                with suppress(psutil.NoSuchProcess):  # it has ended this very moment
                    family.update(launcher.children(recursive=True))
                print(log.read(), end="")
                time.sleep(0.1)
            status = launcher.poll()
        finally:
            end([launcher, *family])
            print(log.read(), end="")
    return status


def torchrun(
    main: Callable,
    processes: int,
    parts: Sequence[Callable],
    limit: float = 200,
    restarts: int = 0,
    **settings,
) -> list:
    """Run `main(device, **settings)` in several processes; return what each of them returned.

    `parts` are functions of the cells that `main` needs. Raises TimeoutError after `limit` seconds
    and RuntimeError if a process fails; nothing of either is left running.
    """
    script, result = write_script(main, parts), FOLDER / main.__name__
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]  # = torchrun
    command += ["--local-addr=127.0.0.1", "--monitor-interval=0.2"]
    command += [f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    status = watch([*command, str(script), json.dumps(settings), str(result)], limit)
    if status is None:
        raise TimeoutError(
            f"{main.__name__} was ended after {limit:g} s, with all its processes. Does one of "
            "them wait for a message that no other sends?"
        )
    if status:
        errors = (FOLDER / "errors").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"{main.__name__} failed:\n{errors[:3000]}")
    paths = [f"{result}{rank}.pt" for rank in range(processes)]
    return [torch.load(path, map_location="cpu", weights_only=True) for path in paths]

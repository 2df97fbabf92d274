"""Run task notebooks from the first cell to the last in a fresh kernel of this Python.

    python -m tools run vae               run it; the executed copy is written to runs/
    python -m tools run --save vae        also store outputs, stamp and results.json beside it
    python -m tools run --seeds 5 vae     run with five seeds; store each figure
    python -m tools run --set epochs=2 vae    run with other settings; never stored
    python -m tools run --list            list the tasks and their stored outputs

DL_MODE=quick or DL_MODE=full sets the mode; unset means full on a CUDA GPU and quick elsewhere.
"""

import argparse
import ast
import asyncio
import atexit
import contextlib
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from tools import stamp, tasks
from tools.command import Parser, explained, require_writable
from tools.results import Results, Run, duration, result_block, result_text
from tools.tasks import ROOT, Task, TaskError, code_cells, find_tasks, with_settings

NO_MEMORY = "out of memory|not enough memory|can't allocate|MemoryError|failed to map segment"


class RunError(RuntimeError):
    """A notebook did not run to its end, or its outputs cannot be stored; the message says why."""

    cell = 0  # number of the cell that failed, from 0, Markdown included


class Client(NotebookClient):
    """nbclient's client that prints headings and what the cells below them print."""

    current = 0  # number of the cell that runs, from 0

    def place(self) -> tuple[int, str]:
        """Return the current cell's number among the code cells, as Jupyter counts, and heading."""
        above = self.nb.cells[: self.current]
        texts = [cell.source for cell in above if cell.cell_type == "markdown"]
        found = re.findall(r"^#+ +(.+)$", "\n".join(texts), re.MULTILINE)
        number = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in above) + 1
        return number, found[-1].strip() if found else ""

    async def async_start_new_kernel(self, **kwargs):
        """Start the kernel; leave Ctrl-C to Python, which nbclient would swallow."""
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        await super().async_start_new_kernel(**kwargs)

    def begin(self, cell, cell_index):
        """Print which cell begins: nbclient's hook on_cell_execute."""
        self.current = cell_index
        number, heading = self.place()
        print(f"\n[{number}/{len(code_cells(self.nb))}] {heading}", flush=True)

    def output(self, outs, msg, display_id, cell_index):
        if msg["msg_type"] == "stream":
            print(msg["content"]["text"], end="", flush=True)
        return super().output(outs, msg, display_id, cell_index)


def failure(error: Exception, task: Task) -> str:
    """Return in a sentence or two why a cell failed and, where it is known, what to do."""
    if isinstance(error, CellTimeoutError):
        return "it took longer than the limit of a cell."
    memory = "Lower the batch size in the settings cell, or close programs that use the memory."
    if not isinstance(error, CellExecutionError):
        return f"the kernel died, most likely for lack of memory. {memory}"
    lines = error.evalue.strip().splitlines()
    message = "\n".join([f"{error.ename}: {lines[0]}", *lines[1:]]) if lines else error.ename
    if error.ename == "ModuleNotFoundError":
        return f"{message}. Install what it needs: pip install -r {task.path}/requirements.txt"
    return f"{message}. {memory}" if re.search(NO_MEMORY, message, re.I) else message


def execute(
    notebook: nbformat.NotebookNode, task: Task, mode: str, timeout: int | None = None
) -> Run | None:
    """Execute a notebook in place and return what its last cell recorded (None: nothing).

    `timeout` is in seconds for each cell. Raises RunError naming the cell that fails.
    """
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    # this Python, whatever kernels are registered on this machine
    manager = AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = Client(notebook, km=manager, timeout=timeout, record_timing=False)
    client.store_widget_state, client.coalesce_streams, client.owns_km = False, True, True
    client.extra_arguments, client.shutdown_kernel = ["--log-level=40"], "immediate"
    client.on_cell_execute = client.begin
    before = os.times()
    with tempfile.TemporaryDirectory() as folder:
        recorded = Path(folder) / "record.json"
        paths = [str(task.root), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            "OMP_WAIT_POLICY": "passive",  # spinning threads crawl on a busy machine
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),  # `common`, also where it is not installed
            "DL_MODE": mode,
            "DL_RECORD": str(recorded),
            "TQDM_DISABLE": os.environ.get("TQDM_DISABLE", "1"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a warning of the debugger
        }
        client.resources = {"metadata": {"path": str(task.folder)}}
        if os.name == "posix":  # sockets in the temporary folder work without any network device
            manager.transport, manager.ip = "ipc", str(Path(folder) / "kernel")
        try:
            client.execute(env=environment)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            number, heading = client.place()
            failed = RunError(f'Cell [{number}] under "{heading}" failed: {failure(error, task)}')
            failed.cell = client.current
            raise failed from error
        except RuntimeError as error:  # nbclient's own, when no kernel answers
            raise RunError(f"The notebook's kernel cannot be reached: {error}") from error
        except KeyboardInterrupt:
            if client.km and client.km.has_kernel and client.km.provisioner:
                client.km.provisioner.process.kill()  # type: ignore[attr-defined]
            raise
        finally:
            if client.km is None:  # cleaned up; nbclient would do so again at exit, and fail
                atexit.unregister(client._cleanup_kernel)
        if not recorded.exists():
            return None
        date = datetime.now(timezone.utc).date().isoformat()
        run = json.loads(recorded.read_text(encoding="utf-8")) | {"date": date}
        if cpu := sum(os.times()[2:4]) - sum(before[2:4]):  # of ended children; 0 on Windows
            run["cpu_seconds"] = round(cpu, 1)
        return run


def write_copy(notebook: nbformat.NotebookNode, task: Task, name: str, note: str) -> str:
    """Write the executed copy with a note in its first cell to runs/ and return its path.

    If the disk is full, the folder for temporary files may lie on another one.
    """
    stamp.replace_block(notebook, note)
    try:
        tasks.write_notebook(task.root / "runs" / f"{name}.ipynb", notebook)
    except OSError as error:
        elsewhere = Path(tempfile.gettempdir()) / f"{name}.ipynb"
        tasks.write_notebook(elsewhere, notebook)
        return f"{elsewhere} (runs/: {error.strerror})"
    return f"runs/{name}.ipynb"


def save(executed: nbformat.NotebookNode, task: Task, recorded: Run) -> str:
    """Store outputs, stamp and results.json of a run; return a sentence about what was stored.

    A quick run never replaces the outputs of a full run of the same code: only its figures are
    added. Markdown and comments edited during the run are kept. Raises RunError if the code
    changed meanwhile.
    """
    notebook, digest, mode = task.read_notebook(), stamp.code_digest(executed), recorded["mode"]
    if stamp.code_digest(notebook) != digest:
        raise RunError("Nothing was stored: the notebook's code was changed while it ran.")
    shared = stamp.shared_digest(executed, task.folder, task.root)
    run = recorded | {"digest": digest, "shared": shared}
    results = Results.read(task).of_code(digest)
    setattr(results, mode, run)
    current = stamp.state(notebook, task.folder, task.root)
    if mode == "quick" and results.full and current != "stale":
        results.write(task)
        return "The outputs of the full run stay; the quick run's figures were added."
    ran = [cell for cell in code_cells(executed) if stamp.decisive(cell.source)]
    now = [cell for cell in code_cells(notebook) if stamp.decisive(cell.source)]
    for cell, source in zip(now, ran, strict=True):
        cell.outputs = source.outputs
    for number, cell in enumerate(code_cells(notebook), 1):
        cell.execution_count = number
    results.stored = mode
    keys = ("mode", "digest", "shared", "device", "versions", "seconds", "date")
    digests = {key: run[key] for key in keys} | {"outputs": stamp.outputs_digest(notebook)}
    notebook.metadata["stamp"] = digests
    notebook.metadata["language_info"] = executed.metadata["language_info"]
    stamp.replace_block(notebook, result_block(run))
    text = tasks.notebook_text(notebook)
    tasks.write_text((task.notebook, text), (task.results, results.text()))
    return f"Stored the outputs of this {mode} run: {result_text(run)}."


def run(
    task: Task, mode: str, store: bool = False, settings: dict | None = None, timeout=None
) -> tuple[Run | None, str]:
    """Run one task; return what it recorded and a closing sentence. Raises RunError if it fails."""
    require_writable(task.root / "runs", *([task.folder] if store else []))
    notebook = with_settings(task.read_notebook(), settings or {})
    if stamp.find_block(notebook) is None:
        raise RunError("The first cell lacks the lines <!-- result --> and <!-- /result -->.")
    results = Results.read(task)
    if mode == "full" and (full := results.full):
        print(f"The stored full run took {duration(full['seconds'])} on {full['device']}.")
    begin = time.perf_counter()
    print(f"{task.path}, {mode} mode", flush=True)
    changed = "".join(f".{name}={value}" for name, value in (settings or {}).items())
    copy = f"{task.name}.{mode}" + re.sub(r"[^\w.=-]", "_", changed)[:100]
    try:
        recorded = execute(notebook, task, mode, timeout)
    except RunError as error:
        note = f"This run did not finish. {str(error).split(':')[0]}."
        path = write_copy(notebook, task, f"{copy}.failed", note)
        raise RunError(f"{error}\nThe copy with the error: {path}") from error
    except KeyboardInterrupt:
        write_copy(notebook, task, f"{copy}.interrupted", "This run was interrupted.")
        raise
    note = result_block(recorded) if recorded else "This run recorded no result."
    path = write_copy(notebook, task, copy, note)  # first, so that no hour is lost
    said = f"{task.path} ran in {time.perf_counter() - begin:.0f} s. Executed copy: {path}."
    if store and recorded is None:
        raise RunError(f"Nothing was stored: the notebook did not call record(...). {said}")
    if store and recorded:
        try:
            said += f" {save(notebook, task, recorded)}"
        except RunError as error:
            raise RunError(f"{error} {said}") from error
        except OSError as error:
            raise RunError(f"Nothing was stored: {error.strerror}. {said}") from error
    return recorded, said


def run_seeds(task: Task, mode: str, count: int, settings: dict, timeout) -> str:
    """Run a task with the seeds 0 to count - 1; store each figure, return a line about them."""
    values: list[float] = []
    for seed in range(count):
        recorded, said = run(task, mode, False, settings | {"seed": seed}, timeout)
        if recorded is None:
            raise RunError(f"Nothing to compare: the notebook did not call record(...). {said}")
        values.append(recorded["value"])
        print(f"seed {seed}: {result_text(recorded)}\n", flush=True)
        if not settings:
            digest, results = stamp.code_digest(task.read_notebook()), Results.read(task)
            known = results.seeds if results.seeds.get("digest") == digest else {}
            entry = {"device": recorded["device"], "values": values}
            results.seeds = known | {"digest": digest, mode: entry}
            results.write(task)
    assert recorded
    spread = statistics.stdev(values) if count > 1 else 0.0
    figures = ", ".join(f"{value:.4g}" for value in values)
    return (
        f"{task.path}, {mode} mode, {recorded['metric']} in {recorded['unit']}: {figures}; "
        f"mean {statistics.mean(values):.4g}, standard deviation {spread:.2g}"
    )


def list_tasks(root: Path) -> None:
    """Print one line for each task: stored outputs, metric, time, device."""
    print(f"{'task':42} {'outputs':20} result of the stored run")
    for task in tasks.all_tasks(root):
        try:
            shown = Results.read(task).shown
            stored = stamp.state(task.read_notebook(), task.folder, root)
            parts = shown and (result_text(shown), duration(shown["seconds"]), shown["device"])
            result = ", ".join(parts or [])
        except TaskError as error:
            stored, result = "unreadable", str(error)
        print(f"{task.path:42} {stored:20} {result}")


def current_mode() -> str:
    """Return the mode; torch, which takes seconds to import, is asked only if it is not set."""
    if (value := os.environ.get("DL_MODE", "")) in ("quick", "full"):
        return value
    from common.device import mode

    try:
        return mode()
    except ValueError as error:
        raise TaskError(str(error)) from error


def setting(text: str) -> tuple[str, object]:
    """Parse NAME=VALUE, VALUE being a Python literal or else a string."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def positive(text: str) -> int:
    """Parse a whole number above 0."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = Parser("run", __doc__)
    add = parser.add_argument
    add("tasks", nargs="*", metavar="TASK", help="image_generation/vae, or vae")
    add("--save", action="store_true", help="store the outputs, stamped")
    add("--list", action="store_true", help="list the tasks")
    add("--seeds", type=positive, metavar="N", help="run with seeds 0 to N - 1")
    add("--set", type=setting, action="append", default=[], metavar="NAME=VALUE", help="a setting")
    add("--record", type=Path, metavar="FILE", help="also write the figures there")
    add("--cell-timeout", type=positive, metavar="SECONDS", help="stop a cell that takes longer")
    options = parser.parse_args(arguments)
    if options.list:
        list_tasks(root)
        return 0
    if not options.tasks:
        parser.error("name a task, or use --list to see them")
    if options.save and (options.set or options.seeds):
        parser.error("--save stores the notebook as it is: leave out --set and --seeds")
    settings, failed = dict(options.set), 0
    chosen = find_tasks(options.tasks, root)
    require_writable(*([options.record.parent] if options.record else []))
    for task in chosen:  # refuse a wrong --set before torch is imported
        with_settings(task.read_notebook(), settings)
    current = current_mode()
    for task in chosen:
        try:
            if options.seeds:
                said = run_seeds(task, current, options.seeds, settings, options.cell_timeout)
            else:
                recorded, said = run(task, current, options.save, settings, options.cell_timeout)
                if options.record:
                    tasks.write_text((options.record, json.dumps(recorded)))
            print(f"{said}\n", flush=True)
        except (RunError, TaskError) as error:
            failed += 1
            print(f"\n{task.path}: {error}\n", file=sys.stderr, flush=True)
    if len(chosen) > 1:
        print(f"{len(chosen) - failed} of {len(chosen)} tasks ran to their end.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(explained(main))

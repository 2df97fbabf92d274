"""Run task notebooks from the first cell to the last in a fresh kernel of this Python.

    python -m tools.run vae               run it; the executed copy is written to runs/
    python -m tools.run --save vae        also store outputs, stamp and results.json beside it
    python -m tools.run --seeds 5 vae     run with five seeds; store each figure and their spread
    python -m tools.run --set epochs=2 vae    run with other settings; never stored
    python -m tools.run --list            list the tasks and their stored outputs

DL_MODE=quick or DL_MODE=full sets the mode; unset means full on a CUDA GPU and quick elsewhere.
"""

import argparse
import ast
import asyncio
import contextlib
import copy
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from tools.stamp import (
    code_digest,
    duration,
    figure,
    outputs_digest,
    render_block,
    replace_block,
    result_block,
    shared_digest,
    state,
)
from tools.tasks import (
    ROOT,
    Parser,
    Task,
    TaskError,
    all_tasks,
    code_cells,
    find_tasks,
    write_notebook,
    write_text,
)

OUT_OF_MEMORY = re.compile(r"out of memory|not enough memory|can't allocate|MemoryError", re.I)


class RunError(RuntimeError):
    """A notebook did not run to its end, or its outputs cannot be stored; the message says why."""


class ThisPython(KernelSpecManager):
    """Serves the running Python as the kernel, whatever kernels are registered on this machine."""

    def get_kernel_spec(self, kernel_name):
        command = get_kernel_dict(extra_arguments=["--log-level=40"])
        return KernelSpec(resource_dir=RESOURCES, **command)


class Client(NotebookClient):
    """nbclient's client that prints what the cells print, and how far the run is."""

    def start_report(self, expected: list[float]) -> None:
        """`expected` holds the seconds of each code cell in an earlier run, or is empty."""
        self.headings, self.numbers, self.seconds = headings(self.nb), {}, []
        self.expected, self.mid_line, self.lock = expected, False, threading.Lock()
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type == "code" and cell.source.strip():
                self.numbers[index] = len(self.numbers) + 1
        self.on_cell_start = self.report_start
        self.on_cell_executed = self.report_end

    async def async_start_new_kernel(self, **kwargs):
        """Start the kernel; leave Ctrl-C to Python, which nbclient would swallow."""
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        await super().async_start_new_kernel(**kwargs)

    def report_start(self, cell, cell_index):
        if number := self.numbers.get(cell_index):
            left = self.seconds_left()
            hint = f" ({duration(left)} left)" if left and left > 60 else ""
            self.say(f"[{number}/{len(self.numbers)}] {self.headings[cell_index]}{hint}\n")
            self.current, self.begin = cell_index, time.perf_counter()

    def report_end(self, cell, cell_index, execute_reply):
        if cell_index in self.numbers:
            self.seconds.append(round(time.perf_counter() - self.begin, 2))

    def seconds_left(self) -> float | None:
        """Estimate the rest of the run from an earlier one, scaled by this machine's speed."""
        done = len(self.seconds)
        if len(self.expected) != len(self.numbers):
            return None
        speed = sum(self.seconds) / max(sum(self.expected[:done]), 1e-3) if done > 2 else 1
        return sum(self.expected[done:]) * speed

    def output(self, outs, msg, display_id, cell_index):
        if msg["msg_type"] == "stream":
            self.say(msg["content"]["text"], continued=True)
        return super().output(outs, msg, display_id, cell_index)

    def say(self, text: str, continued: bool = False) -> None:
        """Print a line, or pass on output of a cell."""
        with self.lock:
            print(("\n" if self.mid_line and not continued else "") + text, end="", flush=True)
            self.mid_line = not text.endswith("\n")


def headings(notebook: nbformat.NotebookNode) -> list[str]:
    """Return for each cell the heading that it stands under."""
    titles, heading = [], ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found = re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)
            heading = found[-1].strip() if found else heading
        titles.append(heading)
    return titles


def failure(error: Exception, task: Task) -> str:
    """Return in a sentence or two why a cell failed and, where it is known, what to do."""
    if isinstance(error, CellTimeoutError):
        return "it took longer than --cell-timeout allows."
    memory = "Lower the batch size in the settings cell, or close programs that use the memory."
    if isinstance(error, DeadKernelError):
        return f"the kernel died, most likely for lack of memory. {memory}"
    lines = error.evalue.strip().splitlines()
    message = "\n".join([f"{error.ename}: {lines[0]}", *lines[1:]]) if lines else error.ename
    if error.ename == "ModuleNotFoundError":
        return f"{message}. Install what it needs: pip install -r {task.path}/requirements.txt"
    return f"{message}. {memory}" if OUT_OF_MEMORY.search(message) else message


def execute(
    notebook: nbformat.NotebookNode, task: Task, mode: str, timeout: int | None = None
) -> dict | None:
    """Execute a notebook in place and return what its last cell recorded (None: nothing).

    `timeout` is in seconds for each cell. Raises RunError naming the cell that fails.
    """
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    client = Client(
        notebook,
        timeout=timeout,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        shutdown_kernel="immediate",
    )
    client.km = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisPython())
    client.owns_km = True
    client.start_report(task.read_results().get(mode, {}).get("cell_seconds", []))
    with tempfile.TemporaryDirectory() as folder:
        recorded = Path(folder) / "record.json"
        environment = {
            "OMP_WAIT_POLICY": "passive",  # spinning threads crawl on a busy machine
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(task.root), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            "DL_MODE": mode,
            "DL_RECORD": str(recorded),
            "TQDM_DISABLE": os.environ.get("TQDM_DISABLE", "1"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a warning of the debugger
        }
        client.resources = {"metadata": {"path": str(task.folder)}}
        if os.name == "posix":  # sockets in the temporary folder work without any network device
            client.km.transport, client.km.ip = "ipc", str(Path(folder) / "kernel")
        try:
            client.execute(env=environment)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            number, heading = client.numbers[client.current], client.headings[client.current]
            message = f'Cell [{number}] under "{heading}" failed: {failure(error, task)}'
            raise RunError(message) from error
        except RuntimeError as error:  # nbclient's own, when no kernel answers
            raise RunError(f"The notebook's kernel cannot be reached: {error}") from error
        except KeyboardInterrupt:
            if client.km.has_kernel:
                client.km.provisioner.process.kill()
            raise
        if not recorded.exists():
            return None
        result = json.loads(recorded.read_text(encoding="utf-8"))
        return result | {"cell_seconds": client.seconds}


def with_settings(
    notebook: nbformat.NotebookNode, settings: dict[str, object]
) -> nbformat.NotebookNode:
    """Return a copy of a notebook whose first top-level `NAME = ...` has another value.

    Raises TaskError for a name that no cell assigns.
    """
    changed = copy.deepcopy(notebook)
    for name, value in settings.items():
        for cell in code_cells(changed):
            found = [
                node
                for node in ast.parse(cell.source).body
                if isinstance(node, ast.Assign)
                and [getattr(target, "id", None) for target in node.targets] == [name]
            ]
            if found:
                lines = cell.source.split("\n")
                first, last = found[0].lineno - 1, found[0].end_lineno
                lines[first:last] = [f"{name} = {value!r}"]
                cell.source = "\n".join(lines)
                break
        else:
            raise TaskError(f"No cell assigns {name} at top level, so --set cannot change it.")
    return changed


def write_copy(notebook: nbformat.NotebookNode, task: Task, mode: str, ending: str = "") -> str:
    """Write the executed copy to runs/ and return its path; `ending` marks an incomplete one."""
    path = task.root / "runs" / f"{task.name}.{mode}{ending}.ipynb"
    path.parent.mkdir(exist_ok=True)
    write_notebook(path, notebook)
    return path.relative_to(task.root).as_posix()


def require_writable(*folders: Path) -> None:
    """Raise RunError if a folder cannot be written: asked before a run, which may take hours."""
    for folder in folders:
        try:
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise RunError(
                f"Nothing was run: {folder.name}/ cannot be written ({error})."
            ) from error


def save(executed: nbformat.NotebookNode, task: Task, recorded: dict) -> str:
    """Store outputs, stamp and results.json of a run; return a sentence about what was stored.

    A quick run never replaces the outputs of a full run of the same code: only its figures are
    added. Markdown edited during the run is kept. Raises RunError if the code changed meanwhile.
    """
    notebook, digest, mode = task.read_notebook(), code_digest(executed), recorded["mode"]
    if code_digest(notebook) != digest:
        raise RunError("Nothing was stored: the notebook's code was changed while it ran.")
    shared = shared_digest(executed, task.root)
    date = datetime.now(timezone.utc).date().isoformat()
    run = recorded | {"digest": digest, "shared": shared, "date": date}
    results = {
        key: value
        for key, value in task.read_results().items()
        if key in ("full", "quick", "seeds", "mutations") and value.get("digest", digest) == digest
    }
    if mode == "quick" and "full" in results and state(notebook, task.root).startswith("full"):
        results |= {"quick": run, "stored": "full"}
        said = "The outputs of the full run stay; the quick run's figures were added."
    else:
        for cell, ran in zip(code_cells(notebook), code_cells(executed), strict=True):
            cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
        if mode == "quick":
            results.pop("full", None)
        results |= {mode: run, "stored": mode}
        keys = ("mode", "digest", "shared", "device", "versions", "seconds", "date")
        stamp = {key: run[key] for key in keys}
        notebook.metadata["stamp"] = stamp | {"outputs": outputs_digest(notebook)}
        notebook.metadata["language_info"] = executed.metadata["language_info"]
        replace_block(notebook, render_block(run))
        said = f"Stored the outputs of this {mode} run: {figure(run)}."
    write_results(task, results)
    write_notebook(task.notebook, notebook)
    return said


def write_results(task: Task, results: dict) -> None:
    """Write results.json, sorted and readable."""
    text = json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False)
    text = re.sub(r"\[[^\[\]]*\]", lambda match: " ".join(match[0].split()), text)  # short lists
    write_text(task.results, text + "\n")


def run(
    task: Task, mode: str, store: bool = False, settings: dict | None = None, timeout=None
) -> tuple[dict, str]:
    """Run one task; return what it recorded and a closing sentence. Raises RunError if it fails."""
    require_writable(task.root / "runs", *([task.folder] if store else []))
    notebook = with_settings(task.read_notebook(), settings or {})
    if result_block(notebook) is None:
        raise RunError("The first cell lacks the lines <!-- result --> and <!-- /result -->.")
    if store and not any("record(" in cell.source for cell in code_cells(notebook)):
        raise RunError("--save needs a last cell that calls record(...).")
    if mode == "full":
        print(how_long(task))
    begin = time.perf_counter()
    print(f"{task.path}, {mode} mode", flush=True)
    changed = "".join(f".{name}={value}" for name, value in (settings or {}).items())
    changed = re.sub(r"[^\w.=-]", "_", changed)
    note = "<!-- result -->\n{}\n<!-- /result -->"
    try:
        recorded = execute(notebook, task, mode, timeout)
    except RunError as error:
        replace_block(
            notebook, note.format(f"This run did not finish. {str(error).split(':')[0]}.")
        )
        path = write_copy(notebook, task, mode, f"{changed}.failed")
        raise RunError(f"{error}\nThe copy with the error: {path}") from error
    except KeyboardInterrupt:
        replace_block(notebook, note.format("This run was interrupted."))
        write_copy(notebook, task, mode, f"{changed}.interrupted")
        raise
    said = ""
    if recorded is None and store:
        raise RunError("Nothing was stored: the notebook did not call record(...).")
    if store:
        said = save(notebook, task, recorded)
    if recorded:
        date = datetime.now(timezone.utc).date().isoformat()
        replace_block(notebook, render_block(recorded | {"date": date}))
    path = write_copy(notebook, task, mode, changed)
    seconds = time.perf_counter() - begin
    return recorded, f"{task.path} ran in {seconds:.0f} s. Executed copy: {path}. {said}".strip()


def how_long(task: Task) -> str:
    """Return a sentence about the time that a full run takes."""
    if known := task.read_results().get("full"):
        took = duration(known["seconds"])
        return f"The stored full run took {took} on {known['device']} ({known['precision']})."
    return "No full run is stored. Expect minutes on a GPU, and an hour or more on a CPU."


def run_seeds(task: Task, mode: str, count: int, settings: dict, timeout) -> str:
    """Run a task with the seeds 0 to count - 1, store the figures, return a line about them."""
    values = []
    for seed in range(count):
        recorded, said = run(task, mode, False, settings | {"seed": seed}, timeout)
        if recorded is None:
            raise RunError("The notebook did not call record(...), so there is nothing to compare.")
        values.append(recorded["value"])
        print(f"seed {seed}: {figure(recorded)}\n", flush=True)
    worst = min(values) if recorded["higher_is_better"] else max(values)
    spread = statistics.stdev(values) if count > 1 else 0.0
    if not settings:
        entry = {"device": recorded["device"], "values": values}
        notebook, results = task.read_notebook(), task.read_results()
        seeds = results.get("seeds", {})
        digest = code_digest(notebook)
        seeds = seeds if seeds.get("digest") == digest else {"digest": digest}
        write_results(task, results | {"seeds": seeds | {mode: entry}})
    listed = ", ".join(f"{value:.4g}" for value in values)
    mean = statistics.mean(values)
    return (
        f"{task.path}, {mode} mode, {recorded['metric']} in {recorded['unit']}: {listed}; "
        f"mean {mean:.4g}, standard deviation {spread:.2g}, worst {worst:.4g}"
    )


def list_tasks(root: Path) -> None:
    """Print one line for each task: stored outputs, metric, time, device."""
    print(f"{'task':42} {'outputs':20} result of the stored run")
    for task in all_tasks(root):
        try:
            run, stored = task.stored_run(), state(task.read_notebook(), root)
            result = f"{figure(run)}, {duration(run['seconds'])}, {run['device']}" if run else ""
        except TaskError as error:
            stored, result = "unreadable", str(error)
        print(f"{task.path:42} {stored:20} {result}")


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


def parser() -> Parser:
    """Return the command line's parser."""
    parser = Parser("tools.run", __doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="image_generation/vae, or vae")
    parser.add_argument("--save", action="store_true", help="store the outputs, stamped")
    parser.add_argument("--list", action="store_true", help="list the tasks")
    parser.add_argument("--seeds", type=positive, metavar="N", help="run with seeds 0 to N - 1")
    parser.add_argument(
        "--set", type=setting, action="append", default=[], metavar="NAME=VALUE", help="a setting"
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument(
        "--cell-timeout", type=positive, metavar="SECONDS", help="stop a cell that takes longer"
    )
    return parser


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    arguments = parser().parse_args(arguments)
    if arguments.list:
        list_tasks(root)
        return 0
    if not arguments.tasks:
        parser().error("name a task, or use --list to see them")
    if arguments.save and (arguments.set or arguments.seeds):
        parser().error("--save stores the notebook as it is: leave out --set and --seeds")
    try:
        tasks = find_tasks(arguments.tasks, root)
        from common.device import mode  # here, since importing torch takes seconds

        current = mode()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    settings, failed = dict(arguments.set), 0
    for task in tasks:
        try:
            if arguments.seeds:
                said = run_seeds(task, current, arguments.seeds, settings, arguments.cell_timeout)
            else:
                timeout = arguments.cell_timeout
                recorded, said = run(task, current, arguments.save, settings, timeout)
                if arguments.record:
                    write_text(arguments.record, json.dumps(recorded))
            print(f"{said}\n", flush=True)
        except (RunError, TaskError) as error:
            failed += 1
            print(f"\n{task.path}: {error}\n", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print(f"\n{task.path}: interrupted, nothing was stored.", file=sys.stderr)
            return 130
    if len(tasks) > 1:
        print(f"{len(tasks) - failed} of {len(tasks)} tasks ran to their end.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # not every Windows pipe knows every character
    sys.exit(main())

"""Run task notebooks from the first cell to the last in a fresh kernel of this Python.

    python -m tools.run vae                     run it; the executed copy goes to runs/, as notebook and HTML page
    python -m tools.run --save vae              also store the outputs in the notebook, with a stamp and results.json
    python -m tools.run --list                  list the tasks and the state of their stored outputs

DL_MODE=quick or DL_MODE=full sets the mode; unset means full on a CUDA GPU and quick elsewhere.
"""

import argparse
import copy
import json
import os
import re
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from tools.stamp import BLOCK, code_digest, figure, framed, outputs_digest, result_block, state
from tools.tasks import ROOT, Task, all_tasks, code_cells, find_tasks, write_text

MATHS = re.compile(r"```.*?```|`[^`\n]*`|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$]+?)\$", re.DOTALL)
OUT_OF_MEMORY = re.compile(r"out of memory|not enough memory|can't allocate memory|MemoryError", re.IGNORECASE)


class RunError(RuntimeError):
    """A notebook did not run to its end, or its outputs cannot be stored; the message says why."""


class ThisPython(KernelSpecManager):
    """Serves the Python that is running now as the kernel, whatever kernels are registered on this machine."""

    def get_kernel_spec(self, kernel_name):
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict(extra_arguments=["--log-level=40"]))


class Client(NotebookClient):
    """nbclient's notebook client that also prints what the cells print, as it comes."""

    def output(self, outs, msg, display_id, cell_index):
        if msg["msg_type"] == "stream":
            text = msg["content"]["text"]
            print(text, end="", flush=True)
            self.mid_line = not text.endswith("\n")
        return super().output(outs, msg, display_id, cell_index)


def cell_titles(notebook: nbformat.NotebookNode) -> dict[int, str]:
    """Return for each code cell, by its position, the heading that it stands under."""
    titles, heading = {}, ""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)
            heading = headings[-1].strip() if headings else heading
        titles[index] = heading
    return titles


def failure(error: Exception, task: Task) -> str:
    """Return in one or two sentences why a cell failed and, where it is known, what to do."""
    if isinstance(error, CellTimeoutError):
        return "it took longer than --cell-timeout allows."
    if isinstance(error, DeadKernelError):
        return "the kernel died, most likely for want of memory: lower batch_size in the settings cell."
    lines = error.evalue.strip().splitlines()
    message = f"{error.ename}: {lines[-1]}" if lines else error.ename
    if error.ename == "ModuleNotFoundError":
        return f"{message}. Install what the task needs: pip install -r {task.path}/requirements.txt"
    if OUT_OF_MEMORY.search(f"{error.ename} {error.evalue}"):
        return f"{message}. Lower batch_size in the settings cell, or close other programs that use the memory."
    return message


def execute(notebook: nbformat.NotebookNode, task: Task, mode: str, timeout: float | None = None) -> dict | None:
    """Execute a notebook in place, in a fresh kernel, and return what its last cell recorded (None: nothing).

    `timeout` is in seconds for each cell. Raises RunError naming the cell that fails.
    """
    options = {"record_timing": False, "store_widget_state": False, "coalesce_streams": True, "timeout": timeout}
    options["shutdown_kernel"] = "immediate"
    client = Client(notebook, **{name: value for name, value in options.items() if Client.class_traits().get(name)})
    client.km = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisPython())
    client.owns_km, client.mid_line = True, False
    titles, total, number = cell_titles(notebook), len(code_cells(notebook)), 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory() as folder:
        recorded = Path(folder) / "record.json"
        environment = {"OMP_WAIT_POLICY": "passive"} | os.environ  # spinning threads crawl on a busy machine
        environment |= {
            "DL_MODE": mode,
            "DL_RECORD": str(recorded),
            "TQDM_DISABLE": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger's start-up warning
        }
        with client.setup_kernel(cwd=str(task.folder), env=environment):
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type != "code" or not cell.source.strip():
                    continue
                number += 1
                print(f"{chr(10) * client.mid_line}[{number}/{total}] {titles[index]}", flush=True)
                client.mid_line = False
                try:
                    client.execute_cell(cell, index, execution_count=number)
                except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                    title = f' under "{titles[index]}"' if titles[index] else ""
                    raise RunError(f"Cell [{number}]{title} failed: {failure(error, task)}") from error
        return json.loads(recorded.read_text(encoding="utf-8")) if recorded.exists() else None


def write_notebook(path: Path, notebook: nbformat.NotebookNode) -> None:
    """Write a notebook in one step, without what differs from run to run."""
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for key in ("execution", "ExecuteTime", "scrolled"):
            cell.metadata.pop(key, None)
    write_text(path, nbformat.writes(notebook) + "\n")


def to_mathml(formula: str, display: str) -> str:
    """Return a LaTeX formula as MathML, "block" or "inline", after mending what latex2mathml does not understand."""
    from latex2mathml.converter import convert

    formula = re.sub(r"\\(math\w+) +(\w)", r"\\\1{\2}", formula)  # \mathcal N
    formula = formula.replace(r"\begin{aligned}", r"\begin{array}{rl}").replace(r"\end{aligned}", r"\end{array}")
    return convert(formula, display=display)


def write_copies(notebook: nbformat.NotebookNode, task: Task, mode: str) -> Path:
    """Write the executed copy to runs/, as a notebook and as one HTML page; return the path of the page.

    The page is complete in itself: formulas are MathML, which browsers show without any script.
    """
    from nbconvert import HTMLExporter  # here, since importing it takes a second

    path = task.root / "runs" / f"{task.name}.{mode}.ipynb"
    path.parent.mkdir(exist_ok=True)
    write_notebook(path, notebook)
    formulas = []

    def set_aside(match):  # nbconvert would leave formulas to a script from the network
        if match.lastgroup is None:
            return match.group()
        try:
            formulas.append(to_mathml(match[match.lastgroup], match.lastgroup))
        except Exception:  # latex2mathml raises many kinds; a formula is no reason to lose a run
            return match.group()
        return f"formula-{len(formulas) - 1}-"

    shown = copy.deepcopy(notebook)
    for cell in shown.cells:
        if cell.cell_type == "markdown":
            cell.source = MATHS.sub(set_aside, cell.source)
    names = {"metadata": {"name": f"{task.name} ({mode} run)", "path": str(task.folder)}}
    page, _ = HTMLExporter(embed_images=True).from_notebook_node(shown, names)
    page = re.sub(r"<script[^>]* src=[^>]*>\s*</script>", "", page)
    page = re.sub(r"formula-(\d+)-", lambda match: formulas[int(match[1])], page)
    write_text(path.with_suffix(".html"), page)
    return path.with_suffix(".html")


def require_storable(notebook: nbformat.NotebookNode) -> None:
    """Raise RunError if a run of this notebook could not be stored; asked before the run, which may take hours."""
    if result_block(notebook) is None:
        raise RunError("--save needs the lines <!-- result --> and <!-- /result --> in the first cell, to fill them.")
    if not any("record(" in cell.source for cell in code_cells(notebook)):
        raise RunError("--save needs a last cell that calls record(...).")


def save(executed: nbformat.NotebookNode, task: Task, recorded: dict | None) -> str:
    """Store outputs, stamp and results.json of a run; return one sentence that says what was stored.

    A quick run never replaces the outputs of a full run of the same code: only its figures are added. Markdown
    that was edited during the run is kept. Raises RunError if the notebook recorded nothing or its code changed.
    """
    if recorded is None:
        raise RunError("Nothing was stored: the notebook did not call record(...).")
    notebook, digest, mode = task.read_notebook(), code_digest(executed), recorded["mode"]
    cells, ran = code_cells(notebook), code_cells(executed)
    if code_digest(notebook) != digest or len(cells) != len(ran):
        raise RunError("Nothing was stored: the notebook's code was changed while it ran. The copy in runs/ is whole.")
    entry = recorded | {"digest": digest, "date": datetime.now(timezone.utc).date().isoformat()}
    try:
        earlier = task.read_results()
    except ValueError:  # it is written anew
        earlier = {}
    results = {key: earlier[key] for key in ("full", "quick") if earlier.get(key, {}).get("digest") == digest}
    if mode == "quick" and "full" in results and state(notebook) == "full":
        said = "The stored outputs are those of a full run and stay; the quick run's figures were added."
    else:
        said = f"Stored the outputs of this {mode} run: {figure(entry)}."
        results = {key: value for key, value in results.items() if key == "quick"}
        for cell, source in zip(cells, ran, strict=True):
            cell.outputs, cell.execution_count = source.outputs, source.execution_count
        keys = ("mode", "digest", "device", "versions", "seconds", "peak_memory_gib", "date")
        notebook.metadata["stamp"] = {key: entry[key] for key in keys} | {"outputs": outputs_digest(notebook)}
    results |= {mode: entry, "stored": notebook.metadata["stamp"]["mode"]}
    notebook.cells[0].source = BLOCK.sub(lambda _: framed(results), notebook.cells[0].source, count=1)
    write_text(task.results, json.dumps(results, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    write_notebook(task.notebook, notebook)
    return said


def run(task: Task, mode: str, store: bool = False, timeout: float | None = None) -> str:
    """Run one task, write its copies to runs/ and return a closing sentence; raises RunError if it fails."""
    print(f"{task.path}, {mode} mode", flush=True)
    notebook, begin = task.read_notebook(), time.perf_counter()
    if store:
        require_storable(notebook)
    try:
        recorded = execute(notebook, task, mode, timeout)
    except RunError as error:
        page = write_copies(notebook, task, mode)
        raise RunError(f"{error}\nThe copy with the error: {page.relative_to(task.root).as_posix()}") from error
    page = write_copies(notebook, task, mode)
    said = save(notebook, task, recorded) if store else "To see it, open the page."
    seconds = time.perf_counter() - begin
    return f"{task.path} ran in {seconds:.0f} s. Executed copy: {page.relative_to(task.root).as_posix()}. {said}"


def list_tasks(root: Path) -> None:
    """Print one line for each task: state of its stored outputs, metric, device, time."""
    for task in all_tasks(root):
        entry, line = task.read_stored(), f"{task.path:40} {state(task.read_notebook()):10}"
        if entry:
            line += f" {figure(entry)} | {entry['device']} | {entry['seconds']:.0f} s"
        print(line)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="image_generation/vae, or vae for short")
    parser.add_argument("--save", action="store_true", help="store the outputs in the notebook, stamped")
    parser.add_argument("--list", action="store_true", help="list the tasks and the state of their outputs")
    parser.add_argument("--cell-timeout", type=float, metavar="SECONDS", help="stop a cell that takes longer")
    options = parser.parse_args(arguments)
    if options.list:
        list_tasks(root)
        return 0
    if not options.tasks:
        parser.error("name a task, or use --list to see them")
    try:
        tasks = find_tasks(options.tasks, root)
        from common.settings import mode  # here, since importing torch takes seconds

        current = mode()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    outcome = {}
    for task in tasks:
        try:
            outcome[task.path] = "passed"
            print(run(task, current, options.save, options.cell_timeout) + "\n", flush=True)
        except RunError as error:
            outcome[task.path] = "failed"
            print(f"\n{task.path}: {error}\n", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print(f"\n{task.path}: interrupted; nothing was stored.", file=sys.stderr)
            return 130
    if len(tasks) > 1:
        print("\n".join(f"{path}: {result}" for path, result in outcome.items()))
    return int("failed" in outcome.values())


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # not every Windows pipe knows every character
    sys.exit(main())

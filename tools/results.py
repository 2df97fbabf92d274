"""results.json of a task: read, refused if odd, written; and how figures read in a sentence."""

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from tools.tasks import Task, TaskError, write_text

NUMBER = (int, float)
TEXTS = "mode data metric unit reference device precision digest shared date".split()
RUN: dict = {  # what `record` and `tools run` write of one run
    **dict.fromkeys(TEXTS, str),
    **dict.fromkeys(("value", "train_seconds", "seconds"), NUMBER),
    **dict.fromkeys(("baseline", "flops", "extra", "versions"), dict),
    **{"higher_is_better": bool, "parameters": int, "peak_memory_gib": (*NUMBER, type(None))},
    "cpu_seconds": NUMBER,  # missing where it was not measured
}
MUTATIONS = {"digest": str, "killed": int, "of": int, "seconds": NUMBER}
SEEDS = {"device": str, "values": list}
MOST_BYTES = 20_000
Run = dict[str, Any]


@dataclass
class Results:
    """What is known of a task's runs; each part belongs to the code with its digest."""

    full: Run | None = None
    quick: Run | None = None
    seeds: dict[str, Any] = field(default_factory=dict)  # digest, and per mode device and values
    mutations: dict[str, Any] = field(default_factory=dict)
    stored: str = ""  # "full" or "quick": whose outputs the notebook shows

    @classmethod
    def read(cls, task: Task) -> "Results":
        """Return what results.json says (no file: nothing); raises TaskError if it is odd."""
        if not task.results.exists():
            return cls()
        try:
            if task.results.stat().st_size > MOST_BYTES:
                raise TaskError(f"it is larger than {MOST_BYTES:,} bytes")
            text = task.results.read_text(encoding="utf-8")
            content = _require_dict(json.loads(text, parse_constant=_no_number))
            if unknown := content.keys() - {"full", "quick", "seeds", "mutations", "stored"}:
                raise TaskError(f"it has the unknown key {min(unknown)}")
            results = cls(**{key: value for key, value in content.items() if value is not None})
            for mode in ("full", "quick"):
                if (run := getattr(results, mode)) is not None:
                    check_keys(_require_dict(run) | {"mode": mode}, RUN)
                    run["mode"] = mode
                if mode in _require_dict(results.seeds):
                    check_keys(_require_dict(results.seeds[mode]), SEEDS)
            if _require_dict(results.mutations):
                check_keys(results.mutations, MUTATIONS)
            if results.stored not in ("", "full", "quick"):
                raise TaskError("its key stored says neither full nor quick")
            return results
        except (ValueError, OSError) as error:  # TaskError is a ValueError
            raise TaskError(f"{task.path}/results.json is not a record of runs: {error}") from error

    def write(self, task: Task) -> None:
        """Write results.json."""
        write_text((task.results, self.text()))

    def text(self) -> str:
        """Return what results.json says, sorted and readable."""
        content = {key: value for key, value in asdict(self).items() if value}
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
        text = re.sub(r"\[[^\[\]]*\]", lambda match: " ".join(match[0].split()), text)  # lists
        return text + "\n"

    def of_code(self, digest: str) -> "Results":
        """Return the parts that belong to the code with this digest."""
        parts = asdict(self) | {"stored": None}
        kept = {key: part for key, part in parts.items() if part and part.get("digest") == digest}
        return Results(**kept, stored=self.stored if self.stored in kept else "")

    @property
    def shown(self) -> Run | None:
        """The run whose outputs the notebook shows."""
        return getattr(self, self.stored) if self.stored else None


def check_keys(entry: dict, kinds: dict) -> None:
    """Raise TaskError if an entry of results.json lacks a key, or has an unknown or odd one."""
    entry = {"cpu_seconds": 0.0} | entry if kinds is RUN else entry
    for key, kind in kinds.items():
        if not isinstance(entry.get(key), kind) or (kind is not bool and entry.get(key) is True):
            raise TaskError(f"it lacks {key}, or {key} is of the wrong kind")
    if unknown := entry.keys() - kinds.keys():
        raise TaskError(f"it has the unknown key {min(unknown)}")
    if kinds is RUN:
        check_keys(entry["baseline"], {"name": str, "value": NUMBER})
        numbers = [*entry["flops"].values(), *entry["extra"].values()]
        if not all(isinstance(number, NUMBER) for number in numbers):
            raise TaskError("flops and extra hold numbers only")
        check_keys(entry["versions"], {"torch": str, "python": str})
        texts = [entry[key] for key in TEXTS] + list(entry["extra"])
        if any(not text.isprintable() or len(text) > 300 for text in texts):
            raise TaskError("a text in it has a line break or more than 300 characters")
        shown = " ".join([*(entry[key] for key in TEXTS), entry["baseline"]["name"]])
        if found := re.search(r"<\S|\]\(|[|`]|://", shown):
            raise TaskError(f"a text in it holds {found[0]}, which README would not show as it is")


def _no_number(name: str) -> None:
    raise TaskError(f"{name} is no number")


def _require_dict(value: Any) -> dict:
    if not isinstance(value, dict):
        raise TaskError(f"{str(value)[:40]!r} stands where names and values belong")
    return value


def duration(seconds: float) -> str:
    """Return a time to read: "24 s", "7 min" or "2.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def result_text(run: Run) -> str:
    """Return the metric with its value and unit: "test accuracy 93.1 %"."""
    return f"{run['metric']} {run['value']:.4g} {run['unit']}".strip()


def compute(run: Run) -> str:
    """Return all floating-point operations of a run: "0.41 PFLOP"."""
    return f"{sum(run['flops'].values()) / 1e15:.2g} PFLOP"


def result_block(run: Run) -> str:
    """Return what the first cell says of a run, between its two marker lines."""
    baseline = f"{run['baseline']['name']} {run['baseline']['value']:.4g}"
    first = f"**{result_text(run)}** on {run['data']} ({run['mode']} mode; baseline {baseline}"
    first += f"; reference: {run['reference']})." if run["mode"] == "full" else ")."
    memory = f", peak memory {run['peak_memory_gib']:.1f} GiB" if run["peak_memory_gib"] else ""
    second = (
        f"The outputs below are those of this **{run['mode']} run**, made on {run['date']} on "
        f"{run['device']} in {run['precision']} with torch {run['versions']['torch']}: training "
        f"{duration(run['train_seconds'])}, whole notebook {duration(run['seconds'])}, "
        f"{compute(run)}{memory}. When you run the notebook, the last cell prints your figures."
    )
    return f"{first}\n\n{second}"

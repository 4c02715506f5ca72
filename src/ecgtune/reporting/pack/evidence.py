"""Facts of a run for its pack: result files, read once, with the place of every value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ecgtune.errors import RunError
from ecgtune.reporting.evidence import RESULTS, read_result
from ecgtune.reporting.evidence import read_evidence as read_inside
from ecgtune.reporting.folders import FinishedRun, read_run
from ecgtune.reporting.pack.tracked import Ledger, Place
from ecgtune.text import printable_values
from ecgtune.training.schemas import Results, SavedModel
from ecgtune.utils import formatting
from ecgtune.utils.stored import read_json, read_toml

#: Folder of the pack with copies of the result files.
FACTS = "facts"
#: Names in the templates, and files of the run folder; those that a run may lack last.
_FILES = {
    "metrics": "metrics.json",
    "environment": "environment.json",
    "recipe": "recipe.toml",
    "model": "best/model.json",
    "calibration": "calibration.json",
    "certainty": "certainty.json",
}
_NEEDED = ("metrics", "environment", "recipe")
#: Files of `ecgtune evaluate` and `ecgtune stress`, and the command that writes them.
_RESULTS = {"external": ("external.json", "evaluate"), "stress": ("stress.json", "stress")}


@dataclass(frozen=True)
class Evidence:
    """A finished run with tracked values, and the files that the pack copies.

    facts: content of each file by its name in the templates, None for one that there is not. copies: path inside the
    pack, and the file.
    """

    run: FinishedRun
    ledger: Ledger
    facts: Mapping[str, Any]
    copies: Mapping[str, Path]


def read_evidence(folder: Path | str, evaluation: Path | None = None, stress: Path | None = None) -> Evidence:
    """Read a finished run folder, and of the run the folders of `ecgtune evaluate` and `ecgtune stress`.

    Where they are not given, the first ones in the run's folder are taken.

    Raises RunError for a folder that is not that of a finished fine-tuning, and for results of another run.
    """
    folder = Path(folder)
    if (folder / "results.json").is_file() and not (folder / "metrics.json").is_file():
        rows = read_json(folder / "results.json", Results)["rows"]
        first = next((run for row in rows for run in row["runs"]), "METHOD/seed-0")
        raise RunError(f"{folder} holds a comparison; give one of its runs, such as {folder / first}")
    run = read_run(folder)
    ledger = Ledger()
    sources = {name: folder / file for name, file in _FILES.items()}
    sources = {name: file for name, file in sources.items() if file.is_file() or name in _NEEDED}
    inside = read_inside(folder)
    for name, given in (("external", evaluation), ("stress", stress)):
        given = given or next(iter(getattr(inside, name)), None)
        if given is not None:
            sources[name] = _result(run, Path(given), *_RESULTS[name])
    facts: dict[str, Any] = dict.fromkeys((*_FILES, *_RESULTS))
    copies = {}
    for name, file in sources.items():
        copy = f"{FACTS}/{file.name}"
        facts[name] = ledger.track(_content(file), Place(copy, ""))
        copies[copy] = file
    kept = ("metrics", "environment", "calibration", "certainty")
    tracked = replace(run, **{name: facts[name] for name in kept})
    return Evidence(tracked, ledger, facts, copies)


def _content(file: Path) -> Any:
    if file.name in RESULTS:
        return read_result(file)
    schema = SavedModel if file.name == "model.json" else dict[str, Any]  # the others are read by `read_run` first
    return printable_values(read_json(file, schema) if file.suffix == ".json" else read_toml(file))


def _result(run: FinishedRun, folder: Path, name: str, command: str) -> Path:
    """Return the result file of a folder. Raises RunError where it is missing, or is that of another run."""
    file = folder / name
    if not file.is_file():
        raise RunError(f"{folder} has no {name}; give a folder that 'ecgtune {command}' wrote")
    content = read_result(file)
    # Both commands store the summary of the run, which has its test metrics with their intervals.
    auroc = run.metrics["window"]["metrics"]["auroc"]
    known = f"{formatting.score(auroc['value'])} (95 % interval {formatting.interval(auroc)})"
    if known not in content["run"]:
        raise RunError(f"{file} is not of {run.folder}; run 'ecgtune {command} {run.folder} ...' again")
    return file

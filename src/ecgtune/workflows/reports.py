"""Reports of finished runs and comparisons, written again with the evidence that their folders hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecgtune.config.base import require
from ecgtune.deployment.run import read_run
from ecgtune.reporting.folders import PRETRAINING, read_comparison, readable
from ecgtune.reporting.recommendation import shown_run
from ecgtune.reporting.writing import write_comparison_report, write_pretraining, write_run_report
from ecgtune.runtime.predictor import Predictor
from ecgtune.training.run_folder import RunFolder
from ecgtune.utils.locks import exclusive
from ecgtune.utils.stored import read_json
from ecgtune.workflows.cases import EACH, write_cases
from ecgtune.workflows.environment import command_line

RESULTS, METRICS = "results.json", "metrics.json"
#: Cases of each kind; more would make the page large.
MOST = 10


def write_report(
    folder: str | Path, *, cases: int = EACH, device: str = "auto", wait: bool = False
) -> tuple[Path, str | None]:
    """Write `report.html` of a run, pretraining or comparison again, with cases and the evidence in its folder.

    Evidence are sub-folders that `ecgtune evaluate` and `ecgtune stress` wrote. cases: windows of each kind; 0 leaves
    those that are there. device: to compute on. wait: while another process uses the folder, instead of an error.
    Returns the report, and why there are no new cases, None where there are. Raises RunError for a folder without a
    finished result.
    """
    require(0 <= cases <= MOST, f"cases is {cases}; allowed: 0 to {MOST}")
    folder = Path(folder)
    if (folder / RESULTS).is_file() and not (folder / METRICS).is_file():
        with readable(folder):
            shown = folder / shown_run(read_comparison(folder).results)
        missing = _with_cases(shown, cases, device, wait)
        with exclusive(folder, command_line(), wait=wait):
            return write_comparison_report(folder), missing
    RunFolder(folder).check_finished()
    if read_json(folder / METRICS, dict[str, Any]).get("kind") == PRETRAINING:
        with exclusive(folder, command_line(), wait=wait):
            return write_pretraining(folder, card=False), None
    return folder / "report.html", _with_cases(folder, cases, device, wait)


def _with_cases(folder: Path, cases: int, device: str, wait: bool) -> str | None:
    """Write the cases and the report of a run; return why there are no new cases."""
    with exclusive(folder, command_line(), wait=wait):
        missing = write_cases(read_run(folder), each=cases, device=device) if cases else None
        write_run_report(folder)
    return missing


def add_evidence(run: Predictor, folder: Path) -> None:
    """Write the report of a run again, and that of its comparison, where a result was written into the run's folder.

    Both wait for a process that uses their folder.
    """
    own: Path | None = getattr(run, "folder", None)
    if own is None or folder.resolve().parent != own.resolve():
        return
    with exclusive(own, command_line(), wait=True):
        write_run_report(own)
    comparison = own.resolve().parent.parent
    if (comparison / RESULTS).is_file():
        with exclusive(comparison, command_line(), wait=True):
            write_comparison_report(comparison)

"""`auto`: the five steps one after the other, each from files to files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecgtune.config.auto import STEPS, AutoSettings
from ecgtune.config.base import check_settings
from ecgtune.data.dataset import Dataset
from ecgtune.errors import EcgtuneError, RunError
from ecgtune.io.arrays import content_sha256, write_npz
from ecgtune.io.label_table import TableColumns
from ecgtune.io.records.reading import RecordFiles
from ecgtune.io.windows import WindowFiles, WindowSettings
from ecgtune.training.memory import out_of_memory
from ecgtune.utils.locks import exclusive
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.choose import choose
from ecgtune.workflows.auto.decide import decide
from ecgtune.workflows.auto.do import RESULTS, do
from ecgtune.workflows.auto.hand_over import export_note, hand_over
from ecgtune.workflows.auto.look import FILE as FINGERPRINT
from ecgtune.workflows.auto.look import look
from ecgtune.workflows.auto.plan_file import CHOICE, FOLDER, PROSE
from ecgtune.workflows.auto.repeat import check_repeated, compared, repeat
from ecgtune.workflows.auto.trial import windows_in_memory
from ecgtune.workflows.environment import command_line

DEFAULTS = AutoSettings()
#: File with the result of each step, in the order of the steps.
RESULT_OF = dict(zip(STEPS, (FINGERPRINT, PROSE, f"{FOLDER}/{RESULTS}", CHOICE, "answer.md"), strict=True))


def auto(
    data: str | Path | WindowFiles | RecordFiles | Dataset,
    settings: AutoSettings = DEFAULTS,
    *,
    out: str | Path = "runs/auto",
    wait: bool = False,
) -> Path:
    """Look at the data, decide, train, choose and hand over within a budget; return the path of answer.md.

    data: a CSV or NPZ file of windows, or a folder of WFDB recordings with diagnoses in their headers; `WindowFiles` or
    `RecordFiles`, which say how files are read, such as `RecordFiles("labels.csv", "recordings")` for a table of labels
    and a folder; or a dataset. One from `read_dataset`, `read_records` or `simulate` is read again by its source; one
    of arrays (`read_arrays`) is written to an NPZ file in `out`.

    `out` holds fingerprint.json, plan.toml, do/, choice.json, model/, answer.md, next.md, report.html, model.onnx and
    page.html. With `settings.until` the path is that of the result of the last step. Rerun to resume; time that was
    spent before counts. Raises QuestionError with all questions that the
    files leave open, and DataError, SettingError or RunError, one line each.
    """
    check_settings(settings, AutoSettings)
    out, stored = Path(out), None
    if isinstance(data, Dataset) and data.source.reading is None:
        stored = out / f"windows-{content_sha256(data)[:12]}.npz"
        request = WindowFiles(stored, settings=WindowSettings(positive=data.positive)).plain()
    else:
        request = request_of(data)
    steps = STEPS[: STEPS.index(settings.until) + 1]
    result = out / RESULT_OF[settings.until]
    locked = exclusive(out, command_line(), result=FINGERPRINT, wait=wait)
    with locked, ProgressBar() as progress, windows_in_memory(), _memory_errors(out):
        if stored is not None and isinstance(data, Dataset) and not stored.is_file():
            write_npz(data, stored)
        budget = Budget(out, progress)
        found = look(request, out, progress=progress)
        for sentence in found["assumed"]:
            progress.note(f"assumed: {sentence}")
        if "hand-over" in steps and (note := export_note()):
            progress.note(note)
        first = None if settings.repeat is None else Path(settings.repeat)
        if first is not None:
            check_repeated(first, found)
        if "decide" not in steps:
            return result
        plan = decide(out, settings)
        if "do" not in steps:
            budget.tick(now=True)
            return result
        budget.limit(plan.budget.seconds)
        if not all((out / name).is_file() for name in (CHOICE, RESULT_OF["do"])):
            if first is None:
                do(out, plan, budget, progress, settings.jobs)
            else:
                repeat(out, plan, budget, progress, settings.jobs, first)
        if "choose" in steps:
            choose(out, plan, budget, progress)
            if first is not None:
                progress.note(compared(out, first))
        if "hand-over" in steps:
            hand_over(out, plan, budget, progress)
        budget.tick(now=True)
    return result


@contextmanager
def _memory_errors(out: Path) -> Iterator[None]:
    """Raise RunError, one line, where memory ends outside of a training, which takes smaller pieces of a batch."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, EcgtuneError) or not out_of_memory(error):
            raise
        said = (str(error).splitlines() or [""])[0]
        raise RunError(
            f"memory ran out ({said or 'MemoryError'}); close other programs and rerun, which resumes in {out}"
        ) from None


def request_of(data: str | Path | WindowFiles | RecordFiles | Dataset) -> dict[str, Any]:
    """How the data are read, as plain values; see `Source.reading`."""
    if isinstance(data, Dataset):
        return dict(data.source.reading or {})
    if isinstance(data, (str, Path)):
        folder = Path(data).is_dir()
        data = RecordFiles(data, data, TableColumns(headers=True)) if folder else WindowFiles(data)
    return data.plain()

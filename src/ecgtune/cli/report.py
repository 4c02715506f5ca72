"""`ecgtune report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ecgtune.cli.inputs import check_exists
from ecgtune.cli.options import MOST_USED, Wait
from ecgtune.cli.output import say
from ecgtune.errors import SettingError


def report(
    folder: Annotated[Path, Parameter(group=MOST_USED)],
    /,
    *,
    pack: Annotated[Path | None, Parameter(group=MOST_USED)] = None,
    evaluation: Annotated[Path | None, Parameter(group=MOST_USED)] = None,
    stress: Annotated[Path | None, Parameter(group=MOST_USED)] = None,
    cases: Annotated[int, Parameter(group=MOST_USED)] = 2,
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], Parameter(group=MOST_USED)] = "auto",
    wait: Wait = False,
) -> None:
    """Write the report of a run or comparison again, or a reviewer's pack.

    The report has sections for what `ecgtune evaluate` and `ecgtune stress` wrote into sub-folders of the run, and
    recordings of the test split, right and wrong, with the stretches that influenced the prediction. With --pack, a
    folder for reviewers is written instead: a model card, drafts for TRIPOD+AI and STARD-AI, answers for PROBAST+AI,
    the methods with citations, tables (CSV, LaTeX), figures (SVG, PDF) and Croissant metadata of the data. Every number
    links the file and key that it was read from. What only a person can answer is blank.

    Parameters
    ----------
    folder
        Folder of a run, comparison or pretraining; with --pack of a run.
    pack
        New folder of the pack.
    evaluation
        For the pack: folder that `ecgtune evaluate` wrote for this run, if it is not in the run's folder.
    stress
        For the pack: folder that `ecgtune stress` wrote for this run, if it is not in the run's folder.
    cases
        Recordings of each kind, right and wrong, surest and least sure; 0 keeps those that are there.
    device
        Device that computes the influence of stretches; auto selects CUDA, then MPS, then the CPU.
    """
    check_exists(folder, *(each for each in (evaluation, stress) if each is not None))
    import ecgtune

    if pack is not None:
        say(*ecgtune.write_pack(folder, pack, evaluation=evaluation, stress=stress), f"pack: {pack / 'README.md'}")
        return
    if evaluation is not None or stress is not None:
        raise SettingError("--evaluation and --stress are for --pack; the report has what is in the run's folder")
    written, missing = ecgtune.write_report(folder, cases=cases, device=device, wait=wait)
    say(*([f"no new cases: {missing}"] if missing else []), f"report: {written}")

"""`ecgtune report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ecgtune.cli.inputs import check_exists
from ecgtune.cli.options import MOST_USED
from ecgtune.cli.output import say


def report(
    run: Annotated[Path, Parameter(group=MOST_USED)],
    /,
    *,
    pack: Annotated[Path, Parameter(group=MOST_USED)] = Path("pack"),
    evaluation: Annotated[Path | None, Parameter(group=MOST_USED)] = None,
    stress: Annotated[Path | None, Parameter(group=MOST_USED)] = None,
) -> None:
    """Write the reviewer's pack of a run: checklists, methods, tables.

    The pack has a model card, drafts for TRIPOD+AI and STARD-AI, answers for PROBAST+AI, the methods with citations,
    tables (CSV, LaTeX), figures (SVG, PDF) and Croissant metadata of the data. Every number links the file and key that
    it was read from. What only a person can answer is blank.

    Parameters
    ----------
    run
        Folder of a run that fine-tune or compare wrote.
    pack
        New folder of the pack.
    evaluation
        Folder that `ecgtune evaluate` wrote for this run: adds other data and subgroups.
    stress
        Folder that `ecgtune stress` wrote for this run: adds disturbances.
    """
    check_exists(run, *(each for each in (evaluation, stress) if each is not None))
    import ecgtune

    say(*ecgtune.write_pack(run, pack, evaluation=evaluation, stress=stress), f"pack: {pack / 'README.md'}")

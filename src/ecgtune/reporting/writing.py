"""Write the figures, tables, reports and model cards of a finished run, pretraining or comparison."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecgtune.errors import RunError
from ecgtune.reporting.figures import write_comparison_figures, write_pretraining_figures, write_run_figures
from ecgtune.reporting.folders import FinishedPretraining, read_comparison, read_pretraining, read_run, readable
from ecgtune.reporting.pages import comparison_facts, pretraining_facts, render, run_facts
from ecgtune.reporting.tables import table_csv, table_markdown
from ecgtune.utils.files import replace_folder, write_json, write_text
from ecgtune.utils.stored import read_text

CARD, REPORT = "README.md", "report.html"


def write_run(folder: Path | str, *, png: bool = False) -> Path:
    """Write `figures/`, `README.md` and `report.html` of a finished run folder; return the path of the report.

    Facts that are not in the files (intended use, annotators, reviewers) are marked as blanks in the card. Raises
    RunError when the run is not finished.
    """
    with readable(folder):
        run = read_run(folder)
        replace_folder(run.folder / "figures", lambda partial: write_run_figures(partial, run, png=png))
        facts = run_facts(run)
        write_text(run.folder / CARD, render("model-card.md.j2", facts))
        write_text(run.folder / REPORT, render("run.html.j2", facts))
        return run.folder / REPORT


def write_run_report(folder: Path | str) -> Path:
    """Write `report.html` of a finished run anew, with the evidence in its folder; return its path.

    Figures are drawn where they are missing; the card, whose blanks may be filled in, stays. Raises RunError as
    `write_run` does.
    """
    with readable(folder):
        run = read_run(folder)
        _keep_figures(run.folder, lambda partial: write_run_figures(partial, run))
        write_text(run.folder / REPORT, render("run.html.j2", run_facts(run)))
        return run.folder / REPORT


def write_comparison_report(folder: Path | str) -> Path:
    """Write `report.html` of a comparison anew, as `write_run_report` does that of a run."""
    with readable(folder):
        comparison = read_comparison(folder)
        _keep_figures(comparison.folder, lambda partial: write_comparison_figures(partial, comparison))
        write_text(comparison.folder / REPORT, render("comparison.html.j2", comparison_facts(comparison)))
        return comparison.folder / REPORT


def _keep_figures(folder: Path, draw: Callable[[Path], object]) -> None:
    """Draw the figures of a folder where they are missing."""
    if not (folder / "figures").is_dir():
        replace_folder(folder / "figures", draw)


def write_pretraining(folder: Path | str, *, png: bool = False, card: bool = True) -> Path:
    """Write `figures/`, `README.md` and `report.html` of a finished pretraining; return the path of the report.

    `card` False keeps an existing README.md, whose blanks may be filled in. Raises RunError as `write_run` does.
    """
    with readable(folder):
        run = read_pretraining(folder)
        replace_folder(run.folder / "figures", lambda partial: write_pretraining_figures(partial, run, png=png))
        if card:
            write_text(run.folder / CARD, _pretraining_card(run))
        write_text(run.folder / REPORT, render("pretraining.html.j2", pretraining_facts(run)))
        return run.folder / REPORT


def card_is_edited(folder: Path | str) -> bool:
    """Whether README.md of a finished pretraining differs from the output of `write_pretraining`.

    One that cannot be read does. Raises RunError as `write_run` does.
    """
    with readable(folder):
        run = read_pretraining(folder)
        file = run.folder / CARD
        # with and without the float16 files, which may be exported later
        written = {_without_path(_pretraining_card(each)) for each in (run, replace(run, files=run.files[:1]))}
        try:
            return file.is_file() and _without_path(read_text(file)) not in written
        except RunError:
            return True


def _without_path(card: str) -> str:
    """Return the card without the path of its folder, which depends on the working directory."""
    return re.sub(r"--model .*/best", "--model best", card)


def _pretraining_card(run: FinishedPretraining) -> str:
    return render("pretraining-card.md.j2", pretraining_facts(run))


def write_comparison(folder: Path | str, results: dict[str, Any], *, png: bool = False) -> Path:
    """Write `results.json`, `table.csv`, `table.md`, `figures/` and `report.html`; return the path of the report.

    results: content of results.json (docs/architecture.md); its runs must be finished in `folder`. Files are replaced
    atomically; the report is written last and marks a complete folder. Raises RunError for a missing run.
    """
    with readable(folder):
        comparison = read_comparison(folder, results)
        write_json(comparison.folder / "results.json", results)
        write_text(comparison.folder / "table.csv", table_csv(results))
        write_text(comparison.folder / "table.md", table_markdown(results))
        replace_folder(
            comparison.folder / "figures", lambda partial: write_comparison_figures(partial, comparison, png=png)
        )
        report = comparison.folder / REPORT
        write_text(report, render("comparison.html.j2", comparison_facts(comparison)))
        return report

"""Everything that is drawn and written about a finished run or comparison, in one call each."""

from pathlib import Path
from typing import Any

from ecgtune.reporting.figures import write_comparison_figures, write_run_figures
from ecgtune.reporting.html import write_comparison_report, write_pretraining_report, write_run_report
from ecgtune.reporting.model_card import write_model_card, write_pretraining_card
from ecgtune.reporting.pretraining_figures import write_pretraining_figures
from ecgtune.reporting.reading import read_comparison, read_pretraining, read_run
from ecgtune.reporting.tables import table_csv, table_markdown
from ecgtune.utils.files import replace_folder, write_json, write_text


def write_run(folder: Path | str, *, png: bool = False) -> Path:
    """Write `figures/`, `README.md` and `report.html` of a finished run folder; returns the report's path."""
    run = read_run(folder)
    replace_folder(run.folder / "figures", lambda partial: write_run_figures(partial, run, png=png))
    write_model_card(folder)
    return write_run_report(folder)


def write_pretraining(folder: Path | str, *, png: bool = False, card: bool = True) -> Path:
    """Write `figures/`, `README.md` and `report.html` of a finished pretraining; returns the report's path.

    With `card` a README.md that stands there is replaced, with the blanks that someone may have filled in.
    """
    run = read_pretraining(folder)
    replace_folder(run.folder / "figures", lambda partial: write_pretraining_figures(partial, run, png=png))
    if card:
        write_pretraining_card(folder)
    return write_pretraining_report(folder)


def write_comparison(folder: Path | str, results: dict[str, Any], *, png: bool = False) -> Path:
    """Write `results.json`, `table.csv`, `table.md`, `figures/` and `report.html`; returns the report's path.

    results: the layout of docs/architecture.md; the runs that it names must be finished in `folder`. Each file is
    replaced whole, and the report comes last: where it is, everything else is. Raises RunError for a missing run.
    """
    comparison = read_comparison(folder, results)
    write_json(comparison.folder / "results.json", results)
    write_text(comparison.folder / "table.csv", table_csv(results))
    write_text(comparison.folder / "table.md", table_markdown(results))
    replace_folder(
        comparison.folder / "figures", lambda partial: write_comparison_figures(partial, comparison, png=png)
    )
    return write_comparison_report(folder)

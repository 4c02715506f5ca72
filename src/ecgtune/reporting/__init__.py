"""Run and comparison folders into figures, tables, HTML and a model card. Reads files only."""

from ecgtune.reporting.figures import write_comparison_figures, write_run_figures
from ecgtune.reporting.html import write_comparison_report, write_pretraining_report, write_run_report
from ecgtune.reporting.model_card import CARD, card_is_edited, write_model_card, write_pretraining_card
from ecgtune.reporting.pretraining_figures import write_pretraining_figures
from ecgtune.reporting.reading import (
    Comparison,
    PretrainingRun,
    Run,
    read_comparison,
    read_pretraining,
    read_run,
)
from ecgtune.reporting.sweep import Sweep, Trial, read_sweep, write_sweep
from ecgtune.reporting.tables import table_csv, table_markdown, table_notes, terminal_table
from ecgtune.reporting.writing import write_comparison, write_pretraining, write_run

__all__ = [
    "CARD",
    "Comparison",
    "PretrainingRun",
    "Run",
    "Sweep",
    "Trial",
    "card_is_edited",
    "read_comparison",
    "read_pretraining",
    "read_run",
    "read_sweep",
    "table_csv",
    "table_markdown",
    "table_notes",
    "terminal_table",
    "write_comparison",
    "write_comparison_figures",
    "write_comparison_report",
    "write_model_card",
    "write_pretraining",
    "write_pretraining_card",
    "write_pretraining_figures",
    "write_pretraining_report",
    "write_run",
    "write_run_figures",
    "write_run_report",
    "write_sweep",
]

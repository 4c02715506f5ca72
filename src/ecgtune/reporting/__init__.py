"""Run and comparison folders into figures, tables, HTML and a model card. Reads files only."""

from ecgtune.reporting.figures import write_comparison_figures, write_run_figures
from ecgtune.reporting.html import write_comparison_report, write_run_report
from ecgtune.reporting.model_card import write_model_card
from ecgtune.reporting.reading import Comparison, Run, read_comparison, read_run
from ecgtune.reporting.tables import table_csv, table_markdown, table_notes, terminal_table
from ecgtune.reporting.writing import write_comparison, write_run

__all__ = [
    "Comparison",
    "Run",
    "read_comparison",
    "read_run",
    "table_csv",
    "table_markdown",
    "table_notes",
    "terminal_table",
    "write_comparison",
    "write_comparison_figures",
    "write_comparison_report",
    "write_model_card",
    "write_run",
    "write_run_figures",
    "write_run_report",
]

"""What tells a run from every other, and where results stand; rows and pages are those of `benchmarks/kept_rows.py`."""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from kept_rows import Row, add_command, add_row, command, into_page, read_rows, settings_key, with_part

__all__ = [
    "PAGE", "RESULTS", "Row", "add_command", "add_row", "command", "into_page", "read_rows", "settings_key",
    "validation_auroc", "with_part",
]  # fmt: skip
RESULTS = Path(__file__).parents[1] / "results" / "pretraining"
PAGE = Path(__file__).parents[2] / "docs" / "pretraining.md"


def validation_auroc(run: Path) -> float:
    """Of the epoch that a finished run kept: the highest of its log."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return max(json.loads(line)["val_auroc"] for line in lines)

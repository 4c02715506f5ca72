"""What tells a run from every other, and where results stand; rows and pages are those of `benchmarks/kept_rows.py`."""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
from kept_rows import Row, add_command, add_row, command, into_page, read_rows, with_part

__all__ = [
    "PAGE", "RESULTS", "Row", "add_command", "add_row", "command", "into_page", "read_rows", "settings_key",
    "validation_auroc", "with_part",
]  # fmt: skip
RESULTS = Path(__file__).parents[1] / "results" / "pretraining"
PAGE = Path(__file__).parents[2] / "docs" / "pretraining.md"


def settings_key(settings: Any) -> str:
    """Tells the settings of one run from those of any other: a hash of all that is not as the dataclasses have it.

    A setting that ecgtune gets later, and that is off unless asked for, leaves the key of an older run as it is.
    """
    return hashlib.sha256(json.dumps(_chosen(settings), sort_keys=True).encode()).hexdigest()[:12]


def _chosen(value: Any) -> Any:
    if not dataclasses.is_dataclass(value):
        return value
    unset = object()
    chosen: dict[str, Any] = {"": type(value).__name__}
    for field in dataclasses.fields(value):
        default = unset if field.default_factory is dataclasses.MISSING else field.default_factory()
        default = default if field.default is dataclasses.MISSING else field.default
        given = getattr(value, field.name)
        if given != default:
            chosen[field.name] = _chosen(given)
    return chosen


def validation_auroc(run: Path) -> float:
    """Of the epoch that a finished run kept: the highest of its log."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return max(json.loads(line)["val_auroc"] for line in lines)

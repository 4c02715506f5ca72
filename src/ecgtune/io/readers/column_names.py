"""Names of the columns of tables, and which columns can hold the labels."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

PATIENT_NAMES = ("patient", "patient_id", "subject", "subject_id")
RECORD_NAMES = ("record", "record_id", "recording", "recording_id")
FILE_NAMES = ("filename", "file_name", "file", "path", "filename_hr", "filename_lr")
RECORDING_NAMES = (*RECORD_NAMES, *FILE_NAMES, "exam_id", "ecg_id", "id")
SITE_NAMES = ("site", "source", "hospital", "centre", "center", "database")
SPLIT_NAME, FOLD_NAMES = "split", ("fold", "strat_fold")
LABEL_NAMES = ("label", "labels", "class")
INDEX_NAMES = ("", "unnamed: 0", "index")  # of the rows, as data frames write it
_NO_LABELS = (*RECORDING_NAMES, *PATIENT_NAMES, *SITE_NAMES, *FOLD_NAMES, *INDEX_NAMES, SPLIT_NAME)
#: Last words of further columns that describe a person or a recording, such as recording_date and exam id.
_LAST_WORDS = (
    *("id", "patient", "subject", "site", "hospital", "split", "fold"),
    *("age", "sex", "gender", "height", "weight", "bmi"),
    *("date", "time", "datetime", "timestamp", "year"),
    *("device", "lead", "rate", "fs", "unit"),
)


def group_kind(column: str) -> str:
    """Return "patient" or "record" for the usual names of such columns, else the name itself."""
    name = column.strip().casefold()
    if name in PATIENT_NAMES:
        return "patient"
    return "record" if name in RECORD_NAMES else column.strip()


def label_candidates(names: Sequence[str], taken: Collection[str | None] = ()) -> list[str]:
    """Return the columns that may hold the labels: `label`, else those named so, else all without another meaning.

    taken: columns that are used otherwise.
    """
    rest = [name for name in names if name not in taken and not _has_other_meaning(name.casefold())]
    by_name = ([name for name in rest if name.casefold() in named] for named in (LABEL_NAMES[:1], LABEL_NAMES))
    return next(filter(None, by_name), rest)


def _has_other_meaning(name: str) -> bool:
    """Whether a name in small letters says that the column holds no labels."""
    words = re.findall(r"[^\W_]+", name)
    return name in _NO_LABELS or (bool(words) and words[-1] in _LAST_WORDS and words[0] not in LABEL_NAMES)

"""Labels as databases publish them: PTB-XL's statements, and the diagnoses in headers of the CinC Challenges."""

from __future__ import annotations

import ast
import csv
import hashlib
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import choose
from ecgtune.errors import DataError
from ecgtune.io.labels import Where
from ecgtune.io.readers.registry import find_recordings
from ecgtune.io.readers.wfdb_header import header_content
from ecgtune.text import shown, utf8

SCP_COLUMN = "scp_codes"
#: Kinds of PTB-XL's statements, and the columns that select and name them; `all` is every statement by its code.
SCP_KINDS: dict[str, tuple[str, str]] = {
    "superclass": ("diagnostic", "diagnostic_class"),
    "subclass": ("diagnostic", "diagnostic_subclass"),
    "diagnostic": ("diagnostic", "code"),
    "form": ("form", "code"),
    "rhythm": ("rhythm", "code"),
    "all": ("code", "code"),
}
_DIAGNOSES = re.compile(rb"^#\s*Dx:(.*)$", re.MULTILINE | re.IGNORECASE)
_MOST_CELL = 4000  # characters, of which all 71 statements need half; a longer cell is cut, and is no dictionary then
_UNKNOWN = ("", "unknown")


def scp_labels(text: NDArray[np.str_], kind: str, where: Where) -> list[set[str]]:
    """Return the labels of each row from a column such as `{'NORM': 100.0, 'SR': 0.0}`, whatever the likelihoods.

    That is the published use (Wagner et al. 2020, Strodthoff et al. 2021): a likelihood of 0 is one that is not known.
    Raises DataError for a cell that is no such dictionary, or has a code that is not among PTB-XL's 71 statements.
    """
    selected, name = SCP_KINDS[choose(kind, SCP_KINDS, "--scp")]
    statements = _statements()
    labels = []
    for row, cell in enumerate(text.tolist()):
        try:
            codes = list(dict(ast.literal_eval(cell[:_MOST_CELL])))
            unknown = [code for code in codes if code not in statements]
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            raise DataError(
                f"{where(row)}: {shown(cell)} is no dictionary of statements such as {{'NORM': 100.0}}; name PTB-XL's"
                " column of them with --label, or leave --scp out"
            ) from None
        if unknown:
            raise DataError(
                f"{where(row)}: {shown(unknown[0])} is none of PTB-XL's {len(statements)} statements; leave --scp out"
            )
        labels.append({statements[code][name] for code in codes if statements[code][selected]})
    return labels


def is_scp(text: NDArray[np.str_]) -> bool:
    """Whether a column of labels holds dictionaries, as PTB-XL's `scp_codes` does."""
    return bool(len(text)) and str(text[0]).startswith("{") and str(text[0]).endswith("}")


def header_labels(folder: Path) -> tuple[NDArray[np.str_], list[set[str]], str]:
    """Return the recordings of a folder, the diagnoses in the line `# Dx:` of each header, and a sha256 of the lines.

    SNOMED CT codes are named as in the CinC Challenges 2020 and 2021 ("AF"); others stay numbers. A header without the
    line, or with the line "Unknown", has no label. Raises DataError for a folder without WFDB headers.
    """
    headers = {name: path for name, path in find_recordings(folder).items() if path.suffix.lower() == ".hea"}
    if not headers:
        raise DataError(f"{folder}: holds no WFDB headers (.hea), whose lines '# Dx:' --labels-from-headers reads")
    names, labels, whole = _abbreviations(), [], hashlib.sha256()
    for identifier, path in headers.items():
        try:
            lines = b",".join(_DIAGNOSES.findall(header_content(path)))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the permissions") from error
        whole.update(utf8(identifier) + b"\0" + lines)
        codes = [code.strip() for code in lines.decode("latin-1").split(",")]
        labels.append({names.get(code, code) for code in codes if code.casefold() not in _UNKNOWN})
    if not any(labels):
        raise DataError(f"{folder}: none of its {len(headers)} headers has a line '# Dx:'; give a table of labels")
    return np.array(list(headers)), labels, whole.hexdigest()


def _bundled(name: str) -> list[dict[str, str]]:
    lines = (files("ecgtune.io") / "tables" / name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


@cache
def _statements() -> dict[str, dict[str, str]]:
    return {row["code"]: row for row in _bundled("scp_statements.csv")}


@cache
def _abbreviations() -> dict[str, str]:
    return {row["code"]: row["abbreviation"] for row in _bundled("snomed_abbreviations.csv")}

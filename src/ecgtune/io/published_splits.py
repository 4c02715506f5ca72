"""Divisions that a field has agreed on, so that figures can be held against published ones."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import choose
from ecgtune.errors import DataError
from ecgtune.io.labels import Where
from ecgtune.utils.text import shown

LEFT_OUT = ""
#: Validation and test fold of columns that carry a published meaning; PTB-XL: Wagner et al., Scientific Data 7, 2020.
PUBLISHED_FOLDS = {"strat_fold": (9, 10)}

_DS1 = "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 230"
_DS2 = "100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 234"
_PACED = "102 104 107 217"
#: MIT-BIH Arrhythmia: DS1 to train, DS2 to test, the four paced records out (de Chazal, O'Dwyer and Reilly, IEEE
#: Trans. Biomed. Eng. 51, 2004). 201 and 202 are one person, in both parts, as published.
MITDB: dict[str, str] = {
    record: part
    for records, part in ((_DS1, "train"), (_DS2, "test"), (_PACED, LEFT_OUT))
    for record in records.split()
}
PUBLISHED: dict[str, tuple[dict[str, str], str]] = {
    "mitdb": (
        MITDB,
        "MIT-BIH DS1 / DS2 (de Chazal 2004), paced records out; 201 (DS1) and 202 (DS2) are one person, as published",
    )
}


def published_parts(name: str, recording: NDArray[np.str_], where: Where) -> tuple[NDArray[np.str_], str]:
    """The part of each recording in the division `name`, "" where it leaves one out, and a phrase that says so.

    Raises SettingError for an unknown division, DataError for a recording that it does not know.
    """
    parts, origin = PUBLISHED[choose(name, PUBLISHED, "published split")]
    stems = [Path(text.replace("\\", "/")).stem for text in recording.tolist()]
    unknown = [row for row, stem in enumerate(stems) if stem not in parts]
    if unknown:
        raise DataError(
            f"{where(unknown[0])}: recording {shown(recording[unknown[0]])} is not in the published split '{name}', and"
            f" so for {len(unknown)} in all; leave --published out, or these rows"
        )
    return np.array([parts[stem] for stem in stems], dtype="U5"), origin


def folds_as_parts(
    folds: NDArray[np.int64], name: str, val_fold: int | None, test_fold: int | None, path: str
) -> tuple[NDArray[np.str_], str]:
    """Fold numbers as "train", "val", "test", and a phrase that says which are which.

    Without val_fold and test_fold they are as published for a column of this name, else the two highest numbers.
    Raises DataError for fewer than three folds, or for one that is not there.
    """
    numbers = np.unique(folds).tolist()
    if len(numbers) < 3:
        raise DataError(
            f"{path}: column {name} has the folds {', '.join(map(str, numbers))}; three or more are needed, or the"
            " words train, val and test"
        )
    usual_val, usual_test = PUBLISHED_FOLDS.get(name, (numbers[-2], numbers[-1]))
    test = usual_test if test_fold is None else test_fold
    val = usual_val if val_fold is None else val_fold
    if val == test and val_fold is None:  # the usual validation fold is tested on: the next lower one takes its place
        val = max((number for number in numbers if number < test), default=numbers[-1])
    for what, number in (("--val-fold", val), ("--test-fold", test)):
        if number not in numbers:
            raise DataError(
                f"{path}: column {name} has no fold {number} ({what}); its folds are {', '.join(map(str, numbers))}"
            )
    if val == test:
        raise DataError(f"{path}: fold {val} cannot be validation and test; give two of {', '.join(map(str, numbers))}")
    parts = np.where(folds == test, "test", np.where(folds == val, "val", "train"))
    return parts, f"folds of the table's column {name}: validation {val}, test {test}, training the others"

"""Published splits of databases, for results that can be compared with published ones."""

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import choose
from ecgtune.errors import DataError
from ecgtune.io.labels import Where
from ecgtune.io.matching import match_recordings
from ecgtune.text import shown

LEFT_OUT = ""
#: Validation and test fold of columns with a published meaning; PTB-XL: Wagner et al., Scientific Data 7, 2020.
PUBLISHED_FOLDS = {"strat_fold": (9, 10)}

_DS1 = "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 230"
_DS2 = "100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 234"
_PACED = "102 104 107 217"
#: MIT-BIH Arrhythmia: DS1 to train, DS2 to test, the four paced records out (de Chazal, O'Dwyer and Reilly, IEEE
#: Trans. Biomed. Eng. 51, 2004). 201 and 202 are one person, in both splits, as published.
MITDB: dict[str, str] = {
    record: split
    for records, split in ((_DS1, "train"), (_DS2, "test"), (_PACED, LEFT_OUT))
    for record in records.split()
}
PUBLISHED: dict[str, tuple[dict[str, str], str]] = {
    "mitdb": (
        MITDB,
        "MIT-BIH DS1 / DS2 (de Chazal 2004), paced records out; 201 (DS1) and 202 (DS2) are one person, as published",
    )
}


def published_split(name: str, recording: NDArray[np.str_], where: Where) -> tuple[NDArray[np.str_], str]:
    """Return the split of each recording in the published split `name`, "" for one left out, and a phrase about it.

    Raises SettingError for an unknown name, DataError for a recording that it does not contain.
    """
    splits, origin = PUBLISHED[choose(name, PUBLISHED, "published split")]
    known = match_recordings(recording.tolist(), splits, where.path).identifier
    unknown = [row for row, name in enumerate(known) if name is None]
    if unknown:
        raise DataError(
            f"{where(unknown[0])}: recording {shown(recording[unknown[0]])} is not in the published split '{name}', and"
            f" so for {len(unknown)} in all; leave --published out, or these rows"
        )
    return np.array([splits[str(name)] for name in known], dtype="U5"), origin


def folds_as_splits(
    folds: NDArray[np.int64], name: str, val_fold: int | None, test_fold: int | None, path: str
) -> tuple[NDArray[np.str_], str]:
    """Convert fold numbers to "train", "val", "test"; also return a phrase about them.

    val_fold and test_fold default to those published for a column of this name, else to the two highest numbers. Raises
    DataError for fewer than three folds, or for one that is missing.
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
    if val == test and val_fold is None:  # the usual validation fold is the test fold: take the next lower one
        val = max((number for number in numbers if number < test), default=numbers[-1])
    for what, number in (("--val-fold", val), ("--test-fold", test)):
        if number not in numbers:
            raise DataError(
                f"{path}: column {name} has no fold {number} ({what}); its folds are {', '.join(map(str, numbers))}"
            )
    if val == test:
        raise DataError(f"{path}: fold {val} cannot be validation and test; give two of {', '.join(map(str, numbers))}")
    splits = np.where(folds == test, "test", np.where(folds == val, "val", "train"))
    return splits, f"folds of the table's column {name}: validation {val}, test {test}, training the others"

"""The positive class of two: its probability is reported, and precision, recall, specificity and F1 describe it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import suggest
from ecgtune.errors import SettingError
from ecgtune.text import shown

POSITIVE = 1
"""Index of the positive class of two, in `classes`, in `label` and in probabilities (windows, classes)."""
BY_POSITION = "the second of the classes"
"""Reason for classes that the caller put in order."""
AS_GIVEN = "as given"
"""Reason for a class that was asked for by its name."""

#: Names of a class without a finding, and words that begin or end such a name ("no AF", "Normal ECG", "MI negative").
_WHOLE = {"0", "-1", "false", "n", "nsr", "sr", "sinus", "sinus rhythm", "rest", "neg", "absent", "na", "nan", "null"}
_FIRST = {"no", "non", "not", "none", "without", "normal", "norm", "healthy", "negative", "other", "others", "control"}
_FIRST |= {"ctrl", "unaffected", "unknown"}
_LAST = {"negative", "neg", "normal", "control", "controls", "ctrl", "absent", "0"}


def is_negative_name(name: str) -> bool:
    """Whether a class of this name is one without a finding, such as "normal", "other", "no AF" or 0."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # "nonAF", but also "NaN"
    each = [re.findall(r"-?\d+|[^\W\d_]+", text.casefold()) for text in (name, apart)]
    return any(" ".join(words) in _WHOLE or words[0] in _FIRST or words[-1] in _LAST for words in each if words)


def choose_positive(counts: Sequence[int], classes: Sequence[str], asked: str | None = None) -> tuple[int, str]:
    """Choose the positive class of two; return its index in `classes` and the reason as a phrase.

    counts: windows of each class. asked: its name. Without one it is the class whose name does not say "no finding"
    (`is_negative_name`), else the rarer one, else the second. Raises SettingError for a name that is not among the
    classes.
    """
    if asked is not None:
        if asked not in classes:
            raise SettingError(f"--positive {asked}: no class of that name; {suggest(asked, classes)}")
        return list(classes).index(asked), AS_GIVEN
    negative = [is_negative_name(name) for name in classes]
    if negative[0] != negative[1]:
        index = negative.index(False)
        return index, f"{shown(classes[1 - index])} is a name of a negative class"
    if counts[0] == counts[1]:
        return POSITIVE, "both are equally frequent, this is the second by name"
    index = int(np.argmin(counts))
    return index, f"the rarer one, {counts[index]:,} of {sum(counts):,}"


def stored_positive(content: Mapping[str, Any]) -> tuple[str, str]:
    """Name of the positive class, and the reason, in a metrics.json, results.json or rounds.json of two classes.

    A metrics.json of an earlier version has only the classes, in the order of their names.
    """
    if "positive" in content:
        return content["positive"]["class"], content["positive"]["reason"]
    return content["classes"][POSITIVE], "the second by name, in a run of an earlier version"


def positive_sentence(name: str, reason: str, other: str | None = None) -> str:
    """Name the positive class and the reason for its choice in one line.

    other: the negative class, to name the flag that exchanges the two where ecgtune chose.
    """
    if other is None or reason in (AS_GIVEN, BY_POSITION):
        return f"positive class: {name} ({reason})"
    quoted = other if re.fullmatch(r"[\w.+-]+", other) and not other.startswith("-") else shown(other)
    return f"positive class: {name} ({reason}; --positive {quoted} for the other)"


def positive_second(
    label: NDArray[np.int64], classes: tuple[str, ...], asked: str | None = None
) -> tuple[NDArray[np.int64], tuple[str, str], str]:
    """Order two classes so that the positive one is the second: labels (windows,), classes, and the reason.

    Raises SettingError as `choose_positive` does.
    """
    counts = np.bincount(label, minlength=len(classes)).tolist()
    index, reason = choose_positive(counts, classes, asked)
    if index == POSITIVE:
        return label, (classes[0], classes[1]), reason
    return 1 - label, (classes[1], classes[0]), reason

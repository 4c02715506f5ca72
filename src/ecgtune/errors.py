"""Errors that a user can repair.

Each message is one line with the value got, the values allowed and the fix. The command line prints it without a
traceback and exits with status 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ecgtune.text import one_line


class EcgtuneError(Exception):
    """Base of every error that a user can repair. Its message is one printable line, whatever it repeats of a file."""

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


class DataError(EcgtuneError, ValueError):
    """A recording, a label or a split that cannot be used as it is."""


class QuestionError(DataError):
    """Facts that a file does not state and nothing was given for; each of `questions` names the flag that gives it."""

    def __init__(self, where: object, *questions: str) -> None:
        self.where, self.questions = where, questions
        super().__init__(f"{where}: {'. Also: '.join(questions)}")


class CheckpointError(EcgtuneError, ValueError):
    """Weights that are missing, unreadable, or not of the architecture that was asked for."""


class SettingError(EcgtuneError, ValueError):
    """A setting (flag, recipe line or argument) outside of what is allowed."""


class LeadsError(SettingError):
    """Leads that an encoder does not take."""


class NoPlaceError(SettingError):
    """A method whose layers or blocks an encoder does not have."""


class AuditError(EcgtuneError, RuntimeError):
    """One of the three audits (weights, gradients, count) found a training that would not do what it says."""


class RunError(EcgtuneError, RuntimeError):
    """A run folder that cannot be written, resumed or read."""


class ModelFileError(EcgtuneError, ValueError):
    """An exported model that cannot be read, or has changed since its export."""


class VerificationError(EcgtuneError, RuntimeError):
    """An exported model that does not answer as its run does."""


class DivergedError(RunError):
    """A training whose loss is not a number any more."""


def answered(*facts: Callable[[], Any]) -> list[Any]:
    """Return the values of `facts`. Raises one QuestionError with the questions of all that raise one."""
    values: list[Any] = []
    open_questions: list[QuestionError] = []
    for fact in facts:
        try:
            values.append(fact())
        except QuestionError as question:
            open_questions.append(question)
    if open_questions:
        raise QuestionError(open_questions[0].where, *(text for each in open_questions for text in each.questions))
    return values

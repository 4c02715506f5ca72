"""Errors that a user can repair.

Each message is one line with the value got, the values allowed and the fix. The command line prints it without a
traceback and exits with status 2.
"""


class EcgtuneError(Exception):
    """Base of every error that a user can repair."""


class DataError(EcgtuneError, ValueError):
    """A recording, a label or a split that cannot be used as it is."""


class CheckpointError(EcgtuneError, ValueError):
    """Weights that are missing, unreadable, or not of the architecture that was asked for."""


class SettingError(EcgtuneError, ValueError):
    """A setting (flag, recipe line or argument) outside of what is allowed."""


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

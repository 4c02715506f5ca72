"""A run folder into predictions."""

from ecgtune.deployment.int8 import int8_copy
from ecgtune.deployment.run import Run, answers, load_run

__all__ = ["Run", "answers", "int8_copy", "load_run"]

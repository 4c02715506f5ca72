"""A run folder into predictions."""

from ecgtune.deployment.run import Run, answers, load_run

__all__ = ["Run", "answers", "load_run"]

"""A run folder into predictions."""

from ecgtune.deployment.run import Run, load_run

__all__ = ["Run", "load_run"]

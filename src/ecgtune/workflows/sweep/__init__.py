"""`ecgtune sweep`: the same number of trials for every method, judged on validation alone."""

from ecgtune.workflows.sweep.sweep import Backend, sweep

__all__ = ["Backend", "sweep"]

"""The commands as Python functions."""

from ecgtune.workflows.compare import compare
from ecgtune.workflows.cross_validation import cross_validate, rounds_table
from ecgtune.workflows.demo import demo
from ecgtune.workflows.fine_tune import fine_tune, train
from ecgtune.workflows.plan import plan
from ecgtune.workflows.predict import predict
from ecgtune.workflows.pretrain import pretrain
from ecgtune.workflows.sweep import sweep

__all__ = [
    "compare",
    "cross_validate",
    "demo",
    "fine_tune",
    "plan",
    "predict",
    "pretrain",
    "rounds_table",
    "sweep",
    "train",
]

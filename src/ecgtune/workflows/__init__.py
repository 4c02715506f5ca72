"""The commands as Python functions."""

from ecgtune.workflows.compare import compare
from ecgtune.workflows.demo import demo
from ecgtune.workflows.fine_tune import fine_tune, train
from ecgtune.workflows.pretrain import pretrain
from ecgtune.workflows.sweep import sweep

__all__ = ["compare", "demo", "fine_tune", "pretrain", "sweep", "train"]

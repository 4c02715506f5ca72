"""The commands as Python functions."""

from ecgtune.workflows.compare import compare
from ecgtune.workflows.demo import demo
from ecgtune.workflows.fine_tune import fine_tune, train
from ecgtune.workflows.plan import plan
from ecgtune.workflows.pretrain import pretrain

__all__ = ["compare", "demo", "fine_tune", "plan", "pretrain", "train"]

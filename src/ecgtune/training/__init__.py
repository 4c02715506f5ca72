"""The one loop and the run folder that it fills."""

from ecgtune.training.batches import Windows, epoch_order
from ecgtune.training.classification import Classification
from ecgtune.training.head_first import check_head_first, count_head_steps, train_head
from ecgtune.training.inference import choose_device, encode_once, logits_of, probability_of
from ecgtune.training.loop import Trained, count_steps, train
from ecgtune.training.losses import check_loss
from ecgtune.training.objective import Moment, Objective
from ecgtune.training.precision import autocast, check_precision, kept_choice
from ecgtune.training.predictions import Predictions, predictions_text, read_predictions
from ecgtune.training.prefix import check_prefix, compute_once
from ecgtune.training.processes import Processes
from ecgtune.training.progress import ProgressBar
from ecgtune.training.run_folder import (
    RunFolder,
    begin_run,
    check_run,
    read_recipe,
    split_text,
)
from ecgtune.training.views import views_of
from ecgtune.training.weights import load_weights, save_weights

__all__ = [
    "Classification",
    "Moment",
    "Objective",
    "Predictions",
    "Processes",
    "ProgressBar",
    "RunFolder",
    "Trained",
    "Windows",
    "autocast",
    "begin_run",
    "check_head_first",
    "check_loss",
    "check_precision",
    "check_prefix",
    "check_run",
    "choose_device",
    "compute_once",
    "count_head_steps",
    "count_steps",
    "encode_once",
    "epoch_order",
    "kept_choice",
    "load_weights",
    "logits_of",
    "predictions_text",
    "probability_of",
    "read_predictions",
    "read_recipe",
    "save_weights",
    "split_text",
    "train",
    "train_head",
    "views_of",
]

"""Former names and common synonyms of settings, tables and flags, each with the name to type instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

_NAMES = {
    # names of earlier versions
    "accumulate": "gradient_accumulation_steps",
    "best": "checkpoint_metric",
    "checkpointing": "gradient_checkpointing",
    "clip": "max_grad_norm",
    "floors": "baselines",
    "no_floors": "no_baselines",
    "label_share": "label_fraction",
    "settle": "final_fraction",
    "sign": "polarity_flip",
    "stretch": "time_stretch",
    "train_share": "train_fraction",
    "val_share": "val_fraction",
    "views": "augmented_copies",
    # synonyms
    "accumulate_grad_batches": "gradient_accumulation_steps",
    "accumulation_steps": "gradient_accumulation_steps",
    "activation_checkpointing": "gradient_checkpointing",
    "bs": "batch_size",
    "clip_grad_norm": "max_grad_norm",
    "dropout_path": "drop_path",
    "early_stopping": "patience",
    "ema_decay": "ema",
    "flip": "polarity_flip",
    "fraction": "label_fraction",
    "grad_clip": "max_grad_norm",
    "gradient_clip_val": "max_grad_norm",
    "label_smooth": "label_smoothing",
    "lr": "learning_rate",
    "lr_scheduler": "schedule",
    "max_epochs": "epochs",
    "n_epochs": "epochs",
    "normalization": "normalisation",
    "num_epochs": "epochs",
    "optim": "optimizer",
    "scheduler": "schedule",
    "warmup_ratio": "warmup",
    "wd": "weight_decay",
    "weights": "class_weights",
}
#: Old name or synonym -> the name to type.
RENAMED = MappingProxyType(_NAMES)
#: Settings and recipes that exist no more, each with what to do instead.
REMOVED: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        ("members", "lora-ensemble"),
        "removed; average finished runs instead (`ecgtune predict --ensemble`, ecgtune.load_run of several folders)",
    )
)
#: Old table of a recipe -> the table to write instead.
TABLES = MappingProxyType({"training": "optimisation", "input": "data", "arm": "variant"})


def new_name(name: str, allowed: Collection[str]) -> str | None:
    """The name in `allowed` that replaces a former name or a synonym; None where `name` is neither."""
    new = RENAMED.get(name.replace("-", "_"))
    return new if new in allowed else None

"""Former names and common synonyms of settings, tables and flags, with their current names."""

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
#: Former name or synonym -> current name.
RENAMED = MappingProxyType(_NAMES)
#: Name of a flag or command -> its synonyms in other programs. A synonym of several names means the first one that the
#: command has.
_SYNONYMS = {
    "batch_size": "batch batchsize train_batch_size",
    "band": "bandpass band_pass filter",
    "checkpoint_metric": "metric monitor",
    "class_weights": "class_weight",
    "device": "gpu gpus cuda accelerator",
    "fold": "fold_column split split_column",
    "folds": "cv kfold kfolds k_fold k_folds n_folds n_splits",
    "group": "groups group_column group_col",
    "label": "target target_column label_column label_col class_column y",
    "labels": "targets target_columns label_columns",
    "lead": "channel",
    "leads": "channels lead",
    "lead_names": "channel_names",
    "limit": "subset max_windows max_samples",
    "loss": "criterion loss_fn",
    "focal_gamma": "gamma",
    "mains": "notch powerline line_frequency",
    "method": "methods recipe config",
    "methods": "method recipe recipes config",
    "model": "encoder backbone checkpoint pretrained model_name",
    "optimizer": "optimiser",
    "out": "o output output_dir out_dir outdir save_dir",
    "patience": "early_stop early_stopping_patience",
    "patient": "patients patient_id patient_column subject subject_id",
    "precision": "amp fp16 bf16 mixed_precision dtype",
    "quiet": "q silent",
    "recipe": "config method",
    "recording_column": "record_column id_column filename_column",
    "records": "recordings data_dir record_dir folder root",
    "resample": "target_rate resampling",
    "resume": "continue resume_from",
    "sampling_rate": "fs sr hz rate freq sample_rate samplerate sampling_frequency sfreq",
    "seed": "seeds random_state",
    "seeds": "seed n_seeds num_seeds repeats",
    "site": "site_column hospital centre center",
    "split_seed": "random_state",
    "step": "stride hop hop_length",
    "train_fraction": "train_size train_split",
    "trials": "n_trials num_trials",
    "unit": "units",
    "val_fraction": "val_size val_split valid_fraction validation_split validation_fraction",
    "weight_decay": "l2",
    "window": "window_size window_length segment segment_length duration",
    "window_seconds": "window window_size window_length",
    "workers": "jobs n_jobs j num_workers n_workers threads",
    # commands
    "compare": "benchmark",
    "data": "check download",
    "fine-tune": "fit",
    "plan": "estimate dry_run",
    "predict": "infer inference apply test evaluate eval",
    "sweep": "search tune hpo optimize",
}
#: Removed settings and recipes, with the replacement.
REMOVED: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        ("members", "lora-ensemble"),
        "removed; average finished runs instead (`ecgtune predict --ensemble`, ecgtune.load_run of several folders)",
    )
)
#: Former table of a recipe -> current table.
TABLES = MappingProxyType({"training": "optimisation", "input": "data", "arm": "variant"})


def new_name(name: str, allowed: Collection[str]) -> str | None:
    """Return the name in `allowed` that replaces a former name or a synonym; None if `name` is neither."""
    field = name.replace("-", "_")
    candidates = [RENAMED.get(field), *(new for new, words in _SYNONYMS.items() if field in words.split())]
    return next((new for new in candidates if new is not None and new in allowed), None)

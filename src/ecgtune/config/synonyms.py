"""Common synonyms of settings, flags and commands, with the names that ecgtune uses."""

from __future__ import annotations

from collections.abc import Collection

#: Name of a setting, flag or command -> its synonyms in other programs. A synonym of several names means the first one
#: that is allowed.
SYNONYMS = {
    "band": "bandpass band_pass filter",
    "batch_size": "bs batch batchsize train_batch_size",
    "checkpoint_metric": "metric monitor",
    "class_weights": "weights class_weight",
    "device": "gpu gpus cuda accelerator",
    "drop_path": "dropout_path",
    "ema": "ema_decay",
    "epochs": "max_epochs n_epochs num_epochs",
    "focal_gamma": "gamma",
    "fold": "fold_column split split_column",
    "folds": "cv kfold kfolds k_fold k_folds n_folds n_splits",
    "gradient_accumulation_steps": "accumulate accumulate_grad_batches accumulation_steps",
    "gradient_checkpointing": "activation_checkpointing",
    "group": "groups group_column group_col",
    "label": "target target_column label_column label_col class_column y",
    "label_fraction": "fraction",
    "label_smoothing": "label_smooth",
    "labels": "targets target_columns label_columns",
    "lead": "channel",
    "lead_names": "channel_names",
    "layer_drop": "layerdrop encoder_layerdrop",
    "leads": "channels lead",
    "learning_rate": "lr",
    "limit": "subset max_windows max_samples",
    "loss": "criterion loss_fn",
    "mains": "notch powerline line_frequency",
    "max_grad_norm": "clip clip_grad_norm grad_clip gradient_clip_val",
    "method": "methods recipe config",
    "methods": "method recipe recipes config",
    "model": "encoder backbone checkpoint pretrained model_name",
    "normalisation": "normalization",
    "optimizer": "optim optimiser",
    "out": "o output output_dir out_dir outdir save_dir",
    "patience": "early_stopping early_stop early_stopping_patience",
    "patient": "patients patient_id patient_column subject subject_id",
    "polarity_flip": "flip",
    "precision": "amp fp16 bf16 mixed_precision dtype",
    "quiet": "q silent",
    "recipe": "config method",
    "recording_column": "record_column id_column filename_column",
    "records": "recordings data_dir record_dir folder root",
    "resample": "target_rate resampling",
    "resume": "continue resume_from",
    "sampling_rate": "fs sr hz rate freq sample_rate samplerate sampling_frequency sfreq",
    "schedule": "lr_scheduler scheduler",
    "seed": "random_state",
    "seeds": "n_seeds num_seeds repeats",
    "site": "site_column hospital centre center",
    "split_seed": "random_state",
    "step": "stride hop hop_length",
    "train_fraction": "train_size train_split",
    "trials": "n_trials num_trials",
    "unit": "units",
    "val_fraction": "val_size val_split valid_fraction validation_split validation_fraction",
    "warmup": "warmup_ratio",
    "weight_decay": "wd l2",
    "window": "window_size window_length segment segment_length duration",
    "window_seconds": "window window_size window_length",
    "workers": "jobs n_jobs j num_workers n_workers threads",
    # commands
    "compare": "benchmark",
    "data": "check download",
    "fine-tune": "train fit",
    "plan": "estimate dry_run",
    "predict": "infer inference apply test evaluate eval",
    "sweep": "search tune hpo optimize",
}


def known_name(name: str, allowed: Collection[str]) -> str | None:
    """Return the name in `allowed` of which `name` is a synonym; None if there is none."""
    field = name.replace("-", "_")
    return next((known for known, words in SYNONYMS.items() if known in allowed and field in words.split()), None)

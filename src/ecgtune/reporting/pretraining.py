"""Text and table rows of a pretraining: its objective, the terms of its log, its checks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecgtune.recipes.pretraining import ContrastiveTask, MaskedSignalTask, MaskedTeacherTask
from ecgtune.reporting.folders import EncoderFile, FinishedPretraining
from ecgtune.reporting.wording import CHECKPOINTS
from ecgtune.utils import formatting

SPLITS = ("train", "val")

#: Title and meaning of the terms of the log; other terms have their key as title.
TERMS = {
    "loss": ("Loss", "the minimised sum; the other terms are its summands or are only logged"),
    "masked": ("Masked prediction", "squared error of the predicted tokens of the teacher at hidden positions"),
    "rhythm_crop": ("Rhythm, whole crop", "error of rhythm, beat shape and spectrum of crop and recording (smooth L1)"),
    "rhythm_token": ("Rhythm, each token", "error of the positions and lengths of beats (smooth L1)"),
    "target_variance": ("Variance of the teacher", "variance of the teacher's tokens; near 0 is a collapse"),
    "prediction_variance": ("Variance of predictions", "variance of the predicted tokens"),
    "zero_error": ("Error of zeros", "the loss of zeros as prediction of the hidden samples"),
    "contrastive": ("Contrastive", "cross-entropy of a masked token's target among its distractors"),
    "diversity": ("Diversity", "penalty for unequal use of the codes"),
    "feature_penalty": ("Feature penalty", "penalty for large features of the convolutional stem"),
    "segments": ("Segments (CMSC)", "cross-entropy of the adjacent segment among those of other recordings"),
    "code_perplexity": (
        "Code perplexity",
        "codes in use, summed over groups; near 1 in a group is a collapse",
    ),
    "probability_perplexity": ("Probability perplexity", "the same for the mean probabilities of the codes"),
    "masked_accuracy": ("Masked accuracy", "fraction of masked tokens whose target scores above all distractors"),
}

PERPLEXITY_OF_GROUP = "code_perplexity_"

_USES = {
    "train": "Training",
    "val": "Validation loss",
    "left_out": "Left out by name",
    "short": "Too short for a crop",
    "flat": "Flat",
    "clipped": "Clipped",
}


@dataclass(frozen=True)
class Check:
    """A condition that every epoch must fulfil; `passed` is computed from the log."""

    name: str
    passed: bool
    sentence: str


def term_title(term: str) -> str:
    """Return the title of a term, or its key if unknown; `code_perplexity_2` belongs to the second group."""
    if term.startswith(PERPLEXITY_OF_GROUP):
        return f"Code perplexity, group {term.removeprefix(PERPLEXITY_OF_GROUP)}"
    return TERMS[term][0] if term in TERMS else term


def logged_terms(log: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the computed terms of a log (X of `train_X` and `val_X`) in order, and those that are 0 in every epoch.

    A term that is always 0 was not computed, such as a masked prediction without masks.
    """
    keys = [key for key in log[0] if key.partition("_")[0] in SPLITS]
    terms = list(dict.fromkeys(key.partition("_")[2] for key in keys))
    idle = [term for term in terms if all(row.get(f"{split}_{term}", 0) == 0 for row in log for split in SPLITS)]
    return [term for term in terms if term not in idle], idle


def term_rows(run: FinishedPretraining) -> list[dict[str, Any]]:
    """Return title, meaning and values of each term after the first epoch and at the checkpoint epoch."""
    checkpoint = next(row for row in run.log if row["epoch"] == run.metrics["training"]["best_epoch"])
    return [
        {
            "title": term_title(term),
            "meaning": TERMS[term][1] if term in TERMS else "",
            "first": run.log[0].get(f"val_{term}"),
            **{split: checkpoint.get(f"{split}_{term}") for split in SPLITS},
        }
        for term in logged_terms(run.log)[0]
    ]


def token_phrase(run: FinishedPretraining) -> str:
    """Return `8 samples, 80 ms`, the part of a window for one token."""
    window, rate = run.metrics.get("window"), run.sampling_rate
    seconds = window["seconds"] / window["tokens"] if window else 2 ** run.config["conv_layers"] / rate
    return f"{rate * seconds:.4g} samples, {1000 * seconds:.4g} ms"


def encoder_rows(run: FinishedPretraining) -> list[tuple[str, str]]:
    """Return the sizes of the encoder by name."""
    sizes = dict(run.config)
    if "pos_taps" in sizes and "conv_layers" in sizes:
        transformer = "{depth} layers of width {width}, {heads} heads, feed-forward {feed_forward}"
        return [
            ("Convolutional stem", "{conv_layers} blocks of {conv_channels} channels".format(**sizes)),
            ("Positions", "convolution over {pos_taps} tokens in {pos_groups} groups".format(**sizes)),
            ("Transformer", transformer.format(**sizes)),
        ]
    return [(name.replace("_", " ").capitalize(), f"{value}") for name, value in sizes.items() if name != "leads"]


def objective_title(objective: Mapping[str, Any]) -> str:
    """Return a short title of the objective, or its key if unknown."""
    if objective["name"] == ContrastiveTask.name:
        return "contrastive (wav2vec 2.0 and CMSC)"
    if objective["name"] == MaskedSignalTask.name:
        return "masked signal (masked autoencoder)"
    if objective["name"] != MaskedTeacherTask.name:
        return str(objective["name"])
    if not objective["masks"]:
        return "rhythm and beat shape"
    return "masked teacher (data2vec 2)" + (" with rhythm and beat shape" if objective["rhythm"] else "")


def objective_sentences(objective: Mapping[str, Any], leads: int) -> list[str]:
    """Return a description of the objective; empty if unknown."""
    if objective["name"] == ContrastiveTask.name:
        sentences = [
            f"{objective['masked']:.0%} of the tokens are masked in spans of {objective['mask_span']}; the encoder "
            f"identifies the quantised target of each among {objective['negatives']} distractors of the same recording "
            "(wav2vec 2.0).",
            "Adjacent windows of one recording get similar representations, other recordings different ones (CMSC).",
        ]
        if leads > 1 and objective["lead_dropout"]:
            sentences.append(f"Each lead is set to zero with probability {objective['lead_dropout']:g}.")
        return sentences
    if objective["name"] == MaskedSignalTask.name:
        masks = formatting.counted(objective["masks"], "mask")
        return [
            f"The encoder receives {objective['visible']:.0%} of the window (under {masks} per window); a decoder "
            "predicts the hidden samples of all leads from its tokens."
        ]
    if objective["name"] != MaskedTeacherTask.name:
        return []
    sentences = []
    if objective["masks"]:
        masks = formatting.counted(objective["masks"], "mask")
        sentences.append(
            "The teacher, a moving average of the encoder, encodes the whole crop. The encoder receives "
            f"{objective['visible']:.0%} of it (under {masks} per crop) and predicts the teacher's tokens at the "
            "hidden positions."
        )
    if objective["rhythm"]:
        also = "also predicts" if sentences else "predicts"
        sentences.append(
            f"From the whole crop the encoder {also} rhythm and beat shape of crop and recording, measured by a beat "
            "detector and classical signal processing."
        )
    return sentences


def pretraining_headline(run: FinishedPretraining) -> list[str]:
    """Return sentences on the encoder, the cost, and the limit of the results."""
    metrics, training, data = run.metrics, run.metrics["training"], run.metrics["data"]
    start = metrics.get("start")
    trained = f"continued from weights that were {start['weights']}," if start else "pretrained"
    return [
        f"An encoder of {formatting.count(metrics['parameters'])} parameters for {leads_phrase(run.config['leads'])} "
        f"at {run.sampling_rate:g} Hz, {trained} on {formatting.count(data['recordings']['train'])} "
        f"recordings without labels ({formatting.duration(3600 * data['training_hours'])}).",
        f"Objective: {objective_title(run.settings['objective'])}. {formatting.counted(training['epochs'], 'epoch')}, "
        f"{formatting.counted(training['steps'], 'step')}, {formatting.count(crops_seen(run))} crops in "
        f"{formatting.duration(training['seconds'])} on {training['device']} in {training['precision']}.",
        "Losses do not measure the quality of an encoder for a task: fine-tune it and compare.",
    ]


def leads_phrase(leads: Sequence[str]) -> str:
    """Return `one lead (II)` or `12 leads (I, II, ...)` with all names."""
    return f"{'one lead' if len(leads) == 1 else formatting.counted(len(leads), 'lead')} ({', '.join(leads)})"


def crops_seen(run: FinishedPretraining) -> int:
    """Return the number of training crops over all epochs; each epoch has new ones."""
    return run.metrics["training"]["epochs"] * run.metrics["data"]["crops_per_epoch"]


def crop_phrase(settings: Mapping[str, Any]) -> str:
    """Return `6 s`, or `two adjacent windows of 5 s` for the contrastive objective."""
    length = f"{settings['crops']['window_seconds']:g} s"
    return f"two adjacent windows of {length}" if settings["objective"]["name"] == ContrastiveTask.name else length


def augmentation_phrase(crops: Mapping[str, Any]) -> str:
    """Return the augmentation of the crops, or `none`."""
    parts = [f"{name.replace('_', ' ')} up to {crops[name]:.0%}" for name in ("time_stretch", "gain") if crops[name]]
    parts += [f"{name} up to {crops[name]:g} SD" for name in ("wander", "noise") if crops[name]]
    return ", ".join(parts) or "none"


def recording_rows(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the number of recordings by use, or by the reason for exclusion."""
    return [(_USES.get(use, use), number) for use, number in counts.items()]


def file_rows(files: Sequence[EncoderFile]) -> list[tuple[str, str]]:
    """Return folder, number format, size and checksum of each stored form of the encoder."""
    return [(f"{file.folder}/", f"{file.dtype}, {formatting.size(file.size)}, sha256 {file.sha256}") for file in files]


def checkpoint_phrase(run: FinishedPretraining) -> str:
    """Return the epoch of the weights in best/ and the reason."""
    metric = run.settings["optimisation"]["checkpoint_metric"]
    return f"{run.metrics['training']['best_epoch']} ({CHECKPOINTS[metric]})"


def machine_phrase(environment: Mapping[str, Any]) -> str:
    """Return a description of processor, accelerator and memory."""
    accelerator = f"{environment['accelerator']}, " if environment["accelerator"] else ""
    threads = formatting.counted(environment["threads"], "thread")
    if environment.get("processes", 1) > 1:  # absent from older files
        threads = f"{formatting.counted(environment['processes'], 'process', 'processes')} of {threads}"
    return (
        f"{accelerator}{environment['processor']}, {formatting.counted(environment['cores'], 'core')}, "
        f"{threads}, {formatting.size(environment['memory_bytes'])} of memory"
    )


def data_phrase(data: Mapping[str, Any]) -> str:
    """Return Markdown with the path of the recordings and the sha256 of each file, or one sha256 for many files."""
    path = f"`{_quoted(data['path'])}`"
    if not data.get("files"):
        return f"{path} (sha256 over the sha256 of each of its files in order: `{data['sha256']}`)"
    named = [f"`{_quoted(file['name'])}` (sha256 `{file['sha256']}`)" for file in data["files"]]
    return f"{path}: {' and '.join(named)}"


def _quoted(name: str) -> str:
    return name.replace("`", "'")


def checks(run: FinishedPretraining) -> list[Check]:
    """Return the conditions that the training checked after every epoch, computed from the log."""
    objective = run.settings["objective"]
    losses = [row[f"{split}_loss"] for row in run.log for split in SPLITS]
    found = [
        Check(
            "Losses",
            all(loss is not None and math.isfinite(loss) for loss in losses),
            f"training and validation loss are finite in all {formatting.counted(len(run.log), 'epoch')}.",
        )
    ]
    if objective["name"] == ContrastiveTask.name:
        groups = range(1, objective["groups"] + 1)
        lowest = min(row[f"train_{PERPLEXITY_OF_GROUP}{group}"] for row in run.log for group in groups)
        found.append(
            Check(
                "Codes",
                lowest >= ContrastiveTask.least_perplexity,
                f"the code perplexity (number of codes in use, of {objective['codes']} per group) was "
                f"{formatting.significant(lowest)} or more in every group and epoch; below "
                f"{ContrastiveTask.least_perplexity:g} all tokens have one code.",
            )
        )
    elif objective["name"] == MaskedTeacherTask.name and objective["masks"]:
        lowest = min(row["train_target_variance"] for row in run.log)
        found.append(
            Check(
                "Teacher",
                lowest >= MaskedTeacherTask.least_variance,
                f"the variance of the teacher's tokens over positions and crops was {formatting.significant(lowest)} "
                f"or more in every epoch; below {MaskedTeacherTask.least_variance:g} its tokens are constant.",
            )
        )
    elif objective["name"] == MaskedTeacherTask.name:
        found.append(
            Check("Targets", True, "rhythm and beat shape are measured, not learned, so the targets cannot collapse.")
        )
    return found

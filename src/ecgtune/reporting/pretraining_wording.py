"""A pretraining in words: its objective, the terms of its log, what was looked at on the way, where it ends."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecgtune.reporting.reading import EncoderFile, PretrainingRun
from ecgtune.utils import formatting

SPLITS = ("train", "val")

#: Title and meaning of the terms that are known; others go by their key.
TERMS = {
    "loss": ("Loss", "what training lowers; the others are its parts, or are only watched"),
    "masked": ("Masked prediction", "squared error of the teacher's tokens as predicted in the gaps"),
    "rhythm_crop": ("Rhythm, whole crop", "error of rhythm, beat shape and spectrum of crop and recording (smooth L1)"),
    "rhythm_token": ("Rhythm, each token", "error of where beats lie and how long they last (smooth L1)"),
    "target_variance": ("Variance of the teacher", "how much the teacher's tokens differ; near 0 is a collapse"),
    "prediction_variance": ("Variance of predictions", "how much the predicted tokens differ"),
    "contrastive": ("Contrastive", "cross-entropy of a masked token's target among its distractors"),
    "diversity": ("Diversity", "penalty for codes that are not all used alike"),
    "feature_penalty": ("Feature penalty", "penalty for large features of the convolutional stem"),
    "segments": ("Segments (CMSC)", "cross-entropy of the adjacent segment among those of other recordings"),
    "code_perplexity": ("Code perplexity", "codes in use, added up over groups; near 1 in one is a collapse"),
    "probability_perplexity": ("Probability perplexity", "the same of the codes' mean probabilities"),
    "masked_accuracy": ("Masked accuracy", "share of masked tokens whose target was found among its distractors"),
}

#: Below these, `ecgtune pretrain` stops. The objectives hold them too; a test keeps the two alike.
LEAST_TEACHER_VARIANCE = 1e-3
LEAST_PERPLEXITY_PER_GROUP = 1.1

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
    """Something that would have stopped the training; `passed` is computed from the log again."""

    name: str
    passed: bool
    sentence: str


def term_title(term: str) -> str:
    """Title of a term, its key when it is not known; `code_perplexity_2` is that of the second group."""
    if term.startswith(PERPLEXITY_OF_GROUP):
        return f"Code perplexity, group {term.removeprefix(PERPLEXITY_OF_GROUP)}"
    return TERMS[term][0] if term in TERMS else term


def logged_terms(log: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Terms of a log, of its `train_X` and `val_X`, in its order: those that say something, and those always 0.

    A term that is 0 in every epoch was not computed, such as a masked prediction without masks.
    """
    keys = [key for key in log[0] if key.partition("_")[0] in SPLITS]
    terms = list(dict.fromkeys(key.partition("_")[2] for key in keys))
    idle = [term for term in terms if all(row.get(f"{split}_{term}", 0) == 0 for row in log for split in SPLITS)]
    return [term for term in terms if term not in idle], idle


def term_rows(run: PretrainingRun) -> list[dict[str, Any]]:
    """Title, meaning and values of each term after the first epoch and after the one that was kept."""
    kept = next(row for row in run.log if row["epoch"] == run.metrics["training"]["best_epoch"])
    return [
        {
            "title": term_title(term),
            "meaning": TERMS[term][1] if term in TERMS else "",
            "first": run.log[0].get(f"val_{term}"),
            **{split: kept.get(f"{split}_{term}") for split in SPLITS},
        }
        for term in logged_terms(run.log)[0]
    ]


def objective_title(objective: Mapping[str, Any]) -> str:
    """The objective in a few words; its key when it is not known."""
    if objective["name"] == "ecg-fm":
        return "ECG-FM's own"
    if objective["name"] != "data2vec":
        return str(objective["name"])
    if not objective["masks"]:
        return "rhythm and beat shape"
    return "masked teacher (data2vec 2)" + (" with rhythm and beat shape" if objective["rhythm"] else "")


def objective_sentences(objective: Mapping[str, Any], leads: int) -> list[str]:
    """What the encoder had to do; empty for an objective that is not known."""
    if objective["name"] == "ecg-fm":
        sentences = [
            f"Of {objective['masked']:.0%} of the tokens, in spans of {objective['mask_span']}, the encoder finds the "
            f"quantised target among {objective['negatives']} distractors of the same recording (wav2vec 2.0).",
            "Of two adjacent windows of one recording it makes alike what it tells apart from other recordings (CMSC).",
        ]
        if leads > 1 and objective["lead_dropout"]:
            sentences.append(f"Each lead is set to zero with probability {objective['lead_dropout']:g}.")
        return sentences
    if objective["name"] != "data2vec":
        return []
    sentences = []
    if objective["masks"]:
        masks = _counted(objective["masks"], "mask")
        sentences.append(
            f"A slow copy of the encoder, the teacher, sees the whole crop; the encoder, which sees "
            f"{objective['visible']:.0%} of it (under {masks} per crop), predicts the teacher's tokens in the gaps."
        )
    if objective["rhythm"]:
        also = "it also" if sentences else "the encoder"
        sentences.append(
            f"From the whole crop {also} tells rhythm and beat shape of crop and recording, as a beat detector and "
            "classical signal processing measure them."
        )
    return sentences


def pretraining_headline(run: PretrainingRun) -> list[str]:
    """Sentences: what came out, what it took, and what these numbers do not say."""
    metrics, training, data = run.metrics, run.metrics["training"], run.metrics["data"]
    return [
        f"An encoder of {formatting.count(metrics['parameters'])} parameters for {leads_phrase(run.config['leads'])} "
        f"at {run.config['sampling_rate']:g} Hz, pretrained on {formatting.count(data['recordings']['train'])} "
        f"recordings without labels ({formatting.duration(3600 * data['training_hours'])}).",
        f"Objective: {objective_title(run.settings['objective'])}. {_counted(training['epochs'], 'epoch')}, "
        f"{_counted(training['steps'], 'step')}, {formatting.count(crops_seen(run))} crops in "
        f"{formatting.duration(training['seconds'])} on {training['device']} in {training['precision']}.",
        "Losses do not say how good an encoder is for a task: fine-tune it and compare.",
    ]


def leads_phrase(leads: Sequence[str]) -> str:
    """`one lead (II)`, `12 leads (I, II, ...)` with all of their names."""
    return f"{'one lead' if len(leads) == 1 else f'{len(leads)} leads'} ({', '.join(leads)})"


def crops_seen(run: PretrainingRun) -> int:
    """Crops that the encoder was trained on, over all epochs; each epoch cuts new ones."""
    return run.metrics["training"]["epochs"] * run.metrics["data"]["crops_per_epoch"]


def crop_phrase(settings: Mapping[str, Any]) -> str:
    """`6 s`, or `two adjacent windows of 5 s` for the objective that contrasts them."""
    length = f"{settings['crops']['window_seconds']:g} s"
    return f"two adjacent windows of {length}" if settings["objective"]["name"] == "ecg-fm" else length


def augmentation_phrase(crops: Mapping[str, Any]) -> str:
    """What was done to the crops, `none` for nothing."""
    parts = [f"{name} up to {crops[name]:.0%}" for name in ("time_stretch", "gain") if crops[name]]
    parts += [f"{name} up to {crops[name]:g} SD" for name in ("wander", "noise") if crops[name]]
    return ", ".join(parts) or "none"


def recording_rows(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Recordings by what they were used for, or why they were not."""
    return [(_USES.get(use, use), number) for use, number in counts.items()]


def file_rows(files: Sequence[EncoderFile]) -> list[tuple[str, str]]:
    """Where each stored form of the encoder lies, and which file it is."""
    return [(f"{file.folder}/", f"{file.dtype}, {formatting.size(file.size)}, sha256 {file.sha256}") for file in files]


def kept_phrase(run: PretrainingRun) -> str:
    """Which epoch's weights are in best/, and why."""
    reason = {"last": "the last one", "loss": "lowest validation loss"}[
        run.settings["optimisation"]["checkpoint_metric"]
    ]
    return f"{run.metrics['training']['best_epoch']} ({reason})"


def machine_phrase(environment: Mapping[str, Any]) -> str:
    """Processor and accelerator in one line."""
    accelerator = f"{environment['accelerator']}, " if environment["accelerator"] else ""
    threads = _counted(environment["threads"], "thread")
    if environment.get("processes", 1) > 1:  # not in environments of before it was told
        threads = f"{_counted(environment['processes'], 'process', 'processes')} of {threads}"
    return (
        f"{accelerator}{environment['processor']}, {_counted(environment['cores'], 'core')}, "
        f"{threads}, {formatting.size(environment['memory_bytes'])} of memory"
    )


def data_phrase(data: Mapping[str, Any]) -> str:
    """Markdown: the path of the recordings, and its files with the sha256 of each, or what stands for many of them."""
    path = f"`{_quoted(data['path'])}`"
    if not data.get("files"):
        return f"{path} (sha256 over the sha256 of each of its files in order: `{data['sha256']}`)"
    named = [f"`{_quoted(file['name'])}` (sha256 `{file['sha256']}`)" for file in data["files"]]
    return f"{path}: {' and '.join(named)}"


def _quoted(name: str) -> str:
    return name.replace("`", "'")


def checks(run: PretrainingRun) -> list[Check]:
    """What training looked at after every epoch, computed from the log again."""
    objective = run.settings["objective"]
    losses = [row[f"{split}_loss"] for row in run.log for split in SPLITS]
    found = [
        Check(
            "Losses",
            all(loss is not None and math.isfinite(loss) for loss in losses),
            f"training and validation loss are numbers in every epoch ({len(run.log)}).",
        )
    ]
    if objective["name"] == "ecg-fm":
        lowest = min(_lowest_perplexity(row, objective["groups"]) for row in run.log)
        found.append(
            Check(
                "Codes",
                lowest >= LEAST_PERPLEXITY_PER_GROUP,
                f"the code perplexity, how many of its {objective['codes']} codes each group uses, was "
                f"{formatting.significant(lowest)} or more in every group and epoch; below "
                f"{LEAST_PERPLEXITY_PER_GROUP:g} all tokens are one code.",
            )
        )
    elif objective["name"] == "data2vec" and objective["masks"]:
        lowest = min(row["train_target_variance"] for row in run.log)
        found.append(
            Check(
                "Teacher",
                lowest >= LEAST_TEACHER_VARIANCE,
                f"the variance of the teacher's tokens over places and crops was {formatting.significant(lowest)} or "
                f"more in every epoch; below {LEAST_TEACHER_VARIANCE:g} it says the same to everything.",
            )
        )
    elif objective["name"] == "data2vec":
        found.append(
            Check("Targets", True, "rhythm and beat shape are measured, not learned, so the targets cannot collapse.")
        )
    return found


def _lowest_perplexity(row: Mapping[str, Any], groups: int) -> float:
    """Of the group with the fewest codes in use; their mean in logs of before each group had a value of its own."""
    mean = row["train_code_perplexity"] / groups
    return min(row.get(f"train_{PERPLEXITY_OF_GROUP}{group}", mean) for group in range(1, groups + 1))


def _counted(number: int, noun: str, several: str = "") -> str:
    return f"{formatting.count(number)} {noun if number == 1 else several or f'{noun}s'}"

"""`load_model`: a name or a checkpoint in, an encoder with a head out, every tensor accounted for."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

from torch import nn

from ecgtune.config.base import choose
from ecgtune.config.model import LeadMode
from ecgtune.errors import LeadsError, SettingError
from ecgtune.models.base import Checkpoint, Encoder
from ecgtune.models.checkpoint import WEIGHTS_FILE, load_checkpoint, load_named
from ecgtune.models.classifier import Classifier, Head, LoadedFrom
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.layers import without_values
from ecgtune.models.leads import ChannelMode, LeadMixer
from ecgtune.models.names import MODELS, model_names, unknown_model
from ecgtune.models.registry import HubRepository, PublishedWeights, find_model, licence_of, model_info
from ecgtune.models.weights import Weights

#: Sources of weights whose licence was shown in this process.
_SHOWN: set[str] = set()


def load_model(
    name_or_path: str | Path,
    *,
    checkpoint: str | Path | None = None,
    classes: int | Sequence[str] | None = None,
    leads: Sequence[str] | None = None,
    lead_mode: LeadMode = "place",
    head: Head | None = None,
    seed: int = 0,
) -> Classifier:
    """A classifier on the encoder of this name or file.

    Parameters
    ----------
    name_or_path : a name of `list_models()`; a checkpoint file or a converted folder; or a file on the Hugging Face hub
        as "wanglab/ecg-fm" or "wanglab/ecg-fm/mimic_iv_ecg_finetuned.pt".
    checkpoint : published file of the weights of that name (or a folder converted from it), where you have downloaded
        it yourself; load_model("ecgfounder-1lead", checkpoint="1_lead_ECGFounder.pth").
    classes : how many, or their names, for a new head. None keeps the head of a fine-tuned checkpoint and the names of
        its outputs; a checkpoint without one gets a new head for two classes, "0" and "1".
    leads : leads of the signal, in order; None for those of the encoder. A one-lead encoder takes any one lead. An
        encoder from scratch ("resnet-1d") has a channel for each.
    lead_mode : "place" uses each lead's own input channel; "copy" puts one lead in all channels (see `adapt_leads`).
        "adapter" keeps all channels of the encoder, and trains a small matrix from `leads` to them (`LeadMixer`): any
        leads fit any encoder then, and it starts as "place".
    head : settings of a new head; linear by default.
    seed : of the new head's weights, and of random weights of the encoder.

    Raises SettingError for an unknown name, lead or class list, CheckpointError and AuditError for a file.
    """
    if isinstance(leads, str):
        raise SettingError(f'leads is the text {leads!r}; write leads=("{leads}",)')
    if isinstance(classes, str):
        raise SettingError(f'classes is the text {classes!r}; write the names one by one, classes=("a", "b")')
    choose(lead_mode, get_args(LeadMode), "lead mode")
    name, found = _find(name_or_path, seed, None if leads is None else tuple(leads), checkpoint)
    encoder = found.encoder
    _tell(name, found.weights)
    leads = encoder.input_spec.leads if leads is None else leads
    own_head = found.head if classes is None else None
    if own_head is not None and head not in (None, Head()):
        raise SettingError(f"{name} keeps its own linear head; leave head out, or give classes for a new one")
    if own_head is not None:
        names = found.labels or tuple(f"label {number}" for number in range(len(own_head["bias"])))
    else:
        names = _class_names(2 if classes is None else classes)
    classifier = Classifier(
        encoder if lead_mode == "adapter" else _adapted(encoder, leads, lead_mode),
        head or Head(),
        names,
        found.weights,
        LoadedFrom(name, None if checkpoint is None else found.weights.source, lead_mode),
        lead_mixer=LeadMixer(leads, encoder.input_spec.leads) if lead_mode == "adapter" else None,
        seed=seed,
    )
    if own_head is not None:
        cast(nn.Sequential, classifier.head)[-1].load_state_dict(own_head)
    return classifier


def load_encoder(name_or_path: str | Path, *, checkpoint: str | Path | None = None, seed: int = 0) -> Checkpoint:
    """The encoder of this name or file without a head, for training it further. Arguments and errors of `load_model`.

    The run folder of a pretraining stands for the encoder in it.
    """
    best = Path(name_or_path) / "best"
    name, found = _find(best if (best / WEIGHTS_FILE).is_file() else name_or_path, seed, None, checkpoint)
    _tell(name, found.weights)
    known = licence_of(name)
    if found.weights.licence is None and known != "unknown":
        found = replace(found, weights=replace(found.weights, licence=known))
    return found


def _tell(name: str, weights: Weights) -> None:
    """Log what a file has beside the weights that are used, and what its licence forbids; once for each file."""
    if weights.source in _SHOWN:
        return
    _SHOWN.add(weights.source)
    log = logging.getLogger(__name__)
    if weights.left_out:
        log.info("%s: %s", name, weights.audit())
    if weights.terms:
        log.warning("licence of the weights of %s: %s", name, weights.notice)


def fetch_weights(name: str) -> None:
    """Download the weights of a name where they are not here yet. Raises CheckpointError where that is not possible."""
    found = find_model(name)
    if found is not None and isinstance(found[1], PublishedWeights) and not Path(name).exists():
        found[1].fetch(name)


def input_spec_of(name_or_path: str | Path) -> InputSpec:
    """Signals that the encoder of this name or file takes. Raises what `load_model` raises."""
    name = str(name_or_path)
    found = find_model(name)
    if found is not None and not Path(name).exists():
        architecture, weights = found
        if name in MODELS or not isinstance(weights, HubRepository):
            with without_values():
                return architecture(weights.config(architecture)).input_spec
    return _find(name_or_path, 0, None, None)[1].encoder.input_spec


def leads_problem(name_or_path: str | Path, leads: Sequence[str]) -> str:
    """Why signals of `leads` do not fit the encoder of this name or file as they are; "" where they do."""
    name = str(name_or_path)
    if name not in model_names():
        encoder = _find(name_or_path, 0, None, None)[1].encoder
    elif not model_info(name).leads:  # the encoder takes those of the signal
        return ""
    else:
        entry = MODELS[name]
        with without_values():
            encoder = entry.architecture(entry.weights.config(entry.architecture))
    try:
        _adapted(encoder, leads, "place")
    except SettingError as error:
        return str(error)
    return ""


def _adapted(encoder: Encoder, leads: Sequence[str], mode: ChannelMode) -> Encoder:
    try:
        return encoder.adapt_leads(leads, mode)
    except LeadsError as error:
        mixed = "mix the leads in front of it with lead_mode 'adapter' (--lead-mode adapter)"
        raise LeadsError(f"{error}, or {mixed}") from None


def _class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    names = tuple(str(number) for number in range(classes)) if isinstance(classes, int) else tuple(classes)
    if len(names) < 2 or len(set(names)) < len(names):
        raise SettingError(f"classes must be 2 or more, or different names, but got {classes!r}")
    return names


def _find(
    name_or_path: str | Path, seed: int, leads: tuple[str, ...] | None, checkpoint: str | Path | None
) -> tuple[str, Checkpoint]:
    """The name under which the encoder can be loaded again from anywhere, and the encoder."""
    if not isinstance(name_or_path, (str, Path)):
        raise SettingError(
            f"load_model got a {type(name_or_path).__name__}; give a name or a path: save an encoder with"
            " ecgtune.save_encoder(encoder, folder) and load the folder"
        )
    name = str(name_or_path)
    if not name.strip():
        raise SettingError(
            f"no model is named; allowed: {', '.join(model_names())}, or the path of a checkpoint file or folder; a run"
            " folder is opened with ecgtune.load_run(folder)"
        )
    path, found = Path(name_or_path), find_model(name)
    if checkpoint is not None:
        if found is None or not isinstance(found[1], PublishedWeights):
            published = [each for each in model_names() if isinstance(MODELS[each].weights, PublishedWeights)]
            raise SettingError(
                f"a checkpoint is given for {name!r}, which is no name of published weights; allowed: "
                f"{', '.join(published)}; or give the path of the file in place of the name"
            )
        architecture, weights = found
        return name, load_named(Path(os.path.realpath(checkpoint)), name, architecture, weights.config(architecture))
    if found is not None and (name in model_names() or not path.exists()):
        architecture, weights = found
        return name, weights.load(name, architecture, leads, seed)
    if path.exists() or path.suffix in (".pt", ".pth", ".safetensors") or path.is_absolute():
        return os.path.realpath(path), load_checkpoint(path)
    raise unknown_model(name)

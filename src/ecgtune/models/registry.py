"""Models by name: one entry each. `load_model` is the door through which every model comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ecgtune.config.base import suggest
from ecgtune.config.model import LeadMode
from ecgtune.errors import SettingError
from ecgtune.models.base import Encoder, EncoderConfig
from ecgtune.models.checkpoint import Checkpoint, load_checkpoint
from ecgtune.models.classifier import Classifier, Head
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.hub import DEFAULT_FILE, download, hub_file
from ecgtune.models.lead_mixer import LeadMixer
from ecgtune.models.resnet_1d import ResNet1d, ResNet1dConfig
from ecgtune.models.weights import Weights

EMBEDDED = Path(__file__).parent / "embedded"
"""Encoders that come with the package, one folder each in the layout of `convert`, with their card."""


def _random(encoder: type[Encoder], config: EncoderConfig, name: str, seed: int) -> Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which also seeds the GPU
        return Checkpoint(encoder(config), Weights("random", name, seed=seed))


def _embedded(name: str) -> Checkpoint:
    found = load_checkpoint(EMBEDDED / name)
    return replace(found, weights=replace(found.weights, source=name))  # not the place in this installation


def _random_twin(name: str, of: str, seed: int) -> Checkpoint:
    encoder = load_checkpoint(EMBEDDED / of).encoder
    return _random(type(encoder), encoder.config, name, seed)


def _from_hub(name: str, file: str, heads: int | None = None) -> Checkpoint:
    found = load_checkpoint(download(file), heads=heads)
    return replace(found, weights=replace(found.weights, source=name))  # not the place in this machine's cache


# Name -> from a seed and the leads of the signal to the encoder with all the leads that it has, and where its weights
# are from.
_MODELS: dict[str, Callable[[int, tuple[str, ...]], Checkpoint]] = {
    # ECG-FM's architecture for one lead, 2 M parameters, pretrained; see embedded/ecg-fm-tiny/README.md.
    "ecg-fm-tiny": lambda seed, leads: _embedded("ecg-fm-tiny"),
    # The same sizes without the pretraining, from the training's seed: the control that tells what it is worth.
    "ecg-fm-tiny-random": lambda seed, leads: _random_twin("ecg-fm-tiny-random", "ecg-fm-tiny", seed),
    "ecg-fm": lambda seed, leads: _from_hub("ecg-fm", DEFAULT_FILE),
    # From scratch, so from the training's seed and with as many channels as leads: the floor of a comparison.
    "resnet-1d": lambda seed, leads: _random(ResNet1d, ResNet1dConfig(leads=leads), "resnet-1d", seed),
}

ARCHITECTURES: dict[str, tuple[type[Encoder], type]] = {
    EcgFM.architecture: (EcgFM, EcgFmConfig),
    ResNet1d.architecture: (ResNet1d, ResNet1dConfig),
}


def list_models(pattern: str = "*") -> list[str]:
    """Names that `load_model` knows, those that match the shell-like `pattern` ("*fm*")."""
    return sorted(name for name in _MODELS if fnmatchcase(name, pattern))


def load_model(
    name_or_path: str | Path,
    *,
    classes: int | Sequence[str] | None = 2,
    leads: Sequence[str] = ("II",),
    lead_mode: LeadMode = "place",
    lead_adapter: bool = False,
    head: Head | None = None,
    seed: int = 0,
    heads: int | None = None,
) -> Classifier:
    """A classifier on the encoder of this name or file.

    Parameters
    ----------
    name_or_path : a name of `list_models()`; an official `.pt` file or a converted folder; or a file on the Hugging
        Face hub as "wanglab/ecg-fm" or "wanglab/ecg-fm/mimic_iv_ecg_finetuned.pt".
    classes : how many, or their names, for a new head; None keeps the head of a fine-tuned checkpoint.
    leads : the leads of the signal, in order. A one-lead model takes any one lead: it was not trained for a particular
        one. What is made from scratch ("resnet-1d") has a channel for each.
    lead_mode : "place" uses each lead's own input channel; "copy" puts one lead in all channels (`lead_kernel`).
    lead_adapter : keep all channels of the encoder, and train a small matrix from `leads` to them (`LeadMixer`). Any
        leads fit any encoder then; it starts as "place".
    head : settings of a new head; linear when left out.
    seed : of the new head's weights, and of an encoder that starts from random ones ("resnet-1d",
        "ecg-fm-tiny-random").
    heads : number of attention heads of a `.pt` file of unpublished size that does not tell it.

    Raises SettingError for an unknown name, lead or class list, or `heads` of a model that knows its own,
    CheckpointError and AuditError for a file.
    """
    if isinstance(leads, str):
        raise SettingError(f'leads is the text {leads!r}; write leads=("{leads}",)')
    if isinstance(classes, str):
        raise SettingError(f'classes is the text {classes!r}; write the names one by one, classes=("a", "b")')
    name, checkpoint = _checkpoint(name_or_path, seed, heads, tuple(leads))
    own_head: dict[str, Tensor] | None = None
    if classes is None:
        if checkpoint.head is None:
            raise SettingError(f"{name} has no head of its own; give classes=2, or the names of the classes")
        if head not in (None, Head()):
            raise SettingError(f"classes=None keeps the linear head of {name}; leave head=... out or give classes")
        own_head = checkpoint.head
    if lead_adapter and lead_mode != "place":
        raise SettingError(f"a lead adapter starts from lead mode 'place', but {lead_mode!r} was given; leave one out")
    classifier = Classifier(
        checkpoint.encoder if lead_adapter else checkpoint.encoder.select_leads(leads, lead_mode),
        head or Head(),
        class_names(classes if own_head is None else own_head["bias"].shape[0], "label " if own_head else ""),
        checkpoint.weights,
        name=name,
        lead_mode=lead_mode,
        lead_mixer=LeadMixer(leads, checkpoint.encoder.leads) if lead_adapter else None,
        seed=seed,
    )
    if own_head is not None:
        cast(nn.Sequential, classifier.head)[-1].load_state_dict(own_head)
    return classifier


def encoder_input(name_or_path: str | Path) -> tuple[float, str]:
    """The sampling rate (Hz) and the resampling that the encoder of this name or file was made for. Raises as above."""
    encoder = _checkpoint(name_or_path, 0, None)[1].encoder
    return encoder.sampling_rate, encoder.resampling


def class_names(classes: int | Sequence[str] | None, prefix: str = "") -> tuple[str, ...]:
    """Names from a number ("0", "1", ...) or from names; SettingError for fewer than two, or one given twice."""
    if isinstance(classes, int):
        names = tuple(f"{prefix}{number}" for number in range(classes))
    else:
        names = tuple(classes or ())
    if not prefix and (len(names) < 2 or len(set(names)) < len(names)):
        raise SettingError(f"classes must be 2 or more, or different names, but got {classes!r}")
    return names


def takes_heads(name: str) -> bool:
    """Whether `load_model(name, heads=...)` may be given: only a `.pt` file can be silent about its heads."""
    return name not in _MODELS and not Path(name).is_dir()


def _checkpoint(
    name_or_path: str | Path, seed: int, heads: int | None, leads: tuple[str, ...] = ("II",)
) -> tuple[str, Checkpoint]:
    """The model and the name under which it can be loaded again from anywhere."""
    name = str(name_or_path)
    if not name.strip():
        raise SettingError(
            f"no model is named; allowed: {', '.join(list_models())}, wanglab/ecg-fm, or the path of a .pt file or"
            " folder; a run folder is opened with ecgtune.load_run(folder)"
        )
    if name in _MODELS:
        if heads is not None:
            raise SettingError(f"{name} knows its number of attention heads; leave heads={heads} out")
        return name, _MODELS[name](seed, leads)
    file = hub_file(name)
    path = Path(name_or_path)
    if file is not None and not path.exists():
        return name, _from_hub(name, file, heads)
    if path.exists() or path.suffix in (".pt", ".pth") or path.is_absolute():
        return str(path.resolve()), load_checkpoint(path, heads=heads)
    raise SettingError(
        f"no model or file {name!r}; {suggest(name, _MODELS)}, wanglab/ecg-fm, or the path of a .pt file or folder"
    )

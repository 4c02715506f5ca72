"""Weights from files: published checkpoint files, and the converted folders that `convert` writes.

A converted folder holds `model.safetensors` (tensors `encoder.*` and, fine-tuned, `head.*`) and `model.json` (sizes,
and the file that it was made from). It is a third of a published file, and loading it gives the same bits. A
pretraining writes the same folder with `save_encoder`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ecgtune.config.base import to_table
from ecgtune.data.dataset import check_rate
from ecgtune.errors import AuditError, CheckpointError, EcgtuneError, SettingError
from ecgtune.models.architectures import ARCHITECTURES, architecture_of, config_of
from ecgtune.models.base import Checkpoint, Encoder, EncoderConfig, PublishedFormat
from ecgtune.models.layers import without_values
from ecgtune.models.names import MODELS
from ecgtune.models.tensors import check_tensors, load_into, read_safetensors, to_float32
from ecgtune.models.torch_files import read_torch_file
from ecgtune.models.weights import Origin, Weights
from ecgtune.text import reason_of, shown
from ecgtune.utils.files import file_sha256, json_value, refuse_pointer, replace_folder
from ecgtune.utils.formatting import counted
from ecgtune.utils.schema import Count, check_schema
from ecgtune.utils.sources import user_files
from ecgtune.utils.stored import read_json

FORMAT = 1
_AGAIN = "convert, or pretrain, again"
_MOST_OUTPUTS = 10_000  # of a head
_OutputName = Annotated[str, r"(?=.*\S)[^\x00-\x1f\x7f-\x9f]{1,200}"]


class PretrainingFacts(TypedDict):
    """What is read of the facts that a pretraining states."""

    objective: NotRequired[str | None]


class SavedEncoder(TypedDict):
    """What is read of `model.json`; pretrainings have further facts in it."""

    architecture: str
    version: NotRequired[int]
    config: dict[str, Any]
    sha256: str
    converted_from: NotRequired[Origin | None]
    continued_from: NotRequired[Origin | None]
    pretraining: NotRequired[PretrainingFacts | None]
    labels: NotRequired[Count | None]
    label_names: NotRequired[list[_OutputName] | None]


WEIGHTS_FILE, SETTINGS_FILE = "model.safetensors", "model.json"


def load_checkpoint(path: str | Path, *, heads: int | None = None) -> Checkpoint:
    """Read a published checkpoint file (pretrained or fine-tuned) or a converted folder.

    heads: number of attention heads, needed only for a file of unpublished size whose settings do not say it.

    Raises CheckpointError when it cannot be read, AuditError when a tensor is missing, unexpected or mis-shaped,
    SettingError when `heads` is given for a folder.
    """
    path = Path(path)
    if path.is_dir():
        checkpoint = _load_folder(path)
        if heads is not None:
            raise SettingError(f"{path} states its number of attention heads; leave heads={heads} out")
        return checkpoint
    content = read_published_file(path)
    architecture = _matching(content)
    if architecture is None:
        known = ", ".join(sorted(_published()))
        raise CheckpointError(f"{path} is the published file of no known encoder; known: {known}")
    return _read(_published()[architecture], content, path, architecture, heads=heads)


def _read(
    reader: PublishedFormat,
    content: Any,
    path: Path,
    architecture: str,
    *,
    heads: int | None = None,
    sizes: EncoderConfig | None = None,
) -> Checkpoint:
    try:
        return _checked(_licensed(reader.read(content, path, heads=heads, sizes=sizes), architecture), str(path))
    except EcgtuneError:
        raise
    except Exception as error:  # a reader may rely on what published files always have
        raise AuditError(f"weights audit: {path} is not what its publisher writes: {reason_of(error)}") from error


def load_named(path: str | Path, name: str, architecture: type[Encoder], sizes: EncoderConfig) -> Checkpoint:
    """Read a published file, or a folder converted from it, as the weights of the model `name`.

    Raises CheckpointError when it cannot be read, AuditError for the weights of another encoder or size.
    """
    path, reader = Path(path), architecture.published
    if path.is_dir():
        found = _load_folder(path)
        if type(found.encoder) is not architecture or found.encoder.config != sizes:
            raise AuditError(
                f"weights audit: {path} does not fit {name}: it holds the encoder {found.encoder.architecture} with "
                f"{found.encoder.config}"
            )
        return found
    assert reader is not None
    content = read_published_file(path)
    try:
        return _read(reader, content, path, architecture.architecture, sizes=sizes)
    except (AuditError, CheckpointError) as error:
        other = _model_of(content, path, architecture.architecture)
        hint = f"; it is a file of {other}" if other not in (None, name) else ""
        raise type(error)(f"{name}: {error}{hint}") from None


def _model_of(content: Any, path: Path, wanted: str) -> str | None:
    """Name of the architecture of a published file; of that `wanted`, the name of the model with the file's sizes."""
    architecture = _matching(content)
    if architecture is None or architecture != wanted:
        return architecture
    try:
        config = _read(_published()[architecture], content, path, architecture).encoder.config
    except EcgtuneError:
        return None
    named = ((name, model) for name, model in MODELS.items() if model.architecture.architecture == architecture)
    return next((name for name, model in named if model.weights.config(model.architecture) == config), None)


def _checked(checkpoint: Checkpoint, source: str) -> Checkpoint:
    """Return what a reader made of a file if its head is linear on the features of the encoder.

    The encoder is checked where it is built. Raises AuditError, which begins with `source`.
    """
    labels, head = checkpoint.labels, checkpoint.head or {}
    outputs = head["bias"].numel() if "bias" in head else 0
    problem = ""
    if head and not 1 <= outputs <= _MOST_OUTPUTS:
        problem = f"its head has {counted(outputs, 'output')}; allowed: 1 to {_MOST_OUTPUTS}"
    elif labels is not None and (len(labels) != outputs or len(set(labels)) < outputs):
        names = f"{counted(len(labels), 'label name')} ({len(set(labels))} different)"
        problem = f"it has {names} for a head with {counted(outputs, 'output')}"
    elif head:
        with without_values():
            layer = nn.Linear(checkpoint.encoder.head_width, outputs)
        try:
            load_into(layer, head)
        except RuntimeError as error:
            problem = f"its head is not linear on features of width {layer.in_features}: {reason_of(error)}"
    whole = [name for name, tensor in checkpoint.objective_tensors.items() if not tensor.is_floating_point()]
    if problem or whole:
        problem = problem or f"{shown(whole[0])} is of {checkpoint.objective_tensors[whole[0]].dtype}"
        raise AuditError(f"weights audit: {source}: {problem}; use the published file unchanged, or convert it again")
    return checkpoint


def _licensed(checkpoint: Checkpoint, architecture: str) -> Checkpoint:
    """With the licence of the architecture's published weights."""
    published = (entry for entry in MODELS.values() if entry.architecture.architecture == architecture)
    entry = next((each for each in published if hasattr(each.weights, "files")), None)
    if entry is None:
        return checkpoint
    return replace(checkpoint, weights=replace(checkpoint.weights, licence=entry.licence, terms=entry.terms))


def read_published_file(path: Path) -> Any:
    """Content of a pickled checkpoint file, or the tensors of a safetensors file. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give a checkpoint file or a folder made by 'ecgtune convert'")
    if path.suffix != ".safetensors":
        return read_torch_file(path)
    try:
        return read_safetensors(path)
    except (OSError, ValueError, SafetensorError) as error:
        refuse_pointer(path, CheckpointError)
        raise CheckpointError(
            f"{path}: not a readable safetensors file, or cut off ({reason_of(error)}); download it again"
        ) from error


def read_config(folder: Path, architecture: type[Encoder]) -> EncoderConfig:
    """Sizes of the encoder in a converted folder, without its weights."""
    settings = read_json(folder / SETTINGS_FILE, SavedEncoder, _AGAIN, CheckpointError)
    return config_of(architecture, settings["config"], str(folder / SETTINGS_FILE))


def convert(source: str | Path, target: str | Path, *, heads: int | None = None) -> Path:
    """Write the weights of a published checkpoint file as a folder of safetensors and JSON; returns the folder.

    Raises SettingError when `source` is such a folder, or `target` exists and is not an empty folder, RunError or
    CheckpointError when it cannot be written, and what `load_checkpoint` raises. Nothing half-written is left behind.
    """
    source, target = Path(source), Path(target)
    if (source / WEIGHTS_FILE).is_file():
        raise SettingError(f"{source} is converted already; copy the folder, or give a checkpoint file")
    if os.path.exists(target) and (not target.is_dir() or any(target.iterdir())):
        raise SettingError(f"{target} exists already; name a new folder, or remove it first")
    checkpoint = load_checkpoint(source, heads=heads)
    tensors = {f"encoder.{name}": tensor for name, tensor in checkpoint.encoder.state_dict().items()}
    tensors |= {f"head.{name}": tensor for name, tensor in (checkpoint.head or {}).items()}

    labels = None if checkpoint.head is None else checkpoint.head["bias"].shape[0]
    names = None if checkpoint.labels is None else list(checkpoint.labels)
    facts = {"labels": labels, "label_names": names, "converted_from": checkpoint.weights.to_json()}
    try:
        replace_folder(target, lambda folder: _write(folder, checkpoint.encoder, tensors, facts))
    except SafetensorError as error:  # its own error for a full disk
        raise CheckpointError(f"{target} cannot be written ({error}); choose another folder") from error
    return target


def save_encoder(
    encoder: Encoder,
    folder: str | Path,
    origin: Mapping[str, Any] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    weights: Weights | None = None,
) -> Path:
    """Write an encoder into `folder`, in the layout of `convert`; `load_model(folder)` reads it. Returns the folder.

    origin: facts about its training, as plain values; stored as "pretraining". dtype: of the stored tensors; float16
    halves the file, and `load_checkpoint` makes float32 of it. weights: from which the training started; their licence
    and terms stay those of the saved encoder.

    Raises SettingError for an encoder whose architecture is not registered.
    """
    ARCHITECTURES.check(encoder, encoder.architecture)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"encoder.{name}": tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in encoder.state_dict().items()
    }
    before = {} if weights is None else {"continued_from": {**weights.to_json(), "used": [], "left_out": []}}
    _write(folder, encoder, tensors, {"labels": None, "pretraining": dict(origin or {}), **before})
    return folder


def _write(folder: Path, encoder: Encoder, tensors: dict[str, Tensor], facts: Mapping[str, Any]) -> None:
    save_file(tensors, folder / WEIGHTS_FILE)
    settings = {
        "format": FORMAT,
        "architecture": encoder.architecture,
        "version": encoder.version,
        "config": to_table(encoder.config),
        "sha256": file_sha256(folder / WEIGHTS_FILE),
        **({"imports": files} if (files := user_files(type(encoder))) else {}),
        **facts,
    }
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _published() -> dict[str, PublishedFormat]:
    """Readers of published files by architecture."""
    return {name: each.published for name, each in ARCHITECTURES.all().items() if each.published is not None}


def _matching(content: Any) -> str | None:
    """Architecture of the content of a published file."""
    return next((name for name, reader in _published().items() if reader.matches(content)), None)


def _load_folder(folder: Path) -> Checkpoint:
    if (folder / "best" / WEIGHTS_FILE).is_file():
        raise CheckpointError(f"{folder}: the run folder of a pretraining; its encoder is {folder / 'best'}")
    if (folder / "best").is_dir() or (folder / "metrics.json").is_file():
        raise CheckpointError(f"{folder}: a run folder, not a model; open it with ecgtune.load_run({str(folder)!r})")
    try:
        settings = json_value(folder / SETTINGS_FILE)
        stored = read_safetensors(folder / WEIGHTS_FILE)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: not a converted model, {Path(str(error.filename or WEIGHTS_FILE)).name} is not in it; "
            "make one with 'ecgtune convert in.pt out/'"
        ) from error
    except (OSError, ValueError, SafetensorError) as error:
        refuse_pointer(folder / WEIGHTS_FILE, CheckpointError)
        raise CheckpointError(f"{folder}: unreadable ({reason_of(error)}); convert the .pt file again") from error
    if (
        not isinstance(settings, dict)
        or settings.get("format") != FORMAT
        or not isinstance(settings.get("config"), dict)
    ):
        raise CheckpointError(
            f"{folder / SETTINGS_FILE}: not the format {FORMAT} of this version; convert the file again"
        )
    check_schema(settings, SavedEncoder, str(folder / SETTINGS_FILE), CheckpointError, _AGAIN)
    sha256 = file_sha256(folder / WEIGHTS_FILE)
    if settings.get("sha256") != sha256:
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE} is not the file that {SETTINGS_FILE} describes; convert it again"
        )
    source = str(folder / WEIGHTS_FILE)
    tensors = {name: to_float32(tensor, name, source) for name, tensor in check_tensors(stored, source).items()}
    architecture = architecture_of(settings, str(folder / SETTINGS_FILE))
    encoder = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    head = {name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")}
    config = config_of(architecture, settings["config"], str(folder / SETTINGS_FILE))
    others = [name for name in tensors if not name.startswith(("encoder.", "head."))]
    if others:
        several = counted(len(others), "tensor")
        raise AuditError(f"weights audit: {source} has {several} of no encoder, such as {shown(others[0])}")
    try:
        model = architecture.from_weights(config, encoder)
        check_rate(model.input_spec.sampling_rate, f"{folder / SETTINGS_FILE}: an encoder with the sampling rate")
    except EcgtuneError:
        raise
    except Exception as error:  # sizes of another file fail in torch, in many ways
        raise AuditError(f"weights audit: {source} does not fit {SETTINGS_FILE}: {reason_of(error)}") from error
    origin = settings.get("converted_from") or settings.get("continued_from") or {}
    weights = Weights(
        "pretrained",
        str(folder),
        sha256,
        used=tuple(tensors),
        licence=origin.get("licence"),
        terms=origin.get("terms", ""),
    )
    labels = settings.get("label_names")
    objective = (settings.get("pretraining") or {}).get("objective")
    names = None if labels is None else tuple(labels)
    return _checked(Checkpoint(model, weights, head or None, names, objective), str(folder))

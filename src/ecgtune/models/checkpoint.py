"""Weights from files: official `.pt` files, and the converted folders that `convert` writes.

A converted folder holds `model.safetensors` (tensors `encoder.*` and, fine-tuned, `head.*`) and `model.json` (sizes,
and the file that it was made from). It is a third of an official file, and loading it gives the same bits. A
pretraining writes the same folder with `save_encoder`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ecgtune.config.base import from_table, to_table
from ecgtune.errors import AuditError, CheckpointError, SettingError
from ecgtune.models.base import Encoder
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.ecg_fm.published import OfficialWeights, read_official
from ecgtune.models.pickles import read_pickled_tensors
from ecgtune.models.weights import Weights, file_sha256
from ecgtune.utils.files import replace_folder

FORMAT = 1
WEIGHTS_FILE, SETTINGS_FILE = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a file gave: the encoder, its origin, and a fine-tuned file's own linear head (weight, bias) or None."""

    encoder: Encoder
    weights: Weights
    head: dict[str, Tensor] | None = None


def load_checkpoint(path: str | Path, *, heads: int | None = None) -> Checkpoint:
    """Read an official `.pt` file (pretrained or fine-tuned) or a converted folder.

    `heads` is the number of attention heads, needed only for a `.pt` file of unpublished size whose settings do not
    tell. Raises CheckpointError when it cannot be read, AuditError when a tensor is missing, unexpected or mis-shaped,
    SettingError when `heads` is given for a folder, which tells.
    """
    path = Path(path)
    if path.is_dir():
        checkpoint = _load_folder(path)
        if heads is not None:
            raise SettingError(f"{path} tells its number of attention heads itself; leave heads={heads} out")
        return checkpoint
    official, _ = read_official_file(path, heads)
    weights = Weights("pretrained", str(path), file_sha256(path), used=official.used, left_out=official.left_out)
    return Checkpoint(EcgFM.from_weights(official.config, official.encoder), weights, official.head)


def read_official_file(path: Path, heads: int | None = None) -> tuple[OfficialWeights, Mapping[str, Tensor]]:
    """An official `.pt` file taken apart, and its tensors as they are named there; errors as in `load_checkpoint`."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give an official .pt file or a folder made by 'ecgtune convert'")
    content = read_pickled_tensors(path)
    tensors = content.get("model") if isinstance(content, dict) else None
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise CheckpointError(f"{path}: not an official ECG-FM checkpoint: it has no entry 'model' that holds tensors")
    return read_official(tensors, _settings(content), str(path), heads), tensors


def convert(source: str | Path, target: str | Path, *, heads: int | None = None) -> Path:
    """Write the model's own weights of an official `.pt` file as a folder of safetensors and JSON; returns the folder.

    Raises SettingError when `source` is such a folder, or `target` exists and is not an empty folder, RunError or
    CheckpointError when it cannot be written, and what `load_checkpoint` raises. Nothing half-written is left behind.
    """
    source, target = Path(source), Path(target)
    if (source / WEIGHTS_FILE).is_file():
        raise SettingError(f"{source} is converted already; copy the folder, or give an official .pt file")
    if os.path.exists(target) and (not target.is_dir() or any(target.iterdir())):
        raise SettingError(f"{target} exists already; name a new folder, or remove it first")
    checkpoint = load_checkpoint(source, heads=heads)
    tensors = {f"encoder.{name}": tensor for name, tensor in checkpoint.encoder.state_dict().items()}
    tensors |= {f"head.{name}": tensor for name, tensor in (checkpoint.head or {}).items()}

    labels = None if checkpoint.head is None else checkpoint.head["bias"].shape[0]
    facts = {"labels": labels, "converted_from": checkpoint.weights.to_json()}
    try:
        replace_folder(target, lambda folder: _write(folder, checkpoint.encoder, tensors, facts))
    except SafetensorError as error:  # its own error for a full disk
        raise CheckpointError(f"{target} cannot be written ({_one_line(error)}); choose another place") from error
    return target


def save_encoder(
    encoder: Encoder, folder: Path, origin: Mapping[str, Any], *, dtype: torch.dtype = torch.float32
) -> None:
    """Write a pretrained encoder into `folder`, which exists, in the layout of `convert`.

    origin: what is known about its training, as plain values; stored as "pretraining". dtype: of the stored tensors;
    float16 halves the file, and `load_checkpoint` makes float32 of it.
    """
    tensors = {
        f"encoder.{name}": tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in encoder.state_dict().items()
    }
    _write(folder, encoder, tensors, {"labels": None, "pretraining": dict(origin)})


def _write(folder: Path, encoder: Encoder, tensors: dict[str, Tensor], facts: Mapping[str, Any]) -> None:
    save_file(tensors, folder / WEIGHTS_FILE)
    settings = {
        "format": FORMAT,
        "architecture": encoder.architecture,
        "config": to_table(encoder.config),
        "sha256": file_sha256(folder / WEIGHTS_FILE),
        **facts,
    }
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _settings(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    cfg = content.get("cfg")
    model = cfg.get("model") if isinstance(cfg, Mapping) else None
    return model if isinstance(model, Mapping) else None


def _load_folder(folder: Path) -> Checkpoint:
    if (folder / "best" / WEIGHTS_FILE).is_file():
        raise CheckpointError(f"{folder}: the run folder of a pretraining; its encoder is {folder / 'best'}")
    if (folder / "best").is_dir() or (folder / "metrics.json").is_file():
        raise CheckpointError(f"{folder}: a run folder, not a model; open it with ecgtune.load_run({str(folder)!r})")
    try:
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        tensors = {name: tensor.float() for name, tensor in load_file(folder / WEIGHTS_FILE).items()}
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: not a converted model, {Path(str(error.filename or WEIGHTS_FILE)).name} is not in it; "
            "make one with 'ecgtune convert in.pt out/'"
        ) from error
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: unreadable ({str(error).splitlines()[0]}); convert the .pt file again"
        ) from error
    if (
        not isinstance(settings, dict)
        or settings.get("format") != FORMAT
        or not isinstance(settings.get("config"), dict)
    ):
        raise CheckpointError(
            f"{folder / SETTINGS_FILE}: not the format {FORMAT} of this version; convert the file again"
        )
    sha256 = file_sha256(folder / WEIGHTS_FILE)
    if settings.get("sha256") != sha256:
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE} is not the file that {SETTINGS_FILE} describes; convert it again"
        )
    config = from_table(EcgFmConfig, settings["config"], str(folder / SETTINGS_FILE))
    encoder = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    head = {name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")}
    try:
        model = EcgFM.from_weights(config, encoder)
    except RuntimeError as error:
        raise AuditError(
            f"weights audit: {folder / WEIGHTS_FILE} does not fit {SETTINGS_FILE}: {_one_line(error)}"
        ) from error
    weights = Weights("pretrained", str(folder), sha256, used=tuple(tensors))
    return Checkpoint(model, weights, head or None)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

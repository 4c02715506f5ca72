"""The trained part of a model to and from a folder, the head beside it, and the lead mixer where there is one.

That part is in peft's own files, or it is the whole encoder, or those weights of encoder and ladder that train; of
several members each has a folder of its own, `member-1` and so on.
"""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ecgtune.errors import RunError
from ecgtune.methods.attach import encoders_of
from ecgtune.methods.base import Method
from ecgtune.methods.own_weights_settings import Full
from ecgtune.models.classifier import Classifier

ADAPTER = "adapter_model.safetensors"
ENCODER = "encoder.safetensors"
PART = "trained.safetensors"
HEAD = "head.safetensors"
LEADS = "leads.safetensors"


def save_weights(model: Classifier, method: Method, folder: Path) -> None:
    """Write what `method` trained into `folder` (which exists): a few percent of the model, or all of it."""
    for encoder, place in _places(model, folder):
        place.mkdir(exist_ok=True)
        if isinstance(encoder, PeftModel):
            encoder.save_pretrained(str(place))
            # peft adds a card of its own that knows nothing of this run; the run folder has a real one.
            (place / "README.md").unlink(missing_ok=True)
        elif isinstance(method, Full):
            save_file(_contiguous(encoder.state_dict()), place / ENCODER)
        elif part := _trainable(encoder):
            save_file(_contiguous(part), place / PART)
    if model.lead_mixer is not None:
        save_file(_contiguous(model.lead_mixer.state_dict()), folder / LEADS)
    save_head(model, folder)


def load_weights(model: Classifier, method: Method, folder: Path) -> None:
    """Read back what `save_weights` wrote, into a model with `method` attached. Raises RunError on any difference."""
    for encoder, place in _places(model, folder):
        if isinstance(encoder, PeftModel):
            stored = _read(place / ADAPTER)
            _same_names(stored, get_peft_model_state_dict(encoder), place / ADAPTER)
            set_peft_model_state_dict(encoder, stored)
        elif isinstance(method, Full):
            _load(encoder, place / ENCODER, encoder.state_dict())
        elif part := _trainable(encoder):
            _load(encoder, place / PART, part)
    if model.lead_mixer is not None:
        _load(model.lead_mixer, folder / LEADS, model.lead_mixer.state_dict())
    load_head(model, folder)


def _places(model: Classifier, folder: Path) -> list[tuple[nn.Module, Path]]:
    """Each encoder as its method left it, and the folder of its weights."""
    encoders = encoders_of(model)
    if len(encoders) == 1:
        return [(encoders[0], folder)]
    return [(encoder, folder / f"member-{number}") for number, encoder in enumerate(encoders, 1)]


def save_head(model: Classifier, folder: Path) -> None:
    """Write the head alone into `folder`, which exists."""
    save_file(_contiguous(model.head.state_dict()), folder / HEAD)


def load_head(model: Classifier, folder: Path) -> None:
    """Read back what `save_head` wrote. Raises RunError on any difference."""
    _load(model.head, folder / HEAD, model.head.state_dict())


def _trainable(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def trained_tensors(model: Classifier) -> dict[str, Tensor]:
    """What a step can change: trainable weights and every buffer, by name, detached but not copied."""
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    names |= {name for name, _ in model.named_buffers()}
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if name in names}


def _load(module: nn.Module, path: Path, expected: dict[str, Tensor]) -> None:
    stored = _read(path)
    _same_names(stored, expected, path)
    module.load_state_dict(stored, strict=False)  # the names are checked, against what was saved and not all there is


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read ({error}); the run is incomplete, train it again") from None


def _same_names(stored: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    different = {n for n in stored.keys() & expected.keys() if stored[n].shape != expected[n].shape}
    wrong = sorted((stored.keys() ^ expected.keys()) | different)
    if wrong:
        raise RunError(
            f"{path} does not fit the model: {len(wrong)} tensors missing, unexpected or of another shape, "
            f"such as {wrong[0]}"
        )


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=False).contiguous() for name, tensor in state.items()}


def load_state(path: Path) -> dict:
    """The saved state of an unfinished training, without running anything that the file contains."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(
            f"{path} cannot be read ({type(error).__name__}); remove the run folder and train again"
        ) from None

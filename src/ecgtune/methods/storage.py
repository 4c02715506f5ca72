"""Tensors to and from one file each, every name and shape checked; and all that a run has trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ecgtune.errors import AuditError, RunError
from ecgtune.models.tensors import check_tensors, of_same_types, read_safetensors, to_float32
from ecgtune.utils.files import refuse_pointer
from ecgtune.utils.formatting import counted

if TYPE_CHECKING:
    from ecgtune.models.classifier import Classifier

TRAINED = "trained.safetensors"
ENCODER = "encoder.safetensors"
HEAD = "head.safetensors"
LEADS = "leads.safetensors"


def save_weights(model: Classifier, folder: Path) -> None:
    """Write what the attached method trained, the head and the lead mixer into `folder`, which exists."""
    model.attached.save(model.encoder, folder)
    if model.lead_mixer is not None:
        save_tensors(model.lead_mixer.state_dict(), folder / LEADS)
    save_head(model, folder)


def load_weights(model: Classifier, folder: Path) -> None:
    """Read back the files of `save_weights`, with the method attached. Raises RunError on any difference."""
    model.attached.load(model.encoder, folder)
    if model.lead_mixer is not None:
        load_tensors(model.lead_mixer, folder / LEADS, model.lead_mixer.state_dict())
    load_head(model, folder)


def save_head(model: Classifier, folder: Path) -> None:
    """Write the head alone into `folder`, which exists."""
    save_tensors(model.head.state_dict(), folder / HEAD)


def load_head(model: Classifier, folder: Path) -> None:
    """Read back the file of `save_head`. Raises RunError on any difference."""
    load_tensors(model.head, folder / HEAD, model.head.state_dict())


def trainable(module: nn.Module) -> dict[str, Tensor]:
    """Parameters that require a gradient, and the buffers of modules that hold such parameters, by name."""
    found: dict[str, Tensor] = {name: p for name, p in module.named_parameters() if p.requires_grad}
    for path, part in module.named_modules():
        if any(p.requires_grad for p in part.parameters(recurse=False)):
            stored = {name for name, _ in part.named_buffers(recurse=False)} - part._non_persistent_buffers_set
            prefix = f"{path}." if path else ""
            found |= {f"{prefix}{name}": part.get_buffer(name) for name in sorted(stored)}
    return found


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Tensors that a step can change: trainable weights and every buffer, by name, detached but not copied."""
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    names |= {name for name, _ in model.named_buffers()}
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if name in names}


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors into a safetensors file."""
    save_file({name: tensor.detach().to("cpu", copy=False).contiguous() for name, tensor in tensors.items()}, path)


def load_tensors(module: nn.Module, path: Path, expected: Mapping[str, Tensor]) -> None:
    """Read exactly the tensors `expected` of a module from a file. Raises RunError on any difference."""
    stored = read_tensors(path)
    check_names(stored, expected, path)
    try:
        stored = of_same_types(stored, expected)
    except RuntimeError as error:
        raise RunError(f"{path} does not fit the model: {error}") from None
    module.load_state_dict(stored, strict=False)  # the names are checked against what was saved


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, in float32 where they are weights. Raises RunError."""
    try:
        return {name: to_float32(tensor, name, str(path)) for name, tensor in mapped_tensors(path).items()}
    except AuditError as error:
        raise RunError(str(error)) from None


def mapped_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, of which no value was looked at. Raises RunError."""
    try:
        return check_tensors(read_safetensors(path), str(path))
    except (OSError, ValueError, SafetensorError, AuditError) as error:
        refuse_pointer(path, RunError)
        raise RunError(f"{path} cannot be read ({error}); the run is incomplete, train it again") from None


def check_names(stored: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Raise RunError unless both have the same names and shapes."""
    different = {n for n in stored.keys() & expected.keys() if stored[n].shape != expected[n].shape}
    wrong = sorted((stored.keys() ^ expected.keys()) | different)
    if wrong:
        raise RunError(
            f"{path} does not fit the model: {counted(len(wrong), 'tensor')} missing, unexpected or of another shape, "
            f"such as {wrong[0]}"
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of computation: sums and decompositions round in the same way every time, to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

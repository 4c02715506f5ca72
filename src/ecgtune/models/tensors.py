"""The one check of tensors from files: named, dense, real, no larger than what is stored, and finite as float32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, load_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ecgtune.errors import AuditError
from ecgtune.models.torch_files import UnreadTensor
from ecgtune.text import is_utf8, shown
from ecgtune.utils.files import open_file
from ecgtune.utils.formatting import counted

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_OTHERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)
#: Of the header of a safetensors file. A tensor has 4 values (type, axes, offsets) or more; an encoder has below 2,000
#: tensors.
_MOST_HEADER_BYTES, _MOST_VALUES = 16 << 20, 50_000
_NEEDED = "dense tensors of real numbers under names are needed; save them so, with torch.save of a state_dict"


def check_tensors(tensors: Mapping[Any, Any], source: str) -> dict[str, Tensor]:
    """Return `tensors` if each is named by a text, dense, of real numbers, and not empty. No value is looked at.

    Together they have no more elements than their storages have bytes, so that a small file cannot fill the memory.
    source: name of the file in errors. Raises AuditError, which names the tensor.
    """
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise AuditError(f"weights audit: {source} has a tensor under {shown(name)}, no text; {_NEEDED}")
        problem = _problem(tensor)
        if problem:
            raise AuditError(f"weights audit: {source}: {shown(name)} is {problem}; {_NEEDED}")
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors.values()}
    stored, needed = sum(storages.values()), sum(tensor.numel() for tensor in tensors.values())
    if needed > stored:
        largest = max(tensors, key=lambda name: tensors[name].numel() / tensors[name].untyped_storage().nbytes())
        raise AuditError(
            f"weights audit: {source} has tensors of {needed} elements in {stored} bytes, such as {shown(largest)},"
            " that repeat stored values; save them whole, with tensor.contiguous()"
        )
    return dict(tensors)


def _problem(value: Any) -> str:
    """What makes a value unfit to be a weight; "" for a fit one."""
    if isinstance(value, UnreadTensor):
        return f"a tensor that is {value.kind}"
    if not isinstance(value, Tensor):
        return f"no tensor, but {type(value).__name__}"
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return f"a tensor that is {'quantised' if value.is_quantized else value.layout}, on {value.device.type}"
    if value.dtype not in (*_FLOATS, *_OTHERS):
        return f"of {str(value.dtype).removeprefix('torch.')}"
    return "" if value.numel() else f"empty, of shape {tuple(value.shape)}"


def to_float32(tensor: Tensor, name: str, source: str, *, copy: bool = False) -> Tensor:
    """Return a tensor of floating-point numbers as float32, another one as it is.

    copy: independent of the memory of the file. Raises AuditError for values that are not finite, or not in the range
    of float32.
    """
    tensor = tensor.detach()
    if tensor.dtype not in _FLOATS:
        return tensor.clone() if copy else tensor
    values = tensor.to(torch.float32, copy=copy).contiguous()
    smallest, largest = values.aminmax()  # either is NaN when a value is; no memory is taken, unlike by isfinite
    if not bool(smallest.isfinite() & largest.isfinite()):
        kind = "not finite" if not bool(tensor.isfinite().all()) else "beyond the range of float32"
        raise AuditError(f"weights audit: {source}: 1 {kind}: {name}")
    return values


def of_same_types(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors` in the types of number of `expected`. Raises RuntimeError for integers where weights belong."""
    for name in tensors.keys() & expected.keys():
        if expected[name].is_floating_point() and not tensors[name].is_floating_point():
            raise RuntimeError(f"{name} is {tensors[name].dtype}, but {expected[name].dtype} is needed")
    return {name: t.to(expected[name].dtype) if name in expected else t for name, t in tensors.items()}


def load_into(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module exactly `tensors` (the tensors themselves, not copies).

    Raises torch's RuntimeError when a name, shape or kind of number does not match.
    """
    module.load_state_dict(of_same_types(tensors, module.state_dict()), strict=True, assign=True)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, views of it. Raises OSError, ValueError or SafetensorError."""
    with open_file(path) as file:
        header = int.from_bytes(file.read(8), "little")
        if header > _MOST_HEADER_BYTES:
            raise ValueError(f"a header of {header} bytes; at most {_MOST_HEADER_BYTES} are read")
        values = file.read(header).count(b",")
        if values > _MOST_VALUES:
            raise ValueError(f"a header of {values} values; at most {_MOST_VALUES} are read")
        file.seek(0)
        content = None if is_utf8(str(path)) else file.read()
    try:
        return load_file(path) if content is None else load(content)
    except KeyError as error:
        raise ValueError(f"numbers of type {error}") from None


_LIMITS: ContextVar[int] = ContextVar("limits", default=0)  # entered in this thread and not left


@contextmanager
def parameter_limit(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Within it, modules with far more parameters than `tensors` raise RuntimeError while they are built.

    Sizes come from files: 10^9 layers would be built for hours, before their weights turn out to be missing. A few
    times the number is allowed, because modules replace parameters while they are built. An inner limit replaces an
    outer one.
    """
    sizes = [tensor.numel() for tensor in tensors]
    left, elements, depth = 4 * len(sizes) + 64, 4 * sum(sizes) + 65_536, _LIMITS.get() + 1

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left, elements
        if _LIMITS.get() == depth and parameter is not None:
            left, elements = left - 1, elements - parameter.numel()
            if min(left, elements) < 0:
                raise RuntimeError(f"the sizes need far more than the {counted(len(sizes), 'tensor')} in the file")

    handle, token = register_module_parameter_registration_hook(count), _LIMITS.set(depth)
    try:
        yield
    finally:
        _LIMITS.reset(token)
        handle.remove()

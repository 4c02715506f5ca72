"""Read a `.pt` file as data: nothing that the file names is ever run.

torch's weights-only reader builds tensors and plain containers and refuses any other class. The original's training
also saved settings objects and, after a validation, numpy arrays of labels and scores. None of that is needed here, so
names from the libraries that such files are known to mention are read as inert placeholders. Any other name is refused.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from ecgtune.errors import CheckpointError
from ecgtune.utils.files import refuse_pointer

_INERT_LIBRARIES = frozenset(
    {"argparse", "collections", "enum", "fairseq", "fairseq_signals", "numpy", "omegaconf", "pathlib", "typing"}
)


class _Inert:
    """Stands for an object of the file; takes its arguments and its state, and does nothing with them."""

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def read_pickled_tensors(path: Path) -> Any:
    """The content of a `torch.save` file, with placeholders for what is neither a tensor nor a plain value.

    The file is memory-mapped where its layout allows it, so that tensors nobody asks for (two thirds of an official
    file is optimizer state) are not read. Raises CheckpointError for a file that is not such a file, is cut off, or
    names code that no checkpoint needs.
    """
    zipped = zipfile.is_zipfile(path)
    try:
        unknown = get_unsafe_globals_in_checkpoint(path) if zipped else []
        foreign = sorted(name for name in unknown if name.split(".")[0] not in _INERT_LIBRARIES)
        if foreign:
            raise CheckpointError(
                f"{path}: the file asks to run {foreign[0]!r}, which no checkpoint needs; "
                "it was not executed; download the file from its publisher"
            )
        with safe_globals([_placeholder(name) for name in unknown]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except CheckpointError:
        raise
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, LookupError, TypeError, OSError,
            AttributeError, AssertionError, UnicodeDecodeError) as error:  # fmt: skip
        refuse_pointer(path, CheckpointError)
        reason = str(error).splitlines()[0][:150] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: not a readable PyTorch checkpoint, or cut off ({reason}); download it again"
        ) from error


def _placeholder(name: str) -> Callable[..., object]:
    module, _, attribute = name.rpartition(".")
    if name == "collections.defaultdict":  # the one container whose items are set after it is made

        def placeholder(*_: object) -> object:
            return {}

        placeholder.__module__, placeholder.__qualname__ = module, attribute
        return placeholder
    return type(attribute, (_Inert,), {"__module__": module, "__qualname__": attribute})

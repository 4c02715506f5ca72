"""Reader of published checkpoint files that hold a state dict."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecgtune.errors import AuditError, CheckpointError
from ecgtune.models.base import Checkpoint, Encoder, EncoderConfig
from ecgtune.models.layers import without_values
from ecgtune.models.tensors import check_tensors, to_float32
from ecgtune.models.torch_files import UnreadTensor
from ecgtune.models.weights import BESIDE, Weights
from ecgtune.utils.files import file_sha256

HEAD = ("head.weight", "head.bias")
#: Parts of a `PreNormLayer` that have weights.
PRE_NORM = (
    "attention_norm",
    "attention.qkv",
    "attention.out_proj",
    "feed_forward_norm",
    "feed_forward.fc1",
    "feed_forward.fc2",
)


def layer_name(name: str, layer: str, parts: Sequence[str], first: int = 0) -> str | None:
    """Name in a file of a tensor of `layers`, each a `PreNormLayer`; None for a tensor of another part.

    layer: name of a layer in the file, with {} for its number. parts: names there of the parts `PRE_NORM`. first: the
    layer of the encoder that is number 0 in the file.
    """
    found = re.fullmatch(r"layers\.(\d+)\.(.*)\.(\w+)", name)
    if found is None:
        return None
    return f"{layer.format(int(found[1]) - first)}.{parts[PRE_NORM.index(found[2])]}.{found[3]}"


@dataclass(frozen=True)
class StateDictFormat:
    """Reader of files that hold a state dict, alone or in a dictionary beside other entries.

    Attributes
    ----------
    architecture : class of the encoder.
    sizes : published sizes; a file that is read without a name has to have one of them.
    published_name : name in the file of a tensor of the encoder, by its name in `architecture`.
    mark : pattern of tensor names that only files of this architecture have.
    containers : keys of the entry that holds the state dict, in the order in which they are looked for.
    prefixes : beginnings of tensor names that are removed.
    renamed : endings of tensor names in some files, and those that they stand for.
    head : names in the file of weight and bias of a linear head; None where files have none.
    labels : names of the outputs of that head, where it has as many.
    left_out : patterns of names of tensors that the network does not use, and the reason.
    """

    architecture: type[Encoder]
    sizes: tuple[EncoderConfig, ...]
    published_name: Callable[[str], str]
    mark: str
    containers: tuple[str, ...] = ("state_dict", "model_state_dict", "model")
    prefixes: tuple[str, ...] = ("module.",)
    renamed: Mapping[str, str] = field(default_factory=dict)
    head: tuple[str, str] | None = None
    labels: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def matches(self, content: Any) -> bool:
        return any(fnmatchcase(self._plain(str(name)), self.mark) for name in self._tensors(content))

    def read(self, content: Any, path: Path, *, heads: int | None, sizes: EncoderConfig | None) -> Checkpoint:
        kind = self.architecture.architecture
        if heads is not None:
            raise CheckpointError(f"{path}: the sizes of {kind} state the number of heads; leave heads={heads} out")
        tensors, container = self._tensors(content), self._container(content)
        if not tensors:
            raise CheckpointError(f"{path}: not a checkpoint of {kind}: no tensors under {', '.join(self.containers)}")
        tensors = check_tensors(tensors, str(path))
        originals: dict[str, str] = {}
        twice: list[tuple[str, str]] = []
        for name, tensor in tensors.items():
            first = originals.setdefault(self._plain(name), name)
            if first != name and not torch.equal(tensor, tensors[first]):
                raise AuditError(f"weights audit: {path} names a tensor twice, {first!r} and {name!r}")
            if first != name:
                twice.append((name, "the same tensor under another name"))
        unused = {name: reason for name in originals if (reason := self._unused(name))}
        found = {plain: tensors[name] for plain, name in originals.items() if plain not in unused}
        config, misfits = self._best(found, sizes)
        if misfits:
            raise AuditError(f"weights audit: {path} does not fit {kind}: {misfits[0]}")
        names = {ours: theirs for theirs, (ours, _) in self._expected(config, found).items()}
        weights = {ours: to_float32(found[theirs], theirs, str(path), copy=True) for ours, theirs in names.items()}
        head = {part.removeprefix("head."): weights.pop(part) for part in HEAD if part in weights}
        beside = [] if container is None else [str(key) for key in content if key != container]
        left_out = [(originals[name], reason) for name, reason in unused.items()]
        origin = Weights(
            "pretrained",
            str(path),
            file_sha256(path),
            used=tuple(originals[theirs] for theirs in names.values()),
            left_out=(*left_out, *twice, *((key, BESIDE) for key in beside)),
        )
        labels = self.labels if head and len(head["bias"]) == len(self.labels) else None
        return Checkpoint(self.architecture.from_weights(config, weights), origin, head or None, labels)

    def _best(self, found: Mapping[str, Tensor], sizes: EncoderConfig | None) -> tuple[EncoderConfig, list[str]]:
        """The sizes that the tensors fit best, and sentences about tensors that do not fit."""
        tried = self.sizes if sizes is None else (sizes,)
        results = [(config, _misfits(found, self._expected(config, found))) for config in tried]
        return min(results, key=lambda result: len(result[1]))

    def _container(self, content: Any) -> str | None:
        entries = content if isinstance(content, Mapping) else {}
        return next((key for key in self.containers if isinstance(entries.get(key), Mapping)), None)

    def _tensors(self, content: Any) -> dict[Any, Any]:
        if not isinstance(content, Mapping):
            return {}
        container = self._container(content)
        entries: Mapping[Any, Any] = content if container is None else content[container]
        return {name: value for name, value in entries.items() if isinstance(value, (Tensor, UnreadTensor))}

    def _plain(self, name: str) -> str:
        for prefix in self.prefixes:
            name = name.removeprefix(prefix)
        for old, new in self.renamed.items():
            if name.endswith(old):
                return name.removesuffix(old) + new
        return name

    def _unused(self, name: str) -> str:
        return next((reason for pattern, reason in self.left_out.items() if fnmatchcase(name, pattern)), "")

    def _expected(self, config: EncoderConfig, found: Mapping[str, Tensor]) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Name in the file -> name in the encoder and shape; a head is expected where the file has one."""
        with without_values():
            encoder = self.architecture(config)
        shapes = {self.published_name(name): (name, tuple(t.shape)) for name, t in encoder.state_dict().items()}
        if self.head is not None and any(name in found for name in self.head):
            counts = (found[name].shape[0] for name in reversed(self.head) if name in found and found[name].dim())
            outputs = next(counts, 0)
            shapes[self.head[0]] = HEAD[0], (outputs, encoder.head_width)
            shapes[self.head[1]] = HEAD[1], (outputs,)
        return shapes


def _misfits(found: Mapping[str, Tensor], expected: Mapping[str, tuple[str, tuple[int, ...]]]) -> list[str]:
    """Sentences about tensors that do not fit, in the order of the file, then about those that it lacks."""
    sentences = []
    for name, tensor in found.items():
        if name not in expected:
            sentences.append(f"its tensor {name!r} {tuple(tensor.shape)} is none of the network's")
        elif tuple(tensor.shape) != expected[name][1]:
            sentences.append(f"its tensor {name!r} has shape {tuple(tensor.shape)} instead of {expected[name][1]}")
    return sentences + [f"it has no tensor {name!r}" for name in expected if name not in found]

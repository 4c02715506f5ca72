"""Read a `.pt` file as data, in memory that follows from its size: nothing that the file names is ever run.

`torch.save` writes a zip archive: a pickle `data.pkl` and one uncompressed member for each storage, the memory of
tensors. Files of torch before 1.6 are one pickle after the other, and the storages behind them. A tensor is a view of
the memory-mapped file, so that tensors nobody asks for (two thirds of an official file: optimizer state) are not read.
"""

from __future__ import annotations

import mmap
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from ecgtune.errors import CheckpointError
from ecgtune.models.pickles import LONGEST_NAME, MOST_BYTES, Inert, Interpreter, Named, PickleError
from ecgtune.text import reason_of, shown
from ecgtune.utils.archives import open_zip
from ecgtune.utils.files import open_file, refuse_pointer

_DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
#: Libraries whose objects checkpoints are known to mention; none of them is needed.
_INERT_LIBRARIES = frozenset(
    {"argparse", "collections", "enum", "fairseq", "fairseq_signals", "numpy", "omegaconf", "pathlib", "typing"}
    | {"hubert_ecg", "transformers"}
)
_INERT_NAMES = re.compile(
    r"builtins\.(bytearray|bytes|complex|set|frozenset|list|dict|tuple|str|int|float|bool|object|range)"
    r"|builtins\.(long|unicode|xrange)"
    r"|_codecs\.encode|copy_?reg\._reconstructor"
    r"|torch\.(cuda\.|sparse\.|cuda\.sparse\.)?\w+(Storage|Tensor)|torch\.storage\.\w+Storage|torch\.(Tensor|Size|device)"
    r"|torch\.nn\.parameter\.\w+|torch\.serialization\._get_layout|torch\._utils\._rebuild_\w+"
    r"|torch\._tensor\._rebuild_from_type_v2"
)
_CONTAINERS = ("collections.OrderedDict", "collections.defaultdict", "collections.Counter")
_REBUILD = "torch._utils._rebuild_"
_KINDS = {"sparse_tensor": "sparse", "qtensor": "quantised", "nested_tensor": "nested"}
_KINDS |= {"meta_tensor_no_storage": "without values (meta)"}
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MOST_AXES = 16


@dataclass(frozen=True)
class UnreadTensor:
    """Stands for a tensor that is not a dense array of ordinary numbers; `kind` says why."""

    kind: str


@dataclass(frozen=True)
class _Storage:
    key: str
    kind: str  # "Float", ...
    elements: int


def read_torch_file(path: Path, *, check_sums: bool = False) -> Any:
    """Return the content of a `torch.save` file: containers, plain values, tensors, `UnreadTensor` and `Inert`.

    check_sums: compare the checksum of each storage, which a flipped bit changes; it reads the whole file. Raises
    CheckpointError for a file that is not such a file, is cut off, names code that no checkpoint needs, or whose
    tensors need more memory than it holds.
    """
    try:
        with open_file(path) as file:
            if file.seek(0, 2) == 0:
                raise PickleError("the file is empty")
            file.seek(0)
            first = file.read(64).lstrip()
            if first.startswith(b"<"):
                raise PickleError("a web page, as sites show one before a download")
            if first.startswith(b"PK") and not zipfile.is_zipfile(path):
                raise PickleError("the end of the archive is missing")
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return (_Zipped if zipfile.is_zipfile(path) else _Legacy)(path, memory).read(check_sums)
    except CheckpointError:
        raise
    except Exception as error:  # damaged content fails anywhere
        refuse_pointer(path, CheckpointError)
        raise CheckpointError(
            f"{path}: not a readable PyTorch checkpoint, or cut off ({reason_of(error)}); download it again"
        ) from error


class _Pickle(Interpreter):
    """Pickle of a torch file. storage: where a storage lies in `memory`, first and one past last byte."""

    def __init__(
        self, path: Path, data: bytes, memory: mmap.mmap, place: Callable[[_Storage], tuple[int, int] | None]
    ) -> None:
        super().__init__(data)
        self._path, self._memory, self._place = path, memory, place
        self._views: dict[_Storage, torch.Tensor | None] = {}
        self.storages: dict[str, _Storage] = {}

    def check_name(self, name: str) -> None:
        known = name.split(".")[0] in _INERT_LIBRARIES or _INERT_NAMES.fullmatch(name)
        kind = vars(torch).get(name.removeprefix("torch."))
        if not known and not isinstance(kind, (torch.dtype, torch.layout, torch.qscheme)):
            raise CheckpointError(
                f"{self._path}: the file asks to run {shown(name)}, which no checkpoint needs; "
                "it was not executed; download the file from its publisher"
            )

    def call(self, name: str, arguments: tuple) -> Any:
        if name in _CONTAINERS:
            made: dict[Any, Any] = {}
            if arguments and isinstance(arguments[0], list):
                self.count(len(arguments[0]))
                self.fill(made, arguments[0])
            return made
        if name == "torch.Size":  # of a tuple, as torch writes it
            return arguments[0] if isinstance(arguments[0], tuple) else Inert()
        if name == "torch._tensor._rebuild_from_type_v2" and arguments[0] != name:  # a tensor with attributes
            return self._made_by(arguments[0], arguments[2])
        if not name.startswith(_REBUILD):
            return Inert()
        kind = name.removeprefix(_REBUILD)
        if kind.startswith("parameter"):
            return arguments[0]
        if kind in ("tensor", "tensor_v2"):
            lazy = len(arguments) > 6 and bool(arguments[6])
            return UnreadTensor("lazily changed") if lazy else self._tensor(*arguments[:4])
        if kind == "tensor_v3":
            return UnreadTensor(f"of {arguments[6][:40]}" if isinstance(arguments[6], Named) else "of no known type")
        return UnreadTensor(_KINDS.get(kind, "of a kind that is not read"))

    def stored(self, identifier: Any) -> _Storage:
        if not isinstance(identifier, tuple) or len(identifier) not in (5, 6):
            raise PickleError("a storage without type or name")
        word, kind, key, _, elements, *part = identifier
        if word != "storage" or not isinstance(kind, Named) or not isinstance(key, str) or any(part):
            raise PickleError("a storage without type, or name, or a part of one")
        if type(elements) is not int or elements < 0 or len(key) > LONGEST_NAME:
            raise PickleError("a storage without size, or with a long name")
        storage = _Storage(key, kind.rpartition(".")[2].removesuffix("Storage"), elements)
        if self.storages.setdefault(key, storage) != storage and elements:
            raise PickleError("a storage of two types or sizes")
        return storage

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> torch.Tensor | UnreadTensor:
        """Return the view of a storage, after its elements are counted against those of the storage."""
        if not isinstance(storage, _Storage):
            raise PickleError("a tensor without storage")
        if storage.kind not in _DTYPES:
            return UnreadTensor(f"of {storage.kind[:40]}")
        self.count(len(shape) + len(strides))
        sizes = (offset, *shape, *strides)
        if len(shape) != len(strides) or len(shape) > _MOST_AXES or any(type(n) is not int or n < 0 for n in sizes):
            raise PickleError("a tensor of impossible shape")
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        count = prod(shape)
        if count and (last >= storage.elements or count > storage.elements):
            raise PickleError(f"a tensor of shape {tuple(shape)} over {storage.elements} stored elements")
        if storage not in self._views:
            self._views[storage] = self._view(storage)
        view = self._views[storage]
        return torch.empty(0) if view is None else view.as_strided(shape, strides, offset if count else 0)

    def _view(self, storage: _Storage) -> torch.Tensor | None:
        place, dtype = self._place(storage), _DTYPES[storage.kind]
        if place is None:
            return None
        start, stop = place
        if stop - start != storage.elements * dtype.itemsize or stop > len(self._memory):
            raise PickleError(f"{stop - start} bytes for {storage.elements} elements of {dtype}")
        if not storage.elements:
            return torch.empty(0, dtype=dtype)
        if start % dtype.itemsize:  # archives that other programs wrote
            return torch.frombuffer(bytearray(self._memory[start:stop]), dtype=dtype)
        return torch.frombuffer(self._memory, dtype=dtype, count=storage.elements, offset=start)


class _Zipped:
    """The zip archive that torch writes."""

    def __init__(self, path: Path, memory: mmap.mmap) -> None:
        self._path, self._memory = path, memory

    def read(self, check_sums: bool) -> Any:
        with closing(open_zip(self._path)) as archive:
            self._members = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in self._members if name.endswith("/data.pkl") and name.count("/") == 1]
        folder = pickles[0].removesuffix("data.pkl") if pickles else ""
        if len(pickles) != 1 or f"{folder}constants.pkl" in self._members:
            raise PickleError("a zip archive of another program, or of torch.jit")
        if sum(info.file_size for info in self._members.values()) > len(self._memory):
            raise PickleError("its members overlap, or are compressed")
        places = {name: self._bytes_of(info) for name, info in self._members.items() if not name.endswith("/")}
        order = places.get(f"{folder}byteorder")
        if order is not None and self._memory[order[0] : order[1]] != b"little":
            raise PickleError("big-endian numbers")
        for name, (start, stop) in places.items():
            if check_sums or name == pickles[0]:
                with memoryview(self._memory) as view, view[start:stop] as part:
                    if zlib.crc32(part) != self._members[name].CRC:
                        raise PickleError(f"the checksum of {shown(name)} does not match")
        start, stop = places[pickles[0]]
        if stop - start > MOST_BYTES:
            raise PickleError(f"a pickle of {stop - start} bytes; at most {MOST_BYTES} are read")
        data = self._memory[start:stop]
        return _Pickle(self._path, data, self._memory, lambda storage: places[f"{folder}data/{storage.key}"]).run()

    def _bytes_of(self, info: zipfile.ZipInfo) -> tuple[int, int]:
        """Return where the uncompressed content of a member lies: first and one past last byte."""
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
            raise PickleError(f"{shown(info.filename)} is compressed, which torch.save never does")
        mark, name, extra = struct.unpack("<4s22xHH", self._memory[info.header_offset : info.header_offset + 30])
        start = info.header_offset + 30 + name + extra
        if mark != b"PK\x03\x04" or start + info.file_size > len(self._memory):
            raise PickleError("it ends early")
        return start, start + info.file_size


class _Legacy:
    """Pickles one after the other, of magic number, version, machine, content and storage names; then the storages."""

    def __init__(self, path: Path, memory: mmap.mmap) -> None:
        self._path, self._memory = path, memory

    def read(self, check_sums: bool) -> Any:
        """Return the content; there are no checksums. It is read twice, as the storages lie behind their names."""
        keys, pickle = self._run(lambda storage: None)[1:]
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise PickleError("it does not list its storages")
        places: dict[str, tuple[int, int]] = {}
        start = pickle.position
        for key in keys:
            storage = pickle.storages[key]
            (elements,) = struct.unpack("<q", self._memory[start : start + 8])
            places[key] = start + 8, start + 8 + elements * _DTYPES[storage.kind].itemsize
            if elements != storage.elements or places[key][1] > len(self._memory):
                raise PickleError("it ends early")
            start = places[key][1]
        return self._run(lambda storage: places[storage.key])[0]

    def _run(self, place: Callable[[_Storage], tuple[int, int] | None]) -> tuple[Any, Any, _Pickle]:
        pickle = _Pickle(self._path, self._memory[:MOST_BYTES], self._memory, place)
        if pickle.run() != _LEGACY_MAGIC or pickle.run() != _LEGACY_PROTOCOL:
            raise PickleError("it does not begin as one")
        if pickle.run().get("little_endian") is not True:
            raise PickleError("big-endian numbers")
        return pickle.run(), pickle.run(), pickle

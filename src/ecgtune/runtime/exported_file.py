"""The exported file: an ONNX graph, metadata as JSON behind it, and a checksum over both at the end.

Metadata and checksum are entries of the `metadata_props` that any ONNX tool shows. They are appended to the file, which
the encoding of ONNX (protocol buffers) reads like entries inside the graph, so no library is needed to write or check
them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import HIGHEST_RATE, LOWEST_RATE
from ecgtune.errors import ModelFileError
from ecgtune.evaluation.certainty import CertaintyFacts
from ecgtune.evaluation.decision import LabelThresholds, ThresholdFacts
from ecgtune.text import reason_of, shown, utf8
from ecgtune.utils.archives import checked_zip
from ecgtune.utils.files import finite, open_file, parsed_json
from ecgtune.utils.schema import Count, Positive, check_schema

#: `format` of the metadata. Increased when a key changes its name or meaning.
FORMAT = 1
METADATA, CHECKSUM = "ecgtune", "ecgtune_sha256"
_METADATA_PROPS = 14  # field of ModelProto
_CHUNK = 1 << 20
_MOST_BYTES = 64 << 20  # of unpacked references; 4,096 windows of 1,000 labels take 17 MB


class InputFacts(TypedDict):
    """The input of the graph."""

    leads: list[str]
    sampling_rate: Annotated[float, LOWEST_RATE, HIGHEST_RATE]
    samples: Count
    any_length: bool


class DataFacts(TypedDict):
    """The data of the training."""

    sha256: str
    sampling_rate: Annotated[float, LOWEST_RATE, HIGHEST_RATE]
    samples: Count
    leads: list[str]
    signal_path: dict[str, Any] | None


class MemberFacts(TypedDict):
    """One run of an ensemble; docs/export.md has all of it."""

    preprocessing: dict[str, Any]
    data: DataFacts
    run: dict[str, Any]
    summary: str


class Metadata(TypedDict):
    """What the metadata must hold when a file is opened; docs/export.md has all of it."""

    format: int
    task: Literal["binary", "multiclass", "multilabel"]
    classes: list[str]
    decision: LabelThresholds | ThresholdFacts
    recording: Literal["mean", "maximum"]
    input: InputFacts
    window: Positive
    step: Positive
    preprocessing: dict[str, Any]
    data: DataFacts
    run: dict[str, Any]
    summary: str
    certainty: NotRequired[CertaintyFacts]
    precision: NotRequired[Literal["float32", "int8"]]  # absent while it is verified
    references: NotRequired[dict[str, str]]
    members: NotRequired[list[MemberFacts]]  # of an ensemble; the entries above are then those of the first


def sealed(graph: bytes, metadata: dict[str, Any]) -> bytes:
    """The content of an exported file: `graph` (a serialised ONNX model), the metadata and the checksum."""
    text = json.dumps(finite(metadata), ensure_ascii=False, allow_nan=False)
    body = graph + _entry(METADATA, text)
    return body + _entry(CHECKSUM, hashlib.sha256(body).hexdigest())


def check_sealed(path: Path) -> None:
    """Raise ModelFileError for a file that is missing, was not exported by ecgtune, or has changed since."""
    trailer = len(_entry(CHECKSUM, "0" * 64))
    digest = hashlib.sha256()
    try:
        left = path.stat().st_size - trailer
        with open_file(path) as file:
            start = file.read(6)
            file.seek(0)
            while left > 0:
                part = file.read(min(left, _CHUNK))
                digest.update(part)
                left -= len(part) or left
            end = file.read()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror}); give a file of ecgtune export") from None
    if start[4:] == b"ET":
        raise ModelFileError(
            f"{path}: is a program of ExecuTorch, which only its runtime reads; give the run, or export it as .onnx"
        )
    if CHECKSUM.encode() not in end:
        raise ModelFileError(
            f"{path}: was not written by ecgtune export, or is cut off; export the run, or copy the file again"
        )
    if end != _entry(CHECKSUM, digest.hexdigest()):
        raise ModelFileError(f"{path}: its content is not the one that was exported (checksum); copy it again")


def read_metadata(path: Path, entries: dict[str, str]) -> dict[str, Any]:
    """The metadata among the entries of a graph. Raises ModelFileError for another format, and for damaged ones."""
    try:
        metadata = parsed_json(entries[METADATA])
    except (KeyError, ValueError) as error:
        raise ModelFileError(f"{path}: its metadata cannot be read ({reason_of(error)}); export it again") from None
    if isinstance(metadata, dict) and metadata.get("format") != FORMAT:
        found = shown(metadata.get("format"))
        raise ModelFileError(
            f"{path}: has format {found}; this version of ecgtune reads format {FORMAT}: export it again"
        )
    check_schema(metadata, Metadata, f"{path}, metadata", ModelFileError)
    return metadata


def members(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Facts of each run of a file: the metadata themselves of one run."""
    return list(metadata.get("members", [metadata]))


def _entry(key: str, value: str) -> bytes:
    """One entry of `metadata_props`, as protocol buffers encode it."""
    pair = b"".join(_field(number, utf8(part)) for number, part in ((1, key), (2, value)))
    return _field(_METADATA_PROPS, pair)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


@dataclass(frozen=True, eq=False)
class References:
    """Windows by their digests, and what the original model gave for each: what `ecgtune verify` compares with.

    digest: uint64 (windows,), of the float32 samples; the samples themselves are not kept. probability: float32
    (windows, classes). label: as of `data.dataset.Dataset`. recording: int32 (windows,), number of the recording; -1
    where none is known. novelty: float32 (windows,), None of a run without the score.
    """

    digest: NDArray[np.uint64]
    probability: NDArray[np.float32]
    label: NDArray[np.int8]
    recording: NDArray[np.int32]
    novelty: NDArray[np.float32] | None = None

    def packed(self) -> str:
        """As text for JSON."""
        buffer = io.BytesIO()
        np.savez(buffer, **{name: each for name, each in vars(self).items() if each is not None})
        return base64.b64encode(zlib.compress(buffer.getvalue(), 9)).decode()

    @classmethod
    def unpacked(cls, text: str, path: Path, classes: int) -> References:
        """The inverse of `packed`, of the file `path`. Raises ModelFileError for another text, in bounded memory."""
        try:
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(base64.b64decode(text), _MOST_BYTES)
            if not unpacker.eof:
                raise ValueError(f"they are cut off, or unpack to more than {_MOST_BYTES} bytes")
            with np.load(io.BytesIO(checked_zip(content)), allow_pickle=False) as arrays:
                if any(member.compress_type != zipfile.ZIP_STORED for member in arrays.zip.infolist()):
                    raise ValueError("an array is packed twice")
                novelty = arrays["novelty"] if "novelty" in arrays.files else None
                found = cls(arrays["digest"], arrays["probability"], arrays["label"], arrays["recording"], novelty)
            found._check(classes)
            return found
        except (ValueError, KeyError, MemoryError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise ModelFileError(
                f"{path}: its reference probabilities cannot be read ({reason_of(error)}); export the run again"
            ) from None

    def _check(self, classes: int) -> None:
        """Raise ValueError unless the arrays are of one or more windows, and of their types."""
        windows = self.digest.size
        of_each = {
            "digest": (windows,),
            "recording": (windows,),
            "novelty": (windows,),
            "probability": (windows, classes),
        }
        of_each |= {"label": (windows, classes) if self.label.ndim == 2 else (windows,)}
        kinds = {"digest": "u8", "recording": "i4", "novelty": "f4", "probability": "f4", "label": "i1"}
        for name, array in vars(self).items():
            if array is not None and (
                not windows or (array.shape, array.dtype) != (of_each[name], np.dtype(kinds[name]))
            ):
                raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
        if not all(np.isfinite(each).all() for each in (self.probability, self.novelty) if each is not None):
            raise ValueError("a value is not finite")


def digests(windows: NDArray[np.float32]) -> NDArray[np.uint64]:
    """The first 64 bits of the SHA-256 of each window's samples, little-endian float32."""
    rows = np.ascontiguousarray(windows, dtype="<f4")
    return np.array([int.from_bytes(hashlib.sha256(row.data).digest()[:8], "little") for row in rows], dtype=np.uint64)

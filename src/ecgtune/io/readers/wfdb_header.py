"""Headers of WFDB records, of one segment or several.

The library opens whatever a header names and takes whatever memory it asks for, so a header is compared with the files
beside it first. Lines are read here: the library's `rdheader` gives the same fields and takes ten times as long, and
its import takes longer than a prediction. A header without a gain, or with 0, means 200 steps per millivolt, and one
without a unit means millivolts: both are rules of WFDB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path, PurePosixPath

from ecgtune.errors import DataError
from ecgtune.io.readers.base import decoded
from ecgtune.text import shown
from ecgtune.utils.files import open_file, refuse_pointer, small_bytes
from ecgtune.utils.formatting import counted

HEADER_BYTES = 1 << 20
SUFFIX = ".hea"
USUAL_GAIN = 200.0  # steps per unit, of a header that states none, or 0
_MOST_DIGITS = 18
GAP = "~"  # the name of a segment, or of a layout's file, that holds nothing
_FORMAT = re.compile(r"(?P<format>\d+)(x(?P<per_frame>\d+))?(:(?P<skew>\d+))?(\+(?P<offset>\d+))?")
_GAIN = re.compile(r"(?P<gain>-?\d*\.?\d*(e[+-]?\d+)?)(\((?P<baseline>-?\d+)\))?")
_NUMBER = re.compile(r"(-?\d+|-)(\s+|$)")
_SEGMENT = re.compile(r"(\S+)\s+(\d+)")
#: Bits that a sample takes in each format of signal files; None: FLAC, whose size the header does not decide.
BITS: dict[str, float | None] = {"8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12}
BITS |= {"310": 32 / 3, "311": 32 / 3, "508": None, "516": None, "524": None}
_NO_SAMPLES = "0"  # the format of the channels of a layout


@dataclass(frozen=True)
class Channel:
    """One line of a header.

    file: path of the samples, relative to the header's folder.
    gain: steps per unit. baseline: the step of 0. first: the first step, for formats of differences. unit: None when
    not stated. checksum: 0 when not stated.
    """

    file: str
    format: str
    per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    first: int
    unit: str | None
    checksum: int
    name: str | None


@dataclass(frozen=True)
class Segment:
    """A part of a record of several segments; header: None where nothing was recorded."""

    header: WfdbHeader | None
    frames: int


@dataclass(frozen=True)
class WfdbHeader:
    """frame_rate: Hz, None when not stated. frames: their number, each with `per_frame` samples of a channel.

    segments: none for a record of one. by_name: whether a segment may have other channels than the record, in another
    order (a variable layout).
    """

    path: Path
    frame_rate: float | None
    frames: int
    channels: tuple[Channel, ...]
    segments: tuple[Segment, ...] = ()
    by_name: bool = False


def header_path(path: Path) -> Path:
    """Return the header of a record named with or without its suffix, or by its file of samples."""
    if path.suffix.lower() == SUFFIX:
        return path
    whole, instead = path.with_name(path.name + SUFFIX), path.with_suffix(SUFFIX)
    return instead if instead.is_file() and not whole.is_file() else whole


def record_files(header: Path, *, is_segment: bool = False) -> Iterator[Path]:
    """Yield the header and the files that it names: samples, or segments with theirs. Raises DataError."""
    yield header
    lines = _lines(header)
    segments = None if is_segment else _segment_count(header, lines)
    names = [line.split()[0] for line in lines[1:]]
    for name in dict.fromkeys(name for name in names if name != GAP):
        if segments is None:
            yield _beside(header, name)
        else:
            yield from record_files(_beside(header, name + SUFFIX), is_segment=True)


def segment_headers(header: Path) -> tuple[Path, ...]:
    """Return the headers of a record's segments; none for a record of one, or for a damaged header."""
    try:
        with open_file(header) as file:
            if b"/" not in file.read(HEADER_BYTES).partition(b" ")[0]:  # nearly always, and quickly known
                return ()
        return tuple(path for path in record_files(header) if path.suffix == SUFFIX and path != header)
    except (DataError, OSError):  # reading the record reports it
        return ()


def read_header(path: Path) -> WfdbHeader:
    """Read a header and compare it with the sizes of its files. Raises DataError."""
    lines = _lines(path)
    count = _segment_count(path, lines)
    if count is None:
        return _one_segment(path, lines)
    rate, frames, channel_count = _first_line(path, lines[0])
    found = [_SEGMENT.fullmatch(line) for line in lines[1:]]
    if len(found) != count or not all(found):
        raise DataError(
            f"{path}: promises {counted(count, 'segment')}, but describes {len(lines) - 1}; a line is 'name samples'"
        )
    stated = [(match[1], _integer(path, match[2])) for match in found if match]
    layout = None
    if stated and stated[0][1] == 0:
        layout = _segment_header(path, stated[0][0], layout=True)
        stated = stated[1:]
    segments = tuple(_segment(path, name, length, rate) for name, length in stated)
    if frames is not None and frames != sum(segment.frames for segment in segments):
        raise DataError(f"{path}: promises {frames} samples, but its segments have another sum; copy the record again")
    headers = [segment.header for segment in segments if segment.header is not None]
    if not headers:
        raise DataError(f"{path}: none of its {counted(count, 'segment')} holds samples")
    for header in (layout,) if layout else headers:
        if len(header.channels) != channel_count:
            has = f"{header.path.name} has {len(header.channels)}"
            raise DataError(f"{path}: promises {counted(channel_count, 'channel')}, but {has}; copy the record again")
    frames = sum(segment.frames for segment in segments)
    channels = (layout or headers[0]).channels
    return WfdbHeader(path, rate, frames, channels, segments, by_name=layout is not None)


def _segment(path: Path, name: str, frames: int, rate: float | None) -> Segment:
    if name == GAP:
        return Segment(None, frames)
    header = _segment_header(path, name)
    if header.frames != frames:
        raise DataError(f"{path}: promises {frames} samples of segment {name}, which has {header.frames}; copy both")
    if rate is not None and header.frame_rate not in (None, rate):
        raise DataError(f"{path}: has {rate:g} Hz, but its segment {name} has {header.frame_rate:g} Hz")
    return Segment(header, frames)


def _segment_header(path: Path, name: str, *, layout: bool = False) -> WfdbHeader:
    header = _beside(path, name + SUFFIX)
    if not header.is_file():
        raise DataError(f"{path}: its segment {shown(name)} is not beside it; copy all segments")
    try:
        return _one_segment(header, layout=layout)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _one_segment(path: Path, lines: list[str] | None = None, *, layout: bool = False) -> WfdbHeader:
    """Read the header of a record or segment; a `layout` describes channels without samples."""
    lines = _lines(path) if lines is None else lines
    rate, frames, count = _first_line(path, lines[0])
    channels = tuple(_channel(path, line, layout) for line in lines[1:])
    if not channels or count != len(channels):
        raise DataError(f"{path}: promises {counted(count, 'channel')}, but describes {len(channels)}")
    frames = 0 if layout else _frames(path, frames, channels)
    if frames and any(channel.skew >= frames for channel in channels):
        raise DataError(f"{path}: has a channel that starts after the end; the header is damaged")
    return WfdbHeader(path, rate, frames, channels)


def header_content(path: Path) -> bytes:
    """Return the bytes of a header. Raises DataError for over `HEADER_BYTES`, OSError where it cannot be read."""
    if path.stat().st_size > HEADER_BYTES:
        raise DataError(f"{path}: has {path.stat().st_size} bytes; a header of at most {HEADER_BYTES} is read")
    return small_bytes(path, HEADER_BYTES)


def _lines(path: Path) -> list[str]:
    """Return the lines that are no comments. Raises DataError."""
    lines = [line.strip() for line in re.split("[\r\n]+", decoded(header_content(path)))]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise DataError(f"{path}: is empty; a WFDB header starts with a line such as 'name 12 500 5000'")
    return lines


def _segment_count(path: Path, lines: list[str]) -> int | None:
    """Return the number of segments; None for a record of one, whose name may begin with a folder."""
    name, slash, count = lines[0].split()[0].rpartition("/")
    if not slash or not count.isdecimal() or (count == path.stem and name != path.stem):
        return None
    return _integer(path, count)


def _integer(path: Path, text: str) -> int:
    """Return a whole number. Raises DataError for one that no record has; Python refuses those of 5000 digits."""
    if len(text) > _MOST_DIGITS:
        raise DataError(f"{path}: {shown(text)} is a number of {len(text)} digits; the header is damaged")
    return int(text)


def _first_line(path: Path, line: str) -> tuple[float | None, int | None, int]:
    """Return the frame rate (Hz), the number of frames and that of channels. Raises DataError.

    Read here: the library's pattern takes a rate of 2.5e2 for 2.5. A counter's rate may follow after a slash.
    """
    _, count, rate, frames = [*line.split()[:4], "", "", ""][:4]
    try:
        if not (count.isdecimal() and (frames or "0").isdecimal()):
            raise ValueError
        stated = _integer(path, frames or "0")  # 0 or nothing: not stated
        return float(rate.partition("/")[0]) if rate else None, stated or None, _integer(path, count)
    except ValueError:
        raise DataError(
            f"{path}: its first line {shown(line)} is no 'name 12 500 5000' (channels, Hz, samples)"
        ) from None


def _beside(header: Path, name: str) -> Path:
    """Return a file that a header names, in a folder below it or, where there is none, beside it. Raises DataError."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or any(part in ("/", "..", "~") or ":" in part for part in parts):
        raise DataError(
            f"{header}: names the file {shown(name)}; files are read from the header's own folder only, so name a file "
            "there"
        )
    below = header.parent.joinpath(*parts)
    return below if below.is_file() else header.parent / parts[-1]


def _channel(path: Path, line: str, layout: bool) -> Channel:
    file, fmt, gain, rest = [*line.split(None, 3), "", "", ""][:4]
    gain, _, unit = gain.partition("/")
    formats = (_NO_SAMPLES,) if layout else BITS
    samples, scale = _FORMAT.fullmatch(fmt), _GAIN.fullmatch(gain.lower())
    if samples is None or samples["format"] not in formats or scale is None:
        raise DataError(f"{path}: {shown(line)} describes no channel; the signal formats are {', '.join(formats)}")
    numbers: list[int] = []  # resolution, zero, first value, checksum and block size; all may be missing
    while len(numbers) < 5 and (match := _NUMBER.match(rest)):
        numbers.append(0 if match[1] == "-" else _integer(path, match[1]))
        rest = rest[match.end() :]
    _, zero, first, checksum, _ = [*numbers, 0, 0, 0, 0, 0][:5]
    channel = Channel(
        file if layout else _beside(path, file).relative_to(path.parent).as_posix(),
        samples["format"],
        _integer(path, samples["per_frame"] or "1"),
        _integer(path, samples["skew"] or "0"),
        _integer(path, samples["offset"] or "0"),
        (float(scale["gain"]) if scale["gain"] not in ("", "-", ".") else 0.0) or USUAL_GAIN,
        zero if scale["baseline"] is None else _integer(path, scale["baseline"]),
        first,
        unit or None,
        checksum,
        rest.strip() or None,
    )
    if channel.per_frame < 1 or not isfinite(channel.gain):
        lacks = "no sample in a frame" if channel.per_frame < 1 else "a gain beyond all numbers"
        raise DataError(f"{path}: {shown(line)} has {lacks}; the header is damaged")
    return channel


def _frames(path: Path, stated: int | None, channels: tuple[Channel, ...]) -> int:
    """Return the number of frames, by the header or by the first file's size; every file must hold as many."""
    for name in dict.fromkeys(channel.file for channel in channels):
        inside = [channel for channel in channels if channel.file == name]
        per_frame = sum(channel.per_frame for channel in inside)
        bits = BITS[inside[0].format]
        if len({(channel.format, channel.offset) for channel in inside}) > 1:
            raise DataError(f"{path}: gives {name} two formats; a file has one")
        if not (path.parent / name).is_file():
            raise DataError(f"{path}: its file of samples {name} is not beside it; copy both")
        size = (path.parent / name).stat().st_size - inside[0].offset
        if stated is None and bits is not None:
            stated = int(max(size, 0) * 8 // (bits * per_frame))
        if stated is None:
            raise DataError(f"{path}: does not say how many samples it has; write the number into its first line")
        if bits is not None and size < ceil(stated * per_frame * bits / 8 - 1e-6):
            refuse_pointer(path.parent / name)
            raise DataError(
                f"{path}: promises {stated} samples of {counted(len(inside), 'channel')}, but {name} has "
                f"{max(size, 0)} bytes of "
                "samples; it was cut short, copy it again"
            )
    return stated or 0

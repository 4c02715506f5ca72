"""What a WFDB header promises, held against the files beside it before any of them is opened.

The wfdb library opens whatever a header names and takes whatever memory it asks for. Its own patterns read the lines
here, so that both understand the same; its `rdheader` gives the same fields and takes ten times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

from ecgtune.errors import DataError
from ecgtune.utils.text import shown

HEADER_BYTES = 1 << 20
SUFFIX = ".hea"
USUAL_GAIN = 200.0  # steps per unit, of a header that states none, or 0
#: Bits that a sample takes in each format of signal files; None: FLAC, whose size the header does not decide. Not 61
#: (16 bits, high byte first), which the library knows and fails to convert.
BITS: dict[str, float | None] = {"8": 8, "16": 16, "24": 24, "32": 32, "80": 8, "160": 16, "212": 12}
BITS |= {"310": 32 / 3, "311": 32 / 3, "508": None, "516": None, "524": None}


@dataclass(frozen=True)
class Channel:
    """One line of a header: where the samples are, steps per unit, the step that is 0, the first one (which formats of
    differences need), the unit (None: not stated), checksum (0: not stated), name."""

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
class Header:
    """`frame_rate` in Hz, None where the header is silent; `frames`, each with `per_frame` samples of a channel."""

    path: Path
    frame_rate: float | None
    frames: int
    channels: tuple[Channel, ...]


def header_path(path: Path) -> Path:
    """The header of a record that is named with or without its suffix."""
    return path if path.suffix.lower() == SUFFIX else path.with_name(path.name + SUFFIX)


def sample_files(header: Path) -> tuple[Path, ...]:
    """The files of samples that a header names. Raises DataError."""
    return tuple(header.parent / name for name in dict.fromkeys(_file_names(header, _lines(header))))


def read_header(path: Path) -> Header:
    """Read a header and hold its promises against the sizes of its files. Raises DataError."""
    from wfdb.io.header import rx_record

    lines = _lines(path)
    _file_names(path, lines)
    first = rx_record.match(lines[0])
    if first is None:
        raise DataError(f"{path}: its first line {shown(lines[0])} is no 'name 12 500 5000' (channels, Hz, samples)")
    channels = tuple(_channel(path, line) for line in lines[1:])
    if not channels or int(first["n_sig"]) != len(channels):
        raise DataError(f"{path}: promises {first['n_sig']} channels, but describes {len(channels)}")
    frames = _frames(path, int(first["sig_len"]) if first["sig_len"] else None, channels)
    if frames and any(channel.skew >= frames for channel in channels):
        raise DataError(f"{path}: has a channel that starts after the end; the header is damaged")
    return Header(path, float(first["fs"]) if first["fs"] else None, frames, channels)


def _lines(path: Path) -> list[str]:
    """The lines that are no comments. Raises DataError."""
    if path.stat().st_size > HEADER_BYTES:
        raise DataError(f"{path}: has {path.stat().st_size} bytes; a header of at most {HEADER_BYTES} is read")
    text = path.read_text(encoding="ascii", errors="ignore")  # as the library reads it
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if not lines:
        raise DataError(f"{path}: is empty; a WFDB header starts with a line such as 'name 12 500 5000'")
    if "/" in lines[0].split()[0]:
        raise DataError(f"{path}: is a record of several segments; give its segments, each a recording of its own")
    return lines


def _file_names(path: Path, lines: list[str]) -> list[str]:
    """The file of each channel, none of them outside of the header's folder."""
    names = [line.split()[0] for line in lines[1:]]
    for name in names:
        if "/" in name or "\\" in name or ":" in name or name in (".", "..", "~"):
            raise DataError(
                f"{path}: names the file {shown(name)}; samples are read from the header's own folder only, so name "
                "a file there"
            )
    return names


def _channel(path: Path, line: str) -> Channel:
    from wfdb.io.header import rx_signal

    match = rx_signal.match(line)
    if match is None or match["fmt"] not in BITS:
        raise DataError(f"{path}: {shown(line)} describes no channel; the signal formats are {', '.join(BITS)}")

    def number(field: str, absent: int = 0) -> int:
        return int(match[field]) if match[field] not in ("", "-") else absent

    channel = Channel(
        match["file_name"],
        match["fmt"],
        number("samps_per_frame", 1),
        number("skew"),
        number("byte_offset"),
        float(match["adc_gain"] or 0) or USUAL_GAIN,
        number("baseline", number("adc_zero")),
        number("init_value"),
        match["units"] or None,
        number("checksum"),
        match["sig_name"].strip() or None,
    )
    if channel.per_frame < 1:
        raise DataError(f"{path}: {shown(line)} has no sample in a frame; the header is damaged")
    return channel


def _frames(path: Path, told: int | None, channels: tuple[Channel, ...]) -> int:
    """How many frames there are, by the header or by the first file's size; every file must hold as many."""
    for name in dict.fromkeys(channel.file for channel in channels):
        inside = [channel for channel in channels if channel.file == name]
        per_frame = sum(channel.per_frame for channel in inside)
        bits = BITS[inside[0].format]
        if len({(channel.format, channel.offset) for channel in inside}) > 1:
            raise DataError(f"{path}: gives {name} two formats; a file has one")
        if not (path.parent / name).is_file():
            raise DataError(f"{path}: its file of samples {name} is not beside it; copy both")
        size = (path.parent / name).stat().st_size - inside[0].offset
        if told is None and bits is not None:
            told = int(max(size, 0) * 8 // (bits * per_frame))
        if told is None:
            raise DataError(f"{path}: does not say how many samples it has; write the number into its first line")
        if bits is not None and size < ceil(told * per_frame * bits / 8 - 1e-6):
            raise DataError(
                f"{path}: promises {told} samples of {len(inside)} channels, but {name} has {max(size, 0)} bytes of "
                "samples; it was cut short, copy it again"
            )
    return told or 0

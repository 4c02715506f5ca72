"""WFDB records: a header `.hea` and samples in `.dat` or `.mat` files beside it, through the wfdb library.

The library opens whatever a header names and takes whatever memory it asks for, so the header is compared with the
files beside it first. The library's own patterns read its lines here; its `rdheader` gives the same fields and takes
ten times as long. A header without a gain, or with 0, means 200 steps per millivolt, and one without a unit means
millivolts: both are rules of WFDB.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.readers.base import (
    FileReader,
    ReadOptions,
    Recording,
    check_size,
    decoded,
    leads_of_one_rate,
    make_recording,
    millivolt_factor,
    stated_rate,
    wanted_leads,
)
from ecgtune.utils.files import refuse_pointer
from ecgtune.utils.text import shown

HEADER_BYTES = 1 << 20
SUFFIX = ".hea"
USUAL_GAIN = 200.0  # steps per unit, of a header that states none, or 0
_GAIN = re.compile(r"-?\d*\.?\d*(e[+-]?\d+)?(\(-?\d+\))?")
#: Bits that a sample takes in each format of signal files; None: FLAC, whose size the header does not decide. Not 61
#: (16 bits, high byte first), which the library knows and fails to convert.
BITS: dict[str, float | None] = {"8": 8, "16": 16, "24": 24, "32": 32, "80": 8, "160": 16, "212": 12}
BITS |= {"310": 32 / 3, "311": 32 / 3, "508": None, "516": None, "524": None}


@dataclass(frozen=True)
class Channel:
    """One line of a header.

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
class WfdbHeader:
    """frame_rate: Hz, None when not stated. frames: their number, each with `per_frame` samples of a channel."""

    path: Path
    frame_rate: float | None
    frames: int
    channels: tuple[Channel, ...]


def read_wfdb(path: Path, options: ReadOptions) -> Recording:
    """Read a record by the path of its header, or by the same without `.hea`.

    Wanted channels with different samples per frame are refused: a recording has one rate.
    """
    path = header_path(path)
    header = read_header(path)
    check_size(path, sum(channel.per_frame for channel in header.channels), header.frames, options)
    leads = wanted_leads(path, [channel.name for channel in header.channels], options)
    frame_rate = 1.0 if header.frame_rate is None else header.frame_rate
    leads, rate = leads_of_one_rate(path, leads, [frame_rate * each.per_frame for each in header.channels], options)
    channels = [header.channels[number] for number in leads.values()]
    factors = [millivolt_factor(path, channel.unit or "mV", options.unit) for channel in channels]
    rate = stated_rate(path, None if header.frame_rate is None else rate, options.sampling_rate)

    digital = _samples(header, list(leads.values()))
    if not options.ignore_checksums:
        _compare_checksums(path, leads, channels, digital)
    with np.errstate(over="ignore"):
        pairs = zip(_physical(channels, digital), factors, strict=True)
        rows = [values if factor == 1 else values * factor for values, factor in pairs]
    return make_recording(path, rows, list(leads), rate)


def _samples(header: WfdbHeader, wanted: list[int]) -> list[NDArray[np.int32]]:
    """Return the steps of the wanted channels, as the library's `rdrecord` does after it has parsed the header.

    Parsing it a second time would take longer than reading ten seconds of twelve leads.
    """
    from wfdb.io._signal import _rd_segment

    channels = header.channels
    read = _rd_segment(
        file_name=[channel.file for channel in channels],
        dir_name=os.path.abspath(header.path.parent),  # so that nothing is taken for an address
        pn_dir=None,
        fmt=[channel.format for channel in channels],
        n_sig=len(channels),
        sig_len=header.frames,
        byte_offset=[channel.offset for channel in channels],
        samps_per_frame=[channel.per_frame for channel in channels],
        skew=[channel.skew for channel in channels],
        init_value=[channel.first for channel in channels],
        sampfrom=0,
        sampto=header.frames,
        channels=wanted,
        ignore_skew=False,
    )
    return [np.asarray(steps, dtype=np.int32) for steps in read]


def _physical(channels: list[Channel], digital: list[NDArray[np.int32]]) -> list[NDArray[np.float64]]:
    """Convert steps to the channels' units; samples marked invalid become NaN."""
    from wfdb import Record

    record: Any = Record(
        n_sig=len(channels),
        fmt=[channel.format for channel in channels],
        adc_gain=[channel.gain for channel in channels],
        baseline=[channel.baseline for channel in channels],
        e_d_signal=digital,
    )
    return record.dac(expanded=True)


def _compare_checksums(
    path: Path, leads: dict[str, int], channels: list[Channel], digital: list[NDArray[np.int32]]
) -> None:
    """Compare the sum of each channel's samples, modulo 65536, with the header's; 0 or none: not stated."""
    for lead, channel, samples in zip(leads, channels, digital, strict=True):
        if channel.checksum and (channel.checksum - int(samples.sum(dtype=np.int64))) % 65536:
            raise DataError(
                f"{path}: the samples of lead {lead} do not have the checksum {channel.checksum} that the header "
                "states; copy the record again, or read it as it is with --ignore-checksums"
            )


def wfdb_files(path: Path) -> tuple[Path, ...]:
    """Return the header and the files of samples that it names. Raises DataError."""
    header = header_path(path)
    return header, *sample_files(header)


def header_path(path: Path) -> Path:
    """Return the header of a record named with or without its suffix."""
    return path if path.suffix.lower() == SUFFIX else path.with_name(path.name + SUFFIX)


def sample_files(header: Path) -> tuple[Path, ...]:
    """Return the files of samples that a header names. Raises DataError."""
    return tuple(header.parent / name for name in dict.fromkeys(_file_names(header, _lines(header))))


def read_header(path: Path) -> WfdbHeader:
    """Read a header and compare it with the sizes of its files. Raises DataError."""
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
    return WfdbHeader(path, float(first["fs"]) if first["fs"] else None, frames, channels)


def _lines(path: Path) -> list[str]:
    """Return the lines that are no comments. Raises DataError."""
    if path.stat().st_size > HEADER_BYTES:
        raise DataError(f"{path}: has {path.stat().st_size} bytes; a header of at most {HEADER_BYTES} is read")
    lines = [line.strip() for line in re.split("[\r\n]+", decoded(path.read_bytes()))]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise DataError(f"{path}: is empty; a WFDB header starts with a line such as 'name 12 500 5000'")
    if "/" in lines[0].split()[0]:
        raise DataError(f"{path}: is a record of several segments; give its segments, each a recording of its own")
    return lines


def _file_names(path: Path, lines: list[str]) -> list[str]:
    """Return the file of each channel. Raises DataError for one outside of the header's folder."""
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

    # Gain and unit are taken out: the library's pattern ends them at the first character that it does not expect, and
    # takes the rest of the line for the channel's name.
    file, fmt, gain, rest = [*line.split(None, 3), "", "", ""][:4]
    gain, _, unit = gain.partition("/")
    gain = gain.lower()
    match = rx_signal.match(f"{file} {fmt} {gain} {rest}")
    if match is None or match["fmt"] not in BITS or not _GAIN.fullmatch(gain):
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
        unit or None,
        number("checksum"),
        match["sig_name"].strip() or None,
    )
    if channel.per_frame < 1:
        raise DataError(f"{path}: {shown(line)} has no sample in a frame; the header is damaged")
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
                f"{path}: promises {stated} samples of {len(inside)} channels, but {name} has {max(size, 0)} bytes of "
                "samples; it was cut short, copy it again"
            )
    return stated or 0


WFDB = FileReader("a WFDB record", (SUFFIX,), read_wfdb, files=wfdb_files)

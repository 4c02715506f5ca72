"""WFDB records of one segment or several: a header `.hea` and samples in other files, through the wfdb library.

Samples of 16 bits are read here: they are what most databases hold, and the import of the library takes longer than a
prediction.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.readers.base import (
    FileReader,
    ReadOptions,
    Recording,
    chosen_part,
    in_millivolts,
    make_recording,
    millivolt_factor,
    note,
    stated_rate,
)
from ecgtune.io.readers.channels import leads_of_one_rate, wanted_leads
from ecgtune.io.readers.wfdb_header import (
    SUFFIX,
    Channel,
    Segment,
    WfdbHeader,
    header_path,
    read_header,
    record_files,
    segment_headers,
)
from ecgtune.utils.files import open_file

DIFFERENCES = ("8",)  # formats whose samples are sums of all values before them
#: The step that marks a sample as invalid, for each format; 61 is converted to 16 when it is read.
INVALID = {"80": 8, "508": 8, "310": 10, "311": 10, "212": 12, "16": 16, "61": 16, "160": 16, "516": 16}
INVALID |= {"24": 24, "524": 24, "32": 32}
INVALID = {name: -(1 << (bits - 1)) for name, bits in INVALID.items()}


def read_wfdb(path: Path, options: ReadOptions) -> Recording:
    """Read a record by the path of its header, or by the same without `.hea`.

    Wanted channels with different samples per frame are refused: a recording has one rate. Segments in which a lead was
    not recorded are gaps.
    """
    path = header_path(path)
    header = read_header(path)
    leads = wanted_leads(path, [channel.name for channel in header.channels], options)
    frame_rate = 1.0 if header.frame_rate is None else header.frame_rate
    leads, rate = leads_of_one_rate(path, leads, [frame_rate * each.per_frame for each in header.channels], options)
    channels = {lead: header.channels[number] for lead, number in leads.items()}
    rate = stated_rate(path, None if header.frame_rate is None else rate, options.sampling_rate)

    per_frame = next(iter(channels.values())).per_frame
    leads, part = chosen_part(path, leads, header.frames, rate / per_frame, options, per_frame)
    signal = np.full((len(leads), (part.stop - part.start) * per_frame), np.nan, dtype=np.float32)
    start = 0
    for segment in header.segments or (Segment(header, header.frames),):
        first, last = max(part.start - start, 0), min(part.stop - start, segment.frames)  # frames of the segment
        place = slice((start + first - part.start) * per_frame, (start + last - part.start) * per_frame)
        start += segment.frames
        if first >= last:
            continue
        found = {} if segment.header is None else _of_segment(header, segment.header, leads)
        if len(found) < len(leads):
            note("segments of the record in which a lead was not recorded are missing samples")
        if segment.header is not None and found:
            frames = slice(first, last)
            _read_segment(segment.header, found, frames, signal[:, place], list(leads), per_frame, options)
    return make_recording(path, signal, list(leads), rate)


def _of_segment(record: WfdbHeader, segment: WfdbHeader, leads: dict[str, int]) -> dict[str, int]:
    """The channel of each lead in a segment: at its place, or by its name in a variable layout."""
    if not record.by_name:
        return leads
    places = {channel.name: number for number, channel in enumerate(segment.channels)}
    names = {lead: record.channels[number].name for lead, number in leads.items()}
    return {lead: places[name] for lead, name in names.items() if name in places}


def _read_segment(
    header: WfdbHeader,
    found: dict[str, int],
    frames: slice,
    signal: NDArray[np.float32],
    leads: list[str],
    per_frame: int,
    options: ReadOptions,
) -> None:
    """Write the leads of some frames of a segment into `signal` (leads, samples), in millivolts."""
    channels = [header.channels[number] for number in found.values()]
    if any(channel.per_frame != per_frame for channel in channels):
        raise DataError(f"{header.path}: has other samples per frame than the record; it is damaged, copy it again")
    factors = [millivolt_factor(header.path, channel.unit or "mV", options.unit) for channel in channels]
    digital = _samples(header, list(found.values()), frames)
    if not options.ignore_checksums and frames == slice(0, header.frames):  # the sum is of all samples
        _compare_checksums(header.path, found, channels, digital)
    with np.errstate(over="ignore"):
        for lead, values, factor in zip(found, _physical(channels, digital), factors, strict=True):
            signal[leads.index(lead)] = in_millivolts(values, factor, missing=False)


def _samples(header: WfdbHeader, wanted: list[int], frames: slice) -> list[NDArray[np.int32]]:
    """Return the steps of the wanted channels, as the library's `rdrecord` does after it has parsed the header.

    Parsing it a second time would take longer than reading ten seconds of twelve leads.
    """
    channels = header.channels
    files = {channels[number].file for number in wanted}
    inside = [number for number, channel in enumerate(channels) if channel.file in files]
    if len(files) == 1 and all(_plain(channels[number]) for number in inside):
        width, start = 2 * len(inside), channels[inside[0]].offset + 2 * len(inside) * frames.start
        with open_file(header.path.parent / files.pop()) as file:
            file.seek(start)
            content = file.read(width * (frames.stop - frames.start))
        steps = np.frombuffer(content, dtype="<i2").reshape(-1, len(inside))
        return [steps[:, inside.index(number)].astype(np.int32) for number in wanted]
    from wfdb.io._signal import _rd_segment

    summed = any(channels[number].format in DIFFERENCES for number in wanted)
    start = 0 if summed else frames.start
    read: Any = _rd_segment(
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
        sampfrom=start,
        sampto=frames.stop,
        channels=wanted,
        ignore_skew=False,
    )
    skipped = [(frames.start - start) * channels[number].per_frame for number in wanted]
    return [np.asarray(steps[count:], dtype=np.int32) for steps, count in zip(read, skipped, strict=True)]


def _physical(channels: list[Channel], digital: list[NDArray[np.int32]]) -> list[NDArray[np.float64]]:
    """Convert steps to the channels' units; samples marked invalid become NaN."""
    found = []
    for channel, steps in zip(channels, digital, strict=True):
        values = (steps.astype(np.float64) - channel.baseline) / channel.gain
        invalid = INVALID.get(channel.format)
        found.append(values if invalid is None else np.where(steps == invalid, np.nan, values))
    return found


def _plain(channel: Channel) -> bool:
    """Whether samples are one after the other, sixteen bits each, channel by channel."""
    return (channel.format, channel.per_frame, channel.skew) == ("16", 1, 0)


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
    """Return the header and all files that it names. Raises DataError."""
    return tuple(dict.fromkeys(record_files(header_path(path))))


WFDB = FileReader("a WFDB record", (SUFFIX,), read_wfdb, files=wfdb_files, parts=segment_headers, parts_of_time=True)

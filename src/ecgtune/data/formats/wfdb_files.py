"""WFDB records: a header `.hea` and samples in `.dat` or `.mat` files beside it, through the wfdb library.

A header that states no gain, or 0, means 200 steps per millivolt, and one that states no unit means millivolts: both
are WFDB's own rules, not guesses.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.data.formats.base import (
    Reader,
    ReadOptions,
    Recording,
    check_size,
    millivolts,
    rate,
    recording,
    wanted_leads,
)
from ecgtune.data.formats.wfdb_header import SUFFIX, Channel, header_path, read_header, sample_files
from ecgtune.errors import DataError


def read_wfdb(path: Path, options: ReadOptions) -> Recording:
    """Read a record by the path of its header, or by the same without `.hea`; `formats.read_recording` says the rest.

    A wanted channel with more samples per frame than another is refused: a recording has one rate.
    """
    from wfdb import rdrecord

    path = header_path(path)
    header = read_header(path)
    check_size(path, sum(channel.per_frame for channel in header.channels), header.frames, options)
    leads = wanted_leads(path, [channel.name for channel in header.channels], options)
    channels = [header.channels[number] for number in leads.values()]
    factors = [millivolts(path, channel.unit or "mV", options) for channel in channels]
    per_frame = {channel.per_frame for channel in channels}
    if len(per_frame) > 1:
        raise DataError(f"{path}: its leads are sampled at {len(per_frame)} rates; leave some out with --lead-names")
    frame_rate = None if header.frame_rate is None else header.frame_rate * per_frame.pop()
    sampling_rate = rate(path, frame_rate, options)

    # With a folder before it, nothing in the name of a record is taken for an address.
    name = os.path.join(os.path.abspath(path.parent), path.name[: -len(SUFFIX)])
    read: Any = rdrecord(name, channels=list(leads.values()), physical=False, smooth_frames=False, return_res=32)
    if not options.ignore_checksums:
        _compare_checksums(path, leads, channels, read.e_d_signal)
    physical = read.dac(expanded=True)  # samples that are marked invalid are NaN from here on
    signal = np.empty((len(channels), len(physical[0])), np.float32)
    with np.errstate(over="ignore"):
        for row, (values, factor) in enumerate(zip(physical, factors, strict=True)):
            signal[row] = values if factor == 1 else values * factor
    return recording(path, signal, list(leads), sampling_rate)


def _compare_checksums(path: Path, leads: dict[str, int], channels: list[Channel], digital: list[Any]) -> None:
    """Hold the sum of each channel's samples, modulo 65536, against the header; 0 or nothing there: not stated."""
    for lead, channel, samples in zip(leads, channels, digital, strict=True):
        if channel.checksum and (channel.checksum - int(samples.sum(dtype=np.int64))) % 65536:
            raise DataError(
                f"{path}: the samples of lead {lead} do not have the checksum {channel.checksum} that the header "
                "states; copy the record again, or read it as it is with --ignore-checksums"
            )


def wfdb_files(path: Path) -> tuple[Path, ...]:
    """The header and the files of samples that it names. Raises DataError."""
    header = header_path(path)
    return header, *sample_files(header)


WFDB = Reader("a WFDB record", (SUFFIX,), read_wfdb, wfdb_files)

"""WFDB records: a header `.hea` and samples in `.dat` or `.mat` files beside it, through the wfdb library.

A header that states no gain, or 0, means 200 steps per millivolt, and one that states no unit means millivolts: both
are WFDB's own rules, not guesses.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.readers.base import (
    Reader,
    ReadOptions,
    Recording,
    check_size,
    millivolts,
    rate,
    recording,
    wanted_leads,
)
from ecgtune.io.readers.wfdb_header import SUFFIX, Channel, Header, header_path, read_header, sample_files


def read_wfdb(path: Path, options: ReadOptions) -> Recording:
    """Read a record by the path of its header, or by the same without `.hea`; `formats.read_recording` says the rest.

    A wanted channel with more samples per frame than another is refused: a recording has one rate.
    """
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

    digital = _samples(header, list(leads.values()))
    if not options.ignore_checksums:
        _compare_checksums(path, leads, channels, digital)
    physical = _physical(channels, digital)
    signal = np.empty((len(channels), len(physical[0])), np.float32)
    with np.errstate(over="ignore"):
        for row, (values, factor) in enumerate(zip(physical, factors, strict=True)):
            signal[row] = values if factor == 1 else values * factor
    return recording(path, signal, list(leads), sampling_rate)


def _samples(header: Header, wanted: list[int]) -> list[NDArray[np.int32]]:
    """The steps of the wanted channels, as the library's `rdrecord` reads them once it has parsed the header.

    It would parse it a second time, which takes longer than to read ten seconds of twelve leads.
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
    """Steps in the channels' units; samples that are marked invalid are NaN from here on."""
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

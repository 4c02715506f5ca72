"""EDF, EDF+ and BDF, continuous or interrupted.

Decoded here with numpy: the libraries refuse a file for one character outside of ASCII, a blank date, an unknown number
of records or an interruption, all of which recorders write. Annotations are no channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.readers.base import (
    FileReader,
    ReadOptions,
    Recording,
    chosen_part,
    decoded,
    in_millivolts,
    make_recording,
    millivolt_factor,
    note,
    stated_rate,
)
from ecgtune.io.readers.channels import leads_of_one_rate, wanted_leads
from ecgtune.text import shown, shown_name
from ecgtune.utils.files import open_file
from ecgtune.utils.formatting import counted

BIOSEMI = b"\xffBIOSEMI"
UNKNOWN = -1  # number of records, while a recorder writes
MAX_CHANNELS = 1000
_FIXED = 256  # bytes of the header before, and per channel in, the part about channels
#: Fields of the header about channels, and their bytes per channel.
_FIELDS = {"label": 16, "transducer": 80, "unit": 8, "physical_min": 8, "physical_max": 8, "digital_min": 8}
_FIELDS |= {"digital_max": 8, "prefilter": 80, "samples": 8, "reserved": 32}


@dataclass(frozen=True)
class EdfChannel:
    """A channel: label, unit, ends of its scale, samples in a record, and the first of them in a record."""

    label: str
    unit: str
    ends: tuple[str, str, str, str]
    samples: int
    first: int

    def physical(self, path: Path, steps: NDArray[np.int32]) -> NDArray[np.float64]:
        """Convert steps to the channel's unit. Raises DataError for ends that give no scale."""
        try:
            physical_min, physical_max, digital_min, digital_max = (float(text) for text in self.ends)
            step = (physical_max - physical_min) / (digital_max - digital_min)
            offset = physical_max / step - digital_max
        except (ValueError, ZeroDivisionError):
            step = offset = float("nan")
        if not isfinite(step * offset):
            named = ", ".join(shown_name(text.strip()) or "nothing" for text in self.ends)
            raise DataError(f"{path}: channel {shown(self.label)} has no scale; its ends are {named}")
        return np.float64(step) * (offset + steps.astype(np.float64))


@dataclass(frozen=True)
class EdfFile:
    """The header of a file: seconds of a record, number of records, channels and annotations, bytes of a sample."""

    path: Path
    start: int
    records: int
    seconds: float
    width: int
    record_samples: int
    interrupted: bool
    channels: tuple[EdfChannel, ...]
    annotations: tuple[EdfChannel, ...]

    def data(self) -> NDArray[np.uint8]:
        """All records as a read-only memory map: (records, samples of a record, bytes of a sample)."""
        shape = (self.records, self.record_samples, self.width)
        return np.memmap(self.path, np.uint8, "r", self.start, shape)

    def steps(self, data: NDArray[np.uint8], channel: EdfChannel) -> NDArray[np.int32]:
        """The steps (records, samples of the channel) in some of the records."""
        content = np.ascontiguousarray(data[:, channel.first : channel.first + channel.samples])
        if self.width == 2:
            return content.view("<i2")[..., 0].astype(np.int32)
        wide = np.zeros((*content.shape[:2], 4), dtype=np.uint8)
        wide[..., 1:] = content
        return wide.view("<i4")[..., 0] >> 8

    def onsets(self) -> NDArray[np.float64]:
        """Start of each record in seconds, by the first time of its annotations. Raises DataError."""
        try:
            first = self.annotations[0]
            texts = self.data()[:, first.first : first.first + first.samples].reshape(self.records, -1)
            found = np.array([float(bytes(text).split(b"\x14", 1)[0]) for text in texts])
        except (IndexError, ValueError):
            raise DataError(f"{self.path}: is interrupted (EDF+D), but a record does not say when it starts") from None
        return found - found[0]


def read_edf(path: Path, options: ReadOptions) -> Recording:
    """Read a file whose wanted channels have one rate; interruptions are gaps."""
    file = read_header(path)
    labels = [channel.label for channel in file.channels]
    rates = [round(channel.samples / (file.seconds or 1), 9) for channel in file.channels]
    leads, rate = leads_of_one_rate(path, wanted_leads(path, labels, options), rates, options)
    channels = [file.channels[number] for number in leads.values()]
    rate = stated_rate(path, rate if file.seconds else None, options.sampling_rate)
    count = channels[0].samples
    missing = _missing(file, count, rate)
    leads, part = chosen_part(path, leads, file.records * count + int(missing[-1]), rate, options)
    channels = [file.channels[number] for number in leads.values()]
    factors = [millivolt_factor(path, channel.unit, options.unit) for channel in channels]
    begins = np.arange(file.records) * count + missing
    chosen = slice(*np.searchsorted(begins, (part.start - count + 1, part.stop)).tolist())  # records in the part
    place = (begins[chosen, None] + np.arange(count)).ravel() - part.start
    inside = (place >= 0) & (place < part.stop - part.start)
    rows = np.full((len(channels), part.stop - part.start), np.nan, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for row, channel, factor in zip(rows, channels, factors, strict=True):
            values = channel.physical(path, file.steps(file.data()[chosen], channel)).ravel()
            row[place[inside]] = in_millivolts(values, factor, missing=False)[inside]
    return make_recording(path, rows, list(leads), rate)


def _missing(file: EdfFile, count: int, rate: float) -> NDArray[np.int64]:
    """Number of missing samples before each record of `count` samples. Raises DataError for records that overlap."""
    if not file.interrupted:
        return np.zeros(file.records, dtype=np.int64)
    late = np.rint(file.onsets() * rate) - np.arange(file.records) * count
    missing = np.maximum.accumulate(late)
    if not (missing - late <= 1).all():  # one sample: times are rounded
        raise DataError(f"{file.path}: a record starts before the one before it ends; it is damaged, copy it again")
    if missing[-1] > 0:
        note("the recording was interrupted (EDF+D); the interruptions are missing samples")
    return np.minimum(missing, 1 << 48).astype(np.int64)


def read_header(path: Path) -> EdfFile:
    """Read the header and compare it with the file's size. Raises DataError."""
    with open_file(path) as opened:
        fixed = opened.read(_FIXED)
        try:
            count, records, start = int(fixed[252:256]), int(fixed[236:244]), int(fixed[184:192])
            seconds = float(fixed[244:252])
            fields = opened.read(_FIXED * count) if 0 < count < MAX_CHANNELS else b""
            channels = _channels(fields, count)
        except ValueError:
            if fixed[:8].strip(b" \0") not in (b"0", BIOSEMI):
                found = "is no EDF or BDF file, although it is named like one" if fixed else "the file is empty"
                raise DataError(f"{path}: {found}; give the recording itself") from None
            raise DataError(f"{path}: cannot be read as EDF (no whole header); it is damaged, copy it again") from None
    width = 3 if fixed[:8] == BIOSEMI else 2
    if start != _FIXED * (count + 1):
        raise DataError(
            f"{path}: states a header of {start} bytes for {counted(count, 'channel')}; it is damaged, copy it again"
        )
    samples = sum(channel.samples for channel in channels)
    there = (path.stat().st_size - start) // max(samples * width, 1)
    if records == UNKNOWN:
        records = there
        note("the header does not state the number of records; the whole ones in the file are read")
    if records < 1 or samples < 1 or any(channel.samples < 0 for channel in channels):
        raise DataError(
            f"{path}: holds {counted(records, 'record')} of {samples} samples; at least one of each is needed"
        )
    if not (seconds >= 0 and isfinite(seconds)):
        raise DataError(f"{path}: says that a record lasts {seconds:g} s; it is damaged, copy it again")
    if there < records:
        raise DataError(
            f"{path}: promises {counted(records, 'record')} of {samples} samples, "
            f"{start + records * samples * width} bytes, but has {path.stat().st_size}; it was cut short, copy it again"
        )
    if there > records:
        note("the file has more records than its header promises; only those are read")
    is_annotation = [channel.label in ("EDF Annotations", "BDF Annotations") for channel in channels]
    return EdfFile(
        path,
        start,
        records,
        seconds,
        width,
        samples,
        fixed[192:197] in (b"EDF+D", b"BDF+D"),
        tuple(channel for channel, annotation in zip(channels, is_annotation, strict=True) if not annotation),
        tuple(channel for channel, annotation in zip(channels, is_annotation, strict=True) if annotation),
    )


def _channels(content: bytes, count: int) -> list[EdfChannel]:
    """Split the part of the header about channels. Raises ValueError."""
    texts: dict[str, list[str]] = {}
    place = 0
    for name, size in _FIELDS.items():
        texts[name] = [decoded(content[place + size * number :][:size]).strip(" \0") for number in range(count)]
        place += size * count
    ends = zip(*(texts[name] for name in list(_FIELDS)[3:7]), strict=True)
    channels, first = [], 0
    for label, unit, scale, samples in zip(texts["label"], texts["unit"], ends, texts["samples"], strict=True):
        channels.append(EdfChannel(label, unit, scale, int(samples), first))
        first += int(samples)
    return channels


def is_edf(start: bytes) -> bool:
    """Return whether a file that starts so is EDF or BDF: version, and the size of the header by the channels."""
    size, count = start[184:192].strip(), start[252:256].strip()
    known = start[:8] in (b"0       ", BIOSEMI) and size.isdigit() and count.isdigit()
    return known and int(size) == _FIXED * (int(count) + 1)


EDF = FileReader("EDF", (".edf", ".bdf"), read_edf, signatures=((0, BIOSEMI),), recognises=is_edf, parts_of_time=True)

"""EDF, EDF+ and BDF, through pyedflib, which holds the header against the file's size itself.

Channels that are no ECG are named "-" in `lead_names`. Annotations are no channel. Interrupted recordings (EDF+D) are
refused by the library: their samples do not follow each other.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ecgtune.errors import DataError
from ecgtune.io.readers.base import (
    Reader,
    ReadOptions,
    Recording,
    check_size,
    millivolts,
    missing,
    rate,
    recording,
    wanted_leads,
)


def read_edf(path: Path, options: ReadOptions) -> Recording:
    """Read a file whose wanted channels have one rate; `formats.read_recording` says the rest."""
    try:
        import pyedflib
    except ImportError:
        raise missing("pyedflib", "edf", path) from None

    _check_header(path)
    try:
        reader = pyedflib.EdfReader(os.path.abspath(path))
    except OSError as error:
        reason = " ".join(str(error).replace(os.path.abspath(path), "").split()).strip(": ")[:160]
        raise DataError(f"{path}: cannot be read as EDF ({reason}); it is damaged, copy it again") from None
    with reader:
        leads = wanted_leads(path, [label.strip() for label in reader.getSignalLabels()], options)
        channels = list(leads.values())
        shapes = {(int(reader.getNSamples()[c]), float(reader.getSampleFrequency(c))) for c in channels}
        if len(shapes) > 1:
            raise DataError(f"{path}: its leads are sampled at {len(shapes)} rates; leave some out with --lead-names")
        samples, in_file = shapes.pop()
        check_size(path, len(channels), samples, options)
        factors = [millivolts(path, reader.getPhysicalDimension(channel), options) for channel in channels]
        sampling_rate = rate(path, in_file, options)
        signal = np.empty((len(channels), samples), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for row, (channel, factor) in enumerate(zip(channels, factors, strict=True)):
                signal[row] = reader.readSignal(channel) * factor
    return recording(path, signal, list(leads), sampling_rate)


def _check_header(path: Path) -> None:
    """Hold what the header promises against the file's size; the library does so too, and prints what it finds."""
    with path.open("rb") as file:
        fixed = file.read(256)
        try:
            channels = int(fixed[252:256])
            records, start = int(fixed[236:244]), int(fixed[184:192])
            counts = file.read(256 * channels)[216 * channels : 224 * channels] if 0 < channels < 1000 else b""
            samples = sum(int(counts[place : place + 8]) for place in range(0, 8 * channels, 8))
        except ValueError:
            raise DataError(f"{path}: cannot be read as EDF (no whole header); it is damaged, copy it again") from None
    width = 3 if fixed[:1] == b"\xff" else 2
    size = path.stat().st_size
    if records < 1 or samples < 1:
        raise DataError(f"{path}: holds {records} records of {samples} samples; at least one of each is needed")
    if size != start + records * samples * width:
        raise DataError(
            f"{path}: promises {records} records of {samples} samples, {start + records * samples * width} bytes, but "
            f"has {size}; it was cut short, copy it again"
        )


EDF = Reader("EDF", (".edf", ".bdf"), read_edf)

"""EDF, EDF+ and BDF, through pyedflib.

Channels that are no ECG are named "-" in `lead_names`. Annotations are no channel. The library refuses interrupted
recordings (EDF+D): their samples do not follow each other.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ecgtune.errors import DataError
from ecgtune.io.readers.base import (
    FileReader,
    ReadOptions,
    Recording,
    check_size,
    leads_of_one_rate,
    make_recording,
    millivolt_factor,
    missing_library,
    stated_rate,
    wanted_leads,
)


def read_edf(path: Path, options: ReadOptions) -> Recording:
    """Read a file whose wanted channels have one rate."""
    try:
        import pyedflib
    except ImportError:
        raise missing_library("pyedflib", "edf", path) from None

    _check_header(path)
    try:
        reader = pyedflib.EdfReader(os.path.abspath(path))
    except OSError as error:
        reason = " ".join(str(error).replace(os.path.abspath(path), "").split()).strip(": ")[:160]
        raise DataError(f"{path}: cannot be read as EDF ({reason}); it is damaged, copy it again") from None
    with reader:
        leads = wanted_leads(path, [label.strip() for label in reader.getSignalLabels()], options)
        leads, in_file = leads_of_one_rate(path, leads, reader.getSampleFrequencies().tolist(), options)
        channels = list(leads.values())
        samples = int(reader.getNSamples()[channels[0]])
        check_size(path, len(channels), samples, options)
        factors = [millivolt_factor(path, reader.getPhysicalDimension(channel), options.unit) for channel in channels]
        rate = stated_rate(path, in_file, options.sampling_rate)
        with np.errstate(over="ignore", invalid="ignore"):
            rows = [reader.readSignal(channel) * factor for channel, factor in zip(channels, factors, strict=True)]
    return make_recording(path, rows, list(leads), rate)


def _check_header(path: Path) -> None:
    """Compare the sizes in the header with the file's; the library does so too, and prints its findings."""
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


EDF = FileReader("EDF", (".edf", ".bdf"), read_edf, signatures=((0, b"\xffBIOSEMI"),))

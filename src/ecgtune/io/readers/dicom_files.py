"""DICOM waveforms, through pydicom: 12-lead, general and ambulatory ECG objects.

Of several multiplex groups the longest original ones are read (a median beat is derived), and groups of the same
duration are one recording. Samples that equal the group's padding value are NaN.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.leads import known_lead
from ecgtune.errors import DataError
from ecgtune.io.readers.base import (
    FileReader,
    ReadOptions,
    Recording,
    check_bytes,
    check_size,
    make_recording,
    millivolt_factor,
    missing_library,
    stated_rate,
    wanted_leads,
)

MAX_BYTES = 1 << 28
DEFLATED = "1.2.840.10008.1.2.1.99"
#: The last number of MDC ("2:61") and SCP-ECG ("5.6.3-9-61") codes of leads, CID 3001.
_CODES = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"} | {
    number: f"V{number - 2}" for number in range(3, 9)
}


def read_dicom(path: Path, options: ReadOptions) -> Recording:
    """Read the rhythm of a DICOM file."""
    try:
        import pydicom
        from pydicom.filereader import read_file_meta_info
    except ImportError:
        raise missing_library("pydicom", "dicom", path) from None

    check_bytes(path, MAX_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values that break a rule of DICOM and can be read all the same
        if str(read_file_meta_info(path).get("TransferSyntaxUID", "")) == DEFLATED:
            raise DataError(f"{path}: is deflated, and can unpack to any size; write it with explicit VR little endian")
        dataset = pydicom.dcmread(path, specific_tags=["WaveformSequence"])
        groups = _rhythm(path, dataset)
        channels = [(number, channel) for number, group in groups for channel in range(group.NumberOfWaveformChannels)]
        first = groups[0][1]
        check_size(path, len(channels), int(first.NumberOfWaveformSamples), options)
        of = {number: group for number, group in groups}
        definitions = [of[number].ChannelDefinitionSequence[channel] for number, channel in channels]
        leads = wanted_leads(path, [_name(definition) for definition in definitions], options)
        factors = [millivolt_factor(path, _unit(definitions[channel]), options.unit) for channel in leads.values()]
        rate = stated_rate(path, float(first.SamplingFrequency), options.sampling_rate)
        physical = np.concatenate([_samples(dataset, number, group) for number, group in groups])
    with np.errstate(over="ignore", invalid="ignore"):
        signal = physical[list(leads.values())] * np.array(factors)[:, None]
    return make_recording(path, signal, list(leads), rate)


def _rhythm(path: Path, dataset: Any) -> list[tuple[int, Any]]:
    """Number and content of the groups that are the recording, after a check of their sizes."""
    groups = list(enumerate(dataset.get("WaveformSequence") or ()))
    if not groups:
        raise DataError(f"{path}: holds no waveform; a DICOM object with a Waveform Sequence is needed")
    groups = [pair for pair in groups if pair[1].get("WaveformOriginality") != "DERIVED"] or groups
    for number, group in groups:
        count, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
        if count < 1 or len(group.ChannelDefinitionSequence) != count:
            raise DataError(
                f"{path}: waveform {number + 1} promises {count} channels, but describes "
                f"{len(group.ChannelDefinitionSequence)}"
            )
        size, promised = len(group.WaveformData or b""), count * samples * int(group.WaveformBitsAllocated) // 8
        if not promised <= size <= promised + 1:
            raise DataError(
                f"{path}: waveform {number + 1} promises {samples} samples of {count} channels, {promised} bytes, but "
                f"has {size}; it is damaged, copy it again"
            )
    longest = max(int(group.NumberOfWaveformSamples) / float(group.SamplingFrequency) for _, group in groups)
    return [
        (number, group)
        for number, group in groups
        if int(group.NumberOfWaveformSamples) / float(group.SamplingFrequency) == longest
    ]


def _samples(dataset: Any, number: int, group: Any) -> NDArray[np.float64]:
    """One group (channels, samples) in the channels' own units, through the library."""
    from pydicom.waveforms.numpy_handler import multiplex_array

    physical = dataset.waveform_array(number).T.astype(np.float64)
    padding = group.get("WaveformPaddingValue")
    if padding is not None:
        raw = multiplex_array(dataset, number, as_raw=True).T
        if not isinstance(padding, int):
            padding = int(np.frombuffer(bytes(padding)[: raw.itemsize], raw.dtype)[0])
        physical[raw == padding] = np.nan
    return physical


def _name(definition: Any) -> str | None:
    """The lead of a channel by its code, by the meaning of the code, or by its label."""
    source = (definition.get("ChannelSourceSequence") or [{}])[0]
    if source.get("CodingSchemeDesignator") in ("MDC", "SCPECG"):
        number = str(source.get("CodeValue", "")).replace("-", ":").rpartition(":")[2]
        if number.isdecimal() and int(number) in _CODES:
            return _CODES[int(number)]
    stated = [str(source.get("CodeMeaning") or ""), str(definition.get("ChannelLabel") or "")]
    names = [text.partition(",")[0].strip() for text in stated]
    return next((name for name in names if known_lead(name)), next(filter(None, names), None))


def _unit(definition: Any) -> str | None:
    """The unit of a channel; without a sensitivity its samples have none."""
    units = (definition.get("ChannelSensitivityUnitsSequence") or [{}])[0]
    return str(units.get("CodeValue", "")) if "ChannelSensitivity" in definition else None


DICOM = FileReader("a DICOM waveform", (".dcm", ".dicom"), read_dicom, signatures=((128, b"DICM"),))

"""DICOM waveforms, through pydicom: 12-lead, general and ambulatory ECG objects.

All original multiplex groups are read (a median beat is derived) and placed by their time offsets. Samples that equal
the group's padding value are NaN, and so is the time in which a lead was not recorded.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.leads import known_lead
from ecgtune.errors import DataError
from ecgtune.io.readers.base import (
    LEFT_OUT,
    FileReader,
    ReadOptions,
    Recording,
    check_bytes,
    check_size,
    in_millivolts,
    make_recording,
    millivolt_factor,
    missing_library,
    note,
    stated_rate,
)
from ecgtune.io.readers.channels import leads_of_one_rate, wanted_leads
from ecgtune.utils.files import open_file
from ecgtune.utils.formatting import counted

MAX_BYTES = 1 << 28
DEFLATED = "1.2.840.10008.1.2.1.99"
_LAST_FIRST_ELEMENT = 0x0018  # (0008,0018), the latest that an object begins with
_START = 1 << 16  # bytes in which the transfer syntax is stated
COMPANDED = ("MB", "AB")  # mu-law and A-law, which the library takes for linear steps
#: The last number of MDC ("2:61") and SCP-ECG ("5.6.3-9-61") codes of leads, CID 3001.
_CODES = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"} | {
    number: f"V{number - 2}" for number in range(3, 9)
}


@dataclass(frozen=True)
class Piece:
    """A channel of a multiplex group: its definition, rate (Hz), first sample (s) and number of samples."""

    group: int
    channel: int
    definition: Any
    rate: float
    start: float
    samples: int

    @property
    def end(self) -> float:
        """Time after the last sample, in seconds."""
        return self.start + self.samples / self.rate


def read_dicom(path: Path, options: ReadOptions) -> Recording:
    """Read the rhythm of a DICOM file."""
    try:
        import pydicom
        from pydicom.filereader import read_file_meta_info
    except ImportError:
        raise missing_library("pydicom", "dicom", path) from None

    check_bytes(path, MAX_BYTES)
    with open_file(path) as file:
        start = file.read(_START)
    bare = is_bare_dicom(start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values that break a rule of DICOM and can be read all the same
        syntax = start.decode("latin-1") if bare else str(read_file_meta_info(path).get("TransferSyntaxUID", ""))
        if DEFLATED in syntax:
            raise DataError(f"{path}: is deflated, and can unpack to any size; write it with explicit VR little endian")
        dataset = pydicom.dcmread(path, specific_tags=["WaveformSequence"], force=bare)
        pieces = _pieces(path, dataset)
        names = [_name(piece.definition) for piece in pieces]
        parts = {channel: [channel] for channel in range(len(pieces))}
        if options.lead_names is None:
            parts = _joined(path, pieces, names)
        leads = wanted_leads(path, names, options, without=set(range(len(pieces))) - set(parts))
        leads, rate = leads_of_one_rate(path, leads, [piece.rate for piece in pieces], options)
        of_lead = {lead: [pieces[number] for number in parts[channel]] for lead, channel in leads.items()}
        begin = min(piece.start for each in of_lead.values() for piece in each)
        samples = max(_first(piece, begin) + piece.samples for each in of_lead.values() for piece in each)
        check_size(path, len(leads), samples, options)
        signal = np.full((len(leads), samples), np.nan, dtype=np.float32)
        groups: dict[int, NDArray[np.float64]] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            for row, lead in zip(signal, of_lead, strict=True):
                for piece in of_lead[lead]:
                    factor = millivolt_factor(path, _unit(piece.definition), options.unit)
                    if piece.group not in groups:
                        groups[piece.group] = _samples(path, dataset, piece.group)
                    start = _first(piece, begin)
                    values = groups[piece.group][piece.channel]
                    row[start : start + piece.samples] = in_millivolts(values, factor, missing=False)
    _note_spans(of_lead, begin)
    return make_recording(path, signal, list(leads), stated_rate(path, rate, options.sampling_rate))


def _first(piece: Piece, begin: float) -> int:
    return round((piece.start - begin) * piece.rate)


def _pieces(path: Path, dataset: Any) -> list[Piece]:
    """The channels of all groups that are not derived, after a check of the groups' sizes."""
    groups = list(enumerate(dataset.get("WaveformSequence") or ()))
    if not groups:
        raise DataError(f"{path}: holds no waveform; a DICOM object with a Waveform Sequence is needed")
    groups = [pair for pair in groups if pair[1].get("WaveformOriginality") != "DERIVED"] or groups
    pieces = []
    for number, group in groups:
        count, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
        if count < 1 or len(group.ChannelDefinitionSequence) != count:
            raise DataError(
                f"{path}: waveform {number + 1} promises {counted(count, 'channel')}, but describes "
                f"{len(group.ChannelDefinitionSequence)}"
            )
        if group.WaveformSampleInterpretation in COMPANDED:
            raise DataError(
                f"{path}: waveform {number + 1} has companded samples ({group.WaveformSampleInterpretation}), whose "
                "steps differ in size; write it with linear samples, such as SS"
            )
        size, promised = len(group.WaveformData or b""), count * samples * int(group.WaveformBitsAllocated) // 8
        if not promised <= size <= promised + 1:
            raise DataError(
                f"{path}: waveform {number + 1} promises {samples} samples of {counted(count, 'channel')}, "
                f"{promised} bytes, but "
                f"has {size}; it is damaged, copy it again"
            )
        rate, start = float(group.SamplingFrequency), float(group.get("MultiplexGroupTimeOffset") or 0) / 1000
        if not 0 < rate < np.inf:
            raise DataError(f"{path}: waveform {number + 1} has {rate:g} Hz; above 0 is needed, the file is damaged")
        pieces += [
            Piece(number, channel, definition, rate, start, samples)
            for channel, definition in enumerate(group.ChannelDefinitionSequence)
        ]
    return pieces


def _joined(path: Path, pieces: list[Piece], names: list[str | None]) -> dict[int, list[int]]:
    """The pieces of each lead, by the first of them.

    Pieces of one lead follow each other in time. Of two at a time the longer is read: a rhythm strip beside the lead's
    part of a print. Raises DataError for two of one length.
    """
    parts: dict[int, list[int]] = {}
    of_lead: dict[str, list[int]] = {}
    shorter: dict[str, None] = {}
    for number in sorted(range(len(pieces)), key=lambda each: -pieces[each].samples / pieces[each].rate):
        lead = known_lead(names[number] or "")
        if lead is None:
            parts[number] = [number]
            continue
        piece, kept = pieces[number], of_lead.setdefault(lead, [])
        others = [pieces[other] for other in kept]
        if any(abs(other.end - piece.end) + abs(other.start - piece.start) < 1 / piece.rate for other in others):
            stated = [known_lead(name or "") for name in names]
            first = {each: place for place, each in reversed(list(enumerate(stated)))}
            listed = " ".join(each if each and first[each] == place else LEFT_OUT for place, each in enumerate(stated))
            raise DataError(f"{path}: two of its waveforms hold lead {lead} at one time; choose: --lead-names {listed}")
        if any(other.rate != piece.rate or _overlap(other, piece) for other in others):
            shorter[lead] = None
        else:
            kept.append(number)
    if shorter:
        note(f"leads that several waveforms hold at one time are taken from the longest: {', '.join(shorter)}")
    return parts | {min(kept): sorted(kept, key=lambda each: pieces[each].start) for kept in of_lead.values()}


def _overlap(first: Piece, second: Piece) -> bool:
    return min(first.end, second.end) - max(first.start, second.start) > 0.5 / first.rate


def _note_spans(of_lead: dict[str, list[Piece]], begin: float) -> None:
    """Note that leads were not recorded together."""
    spans: dict[str, list[str]] = {}
    for lead, pieces in of_lead.items():
        times = (f"{piece.start - begin:.4g} to {piece.end - begin:.4g} s" for piece in pieces)
        spans.setdefault(" and ".join(times), []).append(lead)
    if len(spans) > 1:
        listed = "; ".join(f"{', '.join(leads)} from {times}" for times, leads in spans.items())
        note(f"the leads were not recorded together, the rest of each is missing: {listed}")


def _samples(path: Path, dataset: Any, number: int) -> NDArray[np.float64]:
    """One group (channels, samples) in the channels' own units, through the library."""
    from pydicom.waveforms.numpy_handler import multiplex_array

    group = dataset.WaveformSequence[number]
    padding = group.get("WaveformPaddingValue")
    if not dataset.original_encoding[1]:  # which the library takes for little endian
        if int(group.WaveformBitsAllocated) > 16:
            raise DataError(f"{path}: has 32-bit samples in big endian; write it with explicit VR little endian")
        group.WaveformData = _swapped(group["WaveformData"])
        padding = _swapped(group["WaveformPaddingValue"]) if isinstance(padding, bytes) else padding
    physical = dataset.waveform_array(number).T.astype(np.float64)
    if padding is not None:
        raw = multiplex_array(dataset, number, as_raw=True).T
        if not isinstance(padding, int):
            padding = int(np.frombuffer(bytes(padding)[: raw.itemsize], raw.dtype)[0])
        physical[raw == padding] = np.nan
    return physical


def _swapped(element: Any) -> bytes:
    """The content of a big-endian element of bytes (OB) or 16-bit words (OW) in little endian."""
    content = bytes(element.value)
    if element.VR != "OW":
        return content
    return np.frombuffer(content[: len(content) // 2 * 2], np.uint16).byteswap().tobytes()


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


def is_bare_dicom(start: bytes) -> bool:
    """Return whether a file without preamble starts with an element of DICOM's first groups."""
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHI", start[:8].ljust(8, b"\0"))
        if group in (0x0002, 0x0008) and element <= _LAST_FIRST_ELEMENT:
            text = start[8 : 8 + length].rstrip(b"\0")
            implicit = order == "<" and 0 < length <= 64 and text.isascii() and text.decode().isprintable()
            return start[4:6] in (b"UL", b"OB", b"CS", b"UI", b"DA", b"LO") or implicit
    return False


DICOM = FileReader(
    "a DICOM waveform", (".dcm", ".dicom"), read_dicom, signatures=((128, b"DICM"),), recognises=is_bare_dicom
)

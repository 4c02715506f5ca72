"""Formats of clinical carts, through the ecgdatakit library: HL7 aECG, Philips and GE MUSE XML, SCP-ECG.

The library gives each lead's steps, the size of a step and its unit, as the file states them. Sizes that would take
memory or time out of proportion are refused before it runs, and so are XML entities. MUSE and SCP files usually hold
I, II and V1 to V6.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from ecgtune.errors import DataError
from ecgtune.io.readers.base import (
    FileReader,
    ReadOptions,
    Recording,
    check_bytes,
    check_size,
    in_millivolts,
    make_recording,
    millivolt_factor,
    missing_library,
    stated_rate,
)
from ecgtune.io.readers.channels import wanted_leads
from ecgtune.text import shown
from ecgtune.utils.files import small_bytes
from ecgtune.utils.formatting import counted

XML_BYTES = 1 << 24  # the text of samples takes up to 60 times its size while it is converted
_HL7_ROOT = "AnnotatedECG"
XML_ELEMENTS = 50_000
XLI_BYTES = 1 << 23  # Philips's compression, unpacked
SCP_BYTES = 1 << 20  # its bits are unpacked one by one
SCP_LEADS = 32
XLI_BITS, LAST_CODE = 10, (1 << 10) - 2  # Philips's XLI is LZW with codes of ten bits
_BASE64 = re.compile(rb"[A-Za-z0-9+/=\s]{100,}")
_BIT_VALUES = 2 ** np.arange(XLI_BITS - 1, -1, -1)


def read_xml(path: Path, options: ReadOptions) -> Recording:
    """Read an XML file of one of the three kinds, known by its root element."""
    check_bytes(path, XML_BYTES)
    content = small_bytes(path, XML_BYTES)
    root = _root_element(path, content)
    if root not in _XML:
        raise DataError(f"{path}: its root element {shown(root)} is no ECG; allowed: {', '.join(_XML)}")
    return _recording(path, _parsed(path, _XML[root], content), options)


def read_scp(path: Path, options: ReadOptions) -> Recording:
    """Read an SCP-ECG file (EN 1064), versions 1 and 2, the rhythm of its section 6."""
    check_bytes(path, SCP_BYTES)
    content = small_bytes(path, SCP_BYTES)
    for samples in _scp_samples(path, content):
        check_size(path, 1, samples, options)
    return _recording(path, _parsed(path, _scp, content), options)


def _root_element(path: Path, content: bytes) -> str:
    """Return the local name of the root, after a pass that counts elements and refuses entities."""
    try:
        return _scanned(path, content, None)
    except expat.ExpatError:
        try:  # names of patients are often written in another encoding than the file declares
            return _scanned(path, content, "iso-8859-1")
        except expat.ExpatError as error:
            raise DataError(f"{path}: is no XML ({error}); it is damaged, copy it again") from None


def _scanned(path: Path, content: bytes, encoding: str | None) -> str:
    root, count = "", 0

    def element(name: str, attributes: dict[str, str]) -> None:
        nonlocal root, count
        name = name.rpartition(":")[2]
        root, count = root or name, count + 1
        if name == "scale" and root == _HL7_ROOT and not _is_number(attributes.get("value", "")):  # the library takes 1
            raise DataError(f"{path}: has the scale {shown(attributes.get('value', ''))}; a number is needed")
        if count > XML_ELEMENTS:
            raise DataError(f"{path}: has over {XML_ELEMENTS} elements; a recording has fewer, it is damaged")

    def entity(*_: object) -> None:
        raise DataError(f"{path}: declares XML entities, which can fill any memory; write it without them")

    parser = expat.ParserCreate(encoding)
    parser.StartElementHandler = element
    parser.EntityDeclHandler = entity
    parser.Parse(content, True)
    return root


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _hl7(path: Path, content: bytes) -> Any:
    from ecgdatakit.parsing.parsers.hl7_aecg import HL7aECGParser

    return HL7aECGParser().parse(path)


def _philips(path: Path, content: bytes) -> Any:
    from ecgdatakit.parsing.parsers.sierra_xml import SierraXMLParser

    if b"xli" in content.lower().replace(b"\0", b"") and longest_expansion(content, XLI_BYTES) > XLI_BYTES:
        raise DataError(f"{path}: its samples unpack to over {XLI_BYTES} bytes; a resting ECG is shorter")
    return SierraXMLParser().parse(path)


def longest_expansion(content: bytes, enough: int) -> int:
    """Return the bytes that all base64 texts of a document unpack to, by the codes alone.

    A few hundred kilobytes can unpack to hundreds of megabytes. Counting stops at `enough`.
    """
    total = 0
    for text in _BASE64.findall(content.replace(b"\0", b"")):
        try:
            packed = base64.b64decode(b"".join(text.split()))
        except binascii.Error:
            continue
        place = 0
        while place + 8 <= len(packed) and total <= enough:
            size = int.from_bytes(packed[place : place + 4], "little", signed=True)
            if size <= 0 or size > len(packed) - place - 8:
                break
            total += unpacked_length(packed[place + 8 : place + 8 + size], enough)
            place += 8 + size
    return total


def unpacked_length(chunk: bytes, enough: int) -> int:
    """Return the bytes that the LZW codes of one chunk stand for; counting stops at `enough`."""
    bits = np.unpackbits(np.frombuffer(chunk, np.uint8))
    codes = bits[: len(bits) // XLI_BITS * XLI_BITS].reshape(-1, XLI_BITS) @ _BIT_VALUES
    length = dict.fromkeys(range(256), 1)
    total, previous, next_code = 0, 0, 256
    for code in codes.tolist():
        if code > LAST_CODE or (code not in length and previous == 0):
            break
        now = length.setdefault(code, previous + 1)
        if previous and next_code <= LAST_CODE:
            length[next_code] = previous + 1
            next_code += 1
        total, previous = total + now, now
        if total > enough:
            break
    return total


def _muse(path: Path, content: bytes) -> Any:
    from ecgdatakit.parsing.parsers.ge_muse_xml import GEMuseXMLParser

    return GEMuseXMLParser().parse(path)


def _scp(path: Path, content: bytes) -> Any:
    from ecgdatakit.parsing.parsers.scp_ecg import SCPECGParser

    return SCPECGParser().parse(path)


_XML = {_HL7_ROOT: _hl7, "restingecgdata": _philips, "RestingECG": _muse}


def _parsed(path: Path, parse: Callable[[Path, bytes], Any], content: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units and checksums are checked below
            return parse(path, content)
    except ImportError:
        raise missing_library("ecgdatakit", "clinical", path) from None


def _scp_samples(path: Path, content: bytes) -> list[int]:
    """Return the samples that section 3 promises of each lead: the library allocates them before it reads."""
    try:
        (length,) = struct.unpack_from("<I", content, 10)
        for place in range(22, min(6 + length, len(content) - 9), 10):
            section, _, index = struct.unpack_from("<HII", content, place)
            if section == 3:
                count = content[index - 1 + 16]
                if count > SCP_LEADS:
                    raise DataError(
                        f"{path}: promises {counted(count, 'lead')}; at most {SCP_LEADS} are read, it is damaged"
                    )
                ranges = struct.iter_unpack("<IIB", content[index + 17 : index + 17 + 9 * count])
                return [last - first + 1 for first, last, _ in ranges]
    except (struct.error, IndexError):
        pass
    raise DataError(f"{path}: is no whole SCP-ECG file; it has no section 3, which names the leads")


def _recording(path: Path, record: Any, options: ReadOptions) -> Recording:
    """Convert the library's record to millivolts."""
    facts = record.raw_metadata
    if facts.get("checksum_valid") is False and not options.ignore_checksums:
        raise DataError(
            f"{path}: its samples do not have the checksum that it states; copy it again, or read it as it is with "
            "--ignore-checksums"
        )
    leads = wanted_leads(path, [lead.label for lead in record.leads], options)
    chosen = [record.leads[channel] for channel in leads.values()]
    lengths = {len(lead.samples) for lead in chosen}
    if len(lengths) > 1:
        raise DataError(f"{path}: its leads have {min(lengths)} to {max(lengths)} samples; they must be equally long")
    samples = lengths.pop()
    check_size(path, len(chosen), samples, options)
    rows = []
    with np.errstate(over="ignore", invalid="ignore"):
        for lead in chosen:
            values = lead.samples * lead.resolution + lead.offset if lead.is_raw else lead.samples
            unit = lead.resolution_unit if lead.is_raw else lead.units
            rows.append(in_millivolts(values, millivolt_factor(path, unit, options.unit), missing=False))
    return make_recording(
        path, rows, list(leads), stated_rate(path, _exact_rate(record, chosen), options.sampling_rate)
    )


def _exact_rate(record: Any, leads: list[Any]) -> float:
    """Return the rate that the file states; the library rounds it to whole Hz."""
    facts = record.raw_metadata
    if "rhythm_sample_interval_us" in facts:
        return 1e6 / facts["rhythm_sample_interval_us"]
    return float(facts.get("rhythm_time", {}).get("sampling_rate_exact") or leads[0].sampling_rate)


XML = FileReader("the XML of an ECG", (".xml",), read_xml)
SCP = FileReader("SCP-ECG", (".scp",), read_scp)

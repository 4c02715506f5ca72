"""Files of clinical carts, written by the words of their standards: HL7 aECG, Philips XML, GE MUSE XML, SCP-ECG."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib

import numpy as np

LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")


def hl7(
    values: np.ndarray, leads, step_ms: float = 2.0, scale: str = "2.5", unit: str = "uV", origin: str = "0"
) -> str:
    """HL7 aECG guide of 2005: a rhythm series with one set of sequences, the first for time, then one for each lead."""
    sequences = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead.upper()}"/><value xsi:type="SLIST_PQ">'
        f'<origin value="{origin}" unit="{unit}"/><scale value="{scale}" unit="{unit}"/>'
        f"<digits>{' '.join(map(str, row))}</digits></value></sequence></component>"
        for lead, row in zip(leads, values.tolist(), strict=True)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><AnnotatedECG xmlns="urn:hl7-org:v3" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><component><series><code code="RHYTHM"/><component>'
        '<sequenceSet><component><sequence><code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS">'
        f'<head value="20200101000000"/><increment value="{step_ms / 1000}" unit="s"/></value></sequence></component>'
        f"{sequences}</sequenceSet></component></series></component></AnnotatedECG>"
    )


def muse(
    values: np.ndarray, leads, rate: int = 500, scale: str = "4.88", unit: str = "MICROVOLTS", crc: int = 0
) -> str:
    """restecg.xsd: one rhythm waveform of base64 int16, with a median beat before it. crc: added to each checksum."""

    def waveform(kind: str, rows: np.ndarray) -> str:
        data = [(lead, row.astype("<i2").tobytes()) for lead, row in zip(leads, rows, strict=True)]
        return (
            f"<Waveform><WaveformType>{kind}</WaveformType><SampleBase>{rate}</SampleBase>"
            "<SampleExponent>0</SampleExponent>"
            + "".join(
                f"<LeadData><LeadByteCountTotal>{len(raw)}</LeadByteCountTotal><LeadID>{lead}</LeadID>"
                f"<LeadSampleCountTotal>{len(raw) // 2}</LeadSampleCountTotal><LeadSampleSize>2</LeadSampleSize>"
                f"<LeadAmplitudeUnitsPerBit>{scale}</LeadAmplitudeUnitsPerBit>"
                f"<LeadAmplitudeUnits>{unit}</LeadAmplitudeUnits><LeadDataCRC32>{zlib.crc32(raw) + crc}</LeadDataCRC32>"
                f"<WaveFormData>{base64.b64encode(raw).decode()}</WaveFormData></LeadData>"
                for lead, raw in data
            )
            + "</Waveform>"
        )

    return f"<RestingECG>{waveform('Median', values[:, :4])}{waveform('Rhythm', values)}</RestingECG>"


def philips(values: np.ndarray, leads, rate: int = 500, resolution: str = "5", packed: bytes | None = None) -> str:
    """Philips' 1.04 schema: all leads after each other as base64 int16, or `packed` as XLI."""
    method = "Uncompressed" if packed is None else "XLI"
    data = base64.b64encode(values.astype("<i2").tobytes() if packed is None else packed).decode()
    return (
        '<?xml version="1.0"?><restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo>'
        "<documenttype>PhilipsECG</documenttype><documentversion>1.04</documentversion></documentinfo><dataacquisition>"
        f"<signalcharacteristics><samplingrate>{rate}</samplingrate><resolution>{resolution}</resolution>"
        f"<numberchannelsallocated>{len(values)}</numberchannelsallocated></signalcharacteristics></dataacquisition>"
        f'<waveforms><parsedwaveforms dataencoding="Base64" compression="{method}" numberofleads="{len(values)}" '
        f'durationperchannel="{values.shape[1] * 1000 // rate}" leadlabels="{" ".join(leads)}">{data}'
        "</parsedwaveforms></waveforms></restingecgdata>"
    )


def xli(values: np.ndarray, leads) -> bytes:
    """Second differences, high bytes before low bytes, as LZW that uses its first 256 codes only."""
    rows = values.astype(np.int64)
    if tuple(leads[:6]) == LIMB:
        i, ii, iii, avr, avl, avf = rows[:6]
        residuals = [i, ii, ii - i - iii, -avr - (i + ii) // 2, (i - iii) // 2 - avl, (ii + iii) // 2 - avf]
        rows = np.concatenate([residuals, rows[6:]])
    chunks = []
    for row in rows:
        second = 2 * row[1:-1] - row[:-2] - row[2:]
        words = np.concatenate([row[:2], second[1:] + 64, [0]]).astype(np.int16).view(np.uint16)
        data = np.concatenate([words >> 8, words & 255]).astype(np.uint16)
        bits = np.unpackbits(data.astype(">u2").view(np.uint8)).reshape(-1, 16)[:, 6:]
        body = np.packbits(bits.ravel()).tobytes()
        chunks.append(struct.pack("<ihh", len(body), 0, int(np.int16(second[0]))) + body)
    return b"".join(chunks)


SCP_CODES = {"I": 1, "II": 2, "V1": 3, "V2": 4, "III": 61, "aVR": 62}


def scp(values: np.ndarray, leads, avm: int = 2500, interval_us: int = 2000, differences: int = 0, **changes) -> bytes:
    """EN 1064 version 2: sections 0, 3 and 6, and 2 with the default Huffman table when differences are stored."""
    count = len(values)
    ranges = b"".join(struct.pack("<IIB", 1, changes.get("last", values.shape[1]), SCP_CODES[lead]) for lead in leads)
    bodies = {3: bytes([changes.get("count", count), 0x04]) + ranges}
    if differences:
        bodies[2] = struct.pack("<H", 19999)
        rows = [_huffman(np.concatenate([row[:differences], np.diff(row, differences)])) for row in values]
    else:
        rows = [row.astype("<i2").tobytes() for row in values]
    sizes = struct.pack(f"<{count}H", *map(len, rows))
    bodies[6] = struct.pack("<HHBB", avm, interval_us, differences, 0) + sizes + b"".join(rows)
    place, pointers, sections = 6 + 16 + 120, [], []
    pointers.append((0, 136, 7))
    for number in range(1, 12):
        body = bodies.get(number)
        if body is None:
            pointers.append((number, 0, 0))
            continue
        body += b"\0" * (len(body) % 2)
        sections.append(_section(number, body))
        pointers.append((number, len(sections[-1]), place + 1))
        place += len(sections[-1])
    first = _section(0, b"".join(struct.pack("<HII", *pointer) for pointer in pointers), b"SCPECG")
    whole = struct.pack("<I", place) + first + b"".join(sections)
    return struct.pack("<H", binascii.crc_hqx(whole, 0xFFFF)) + whole


def _section(number: int, body: bytes, reserved: bytes = bytes(6)) -> bytes:
    content = struct.pack("<HIBB", number, 16 + len(body), 20, 20) + reserved + body
    return struct.pack("<H", binascii.crc_hqx(content, 0xFFFF)) + content


def _huffman(values: np.ndarray) -> bytes:
    """The default table: as many ones as the number is large, 0, the sign; what is larger as it is, 16 bits."""
    bits = ""
    for value in map(int, values):
        if value == 0:
            bits += "0"
        elif abs(value) <= 8:
            bits += "1" * abs(value) + "0" + ("1" if value < 0 else "0")
        else:
            bits += "1111111111" + format(value & 0xFFFF, "016b")
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")

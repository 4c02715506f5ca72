"""How long Philips's XLI data get when they are unpacked, told from its codes alone.

XLI is LZW with codes of ten bits: a few hundred kilobytes can hold hundreds of megabytes. The library unpacks them
whole, so the length is found first, which takes no memory.
"""

from __future__ import annotations

import base64
import binascii
import re

import numpy as np

BITS, LAST_CODE = 10, (1 << 10) - 2
_TEXT = re.compile(rb"[A-Za-z0-9+/=\s]{100,}")
_ROW = 2 ** np.arange(BITS - 1, -1, -1)


def longest_expansion(content: bytes, enough: int) -> int:
    """Bytes that all base64 texts of a document unpack to, added up; not counted beyond `enough`."""
    total = 0
    for text in _TEXT.findall(content.replace(b"\0", b"")):
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
    """Bytes that the LZW codes of one chunk stand for; not counted beyond `enough`."""
    bits = np.unpackbits(np.frombuffer(chunk, np.uint8))
    codes = bits[: len(bits) // BITS * BITS].reshape(-1, BITS) @ _ROW
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

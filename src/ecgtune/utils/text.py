"""Text of files in messages."""

from __future__ import annotations


def shown(value: object) -> str:
    """Format a value of a file for a one-line message: quoted, control characters escaped, at most 40 characters."""
    return repr(str(value)[:40])


def plain_number(text: str) -> str:
    """Return a whole number without the ".0" that data frames write after it, and other text as it is."""
    whole, point, fraction = text.partition(".")
    return whole if point and whole.isdecimal() and fraction and not fraction.strip("0") else text

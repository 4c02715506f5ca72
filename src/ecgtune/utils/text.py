"""Text from files in messages."""

from __future__ import annotations


def shown(value: object) -> str:
    """Return a value from a file for a one-line message: quoted, controls escaped, at most 40 characters."""
    return repr(str(value)[:40])


def plain_number(text: str) -> str:
    """Return a whole number without the ".0" that data frames write after it, and other text as it is."""
    whole, point, fraction = text.partition(".")
    return whole if point and whole.isdecimal() and fraction and not fraction.strip("0") else text

"""Text from files in messages."""

from __future__ import annotations


def shown(value: object) -> str:
    """Return a value from a file for a one-line message: quoted, controls escaped, at most 40 characters."""
    return repr(str(value)[:40])

"""Text of files in messages, tables and reports."""

from __future__ import annotations

import re
from typing import Any

# Controls (C0, C1), line and paragraph separators, marks that change the direction of text or are invisible, lone
# surrogates, and tags. Joiners (U+200C, U+200D) stay: words of several languages need them.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)

#: How Python's encoder writes lone surrogates, which UTF-8 does not have.
UNENCODABLE = "backslashreplace"
#: Characters of another library's error in a message.
MOST_REASON = 160


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return text with every character escaped that could act on a terminal or a page, such as `\x1b` or `\u202e`.

    lines: keep line feeds and tabs. Everything that the program shows and that can hold text of a file passes here.
    """
    keep = "\n\t" if lines else ""
    return _UNSAFE.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode("ascii"), text
    )


def one_line(text: str) -> str:
    """Return printable text in one line."""
    return printable(re.sub(r"\s*\n\s*", " ", text.strip()))


def utf8(text: str) -> bytes:
    r"""Return text as UTF-8. A byte of a file name that is none, a lone surrogate in Python, becomes `\udce9`, as it is
    shown; JSON reads that as the same surrogate, and so does `csv_cells.from_cell`.
    """
    return text.encode("utf-8", UNENCODABLE)


def is_utf8(text: str) -> bool:
    """Whether text has no lone surrogates. Libraries that do not open files of other names get their content."""
    return text == text.encode("utf-8", "ignore").decode("utf-8")


def printable_values(value: Any) -> Any:
    """Return JSON values with every text in them, keys included, made printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable_values(key): printable_values(part) for key, part in value.items()}
    return [printable_values(part) for part in value] if isinstance(value, (list, tuple)) else value


def shortened(text: str, width: int) -> str:
    """Return text of at most `width` characters; a longer one ends in an ellipsis."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def reason_of(error: BaseException) -> str:
    """Return the type and the text of an error in one printable line; a long text is cut."""
    text = printable(" ".join(str(error).split()))
    if len(text) > MOST_REASON:
        cut = text[: MOST_REASON - 4]
        words = cut.rpartition(" ")[0]
        text = f"{words if len(words) > MOST_REASON // 2 else cut} ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def shown(value: object) -> str:
    """Format a value of a file for a one-line message: quoted, control characters escaped, at most 40 characters."""
    return repr(str(value)[:40])


def shown_name(name: str) -> str:
    """Format a name of a file for a one-line message: escaped, at most 40 characters, without quotes."""
    return shortened(printable(name), 40)


def plain_number(text: str) -> str:
    """Return a whole number without the ".0" that data frames write after it, and other text as it is."""
    whole, point, fraction = text.partition(".")
    return whole if point and whole.isdecimal() and fraction and not fraction.strip("0") else text

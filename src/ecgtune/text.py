"""Text of files in messages, tables and reports."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any

# Controls (C0, C1), line and paragraph separators, marks that change the direction of text, lone surrogates, tags, and
# characters that are shown as nothing.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]"
)
# Runs of what may be combining marks, which are no letters, and joiners (U+200C, U+200D), with the character in front.
_MARKED = re.compile(r"(?s:^|.)[^\w\s\x00-\u02ff\u2010-\u206f\u3000-\u3020]+")
_JOINERS = "\u200c\u200d"
#: Marks on one letter that are shown; Hebrew and Tibetan need up to four, Vietnamese, Thai and Arabic three.
MOST_MARKS = 4

#: How Python's encoder writes lone surrogates, which UTF-8 does not have.
UNENCODABLE = "backslashreplace"
#: Characters of another library's error in a message.
MOST_REASON = 160


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return text with every character escaped that could act on a terminal or a page, such as `\x1b` or `\u202e`.

    So are characters that are invisible, and combining marks without a letter or above `MOST_MARKS` on one, which are
    drawn over other text. lines: keep line feeds and tabs. Everything that the program shows and that can hold text of
    a file passes here.
    """
    return _escaped(text, lambda unsafe: unsafe.encode("unicode_escape").decode("ascii"), r"\n\t" if lines else "")


def printable_json(text: str) -> str:
    """Return JSON with the characters that `printable` escapes as escapes of JSON: the same values."""
    return _escaped(text, lambda unsafe: json.dumps(unsafe)[1:-1], r"\n")


def _escaped(text: str, escape: Callable[[str], str], keep: str) -> str:
    if not text.isascii():
        text = _MARKED.sub(lambda found: _few_marks(found[0], escape), text)
    unsafe = re.compile(f"(?![{keep}]){_UNSAFE.pattern}") if keep else _UNSAFE
    return unsafe.sub(lambda found: escape(found[0]), text)


def _few_marks(run: str, escape: Callable[[str], str]) -> str:
    """Escape the marks of a run that have no letter in front, or `MOST_MARKS` others on it."""
    parts, marks = [], MOST_MARKS
    for each in run:
        if _is_mark(each):
            marks += 1
            parts.append(escape(each) if marks > MOST_MARKS else each)
        else:
            parts.append(each)
            marks = 0 if each.isalnum() or each in "#*" or (each > "\x7f" and _is_visible(each)) else MOST_MARKS
    return "".join(parts)


def _is_mark(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) in ("Mn", "Me")


def _is_visible(character: str) -> bool:
    return not (character.isspace() or _UNSAFE.match(character))


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


def name_problem(name: str) -> str | None:
    """Why a text of a file cannot be the name of a class or label, as a clause; None where it can.

    Names of files and recordings may have lone surrogates, the bytes of a name that is no UTF-8; names of classes may
    not, because graphs, pages and other programs take Unicode only.
    """
    if not is_utf8(name):
        return "is no valid Unicode text; write the name in UTF-8"
    if not any(_is_visible(each) and not _is_mark(each) for each in name):
        return "has no visible character; give it a name"
    return None


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
    return printable(repr(str(value)[:40]))


def shown_name(name: str) -> str:
    """Format a name of a file for a one-line message: escaped, at most 40 characters, without quotes."""
    return shortened(printable(name), 40)


def plain_number(text: str) -> str:
    """Return a whole number without the ".0" that data frames write after it, and other text as it is."""
    whole, point, fraction = text.partition(".")
    return whole if point and whole.isdecimal() and fraction and not fraction.strip("0") else text

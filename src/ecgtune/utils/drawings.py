"""SVG files that become part of a page: shapes and text, and nothing that runs or is loaded from elsewhere."""

from __future__ import annotations

import re

#: Elements of the figures of matplotlib and ecg-plot.
_ELEMENTS = frozenset(
    ("svg", "g", "defs", "style", "clipPath", "path", "rect", "use", "text", "tspan", "title", "line", "image")
)
#: An opening or closing tag whose attributes are all in double quotes, or text. A browser reads no other tag in it.
_TOKEN = re.compile(r"""</?(?P<element>[A-Za-z]+)(?P<attributes>(?:\s+[\w:.-]+="[^"<>]*")*)\s*/?>|(?P<text>[^<]+)""")
_ATTRIBUTE = re.compile(r"""([\w:.-]+)="([^"<>]*)\"""")
_INSIDE = ("#", "data:image/png;base64,")


def is_drawing(svg: str) -> bool:
    """Return whether `svg`, from its first tag on, has only elements, attributes and addresses of a figure."""
    place, element = 0, ""
    while place < len(svg):
        token = _TOKEN.match(svg, place)
        if token is None:
            return False
        place = token.end()
        if token["text"] is not None:
            if element == "style" and not _is_style(token["text"]):
                return False
            continue
        element = token["element"]
        pairs = _ATTRIBUTE.findall(token["attributes"])
        if element not in _ELEMENTS or not all(_is_plain(name, value) for name, value in pairs):
            return False
    return True


def _is_plain(name: str, value: str) -> bool:
    if name.lower().startswith("on"):
        return False
    if name.rpartition(":")[2].lower() == "href":
        return value.startswith(_INSIDE)
    return _is_style(value)


def _is_style(text: str) -> bool:
    """Whether a style, or the value of an attribute, names nothing outside the page."""
    addresses = re.findall(r"url\s*\(\s*(.)", text, re.IGNORECASE)
    return all(first == "#" for first in addresses) and not re.search(r"@import|&#|\\", text, re.IGNORECASE)

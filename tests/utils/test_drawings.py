"""SVG files that may become part of a page."""

import pytest

from ecgtune.utils.drawings import is_drawing

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">'


@pytest.mark.parametrize(
    "part",
    [
        "<script>alert(1)</script>",
        '<path onload="alert(1)"/>',
        '<path d=">" onload="alert(1)"/>',
        "<path onload='alert(1)'/>",
        '<use href="https://example.org/x.svg#a"/>',
        '<use xlink:href="javascript:alert(1)"/>',
        '<image xlink:href="data:image/svg+xml;base64,AA"/>',
        "<style>@import 'https://example.org'</style>",
        '<rect style="fill: url(https://example.org)"/>',
        '<rect style="fill: URL( &#104;ttps://example.org)"/>',
        "<foreignObject><p>text</p></foreignObject>",
        "<a><text>x</text></a>",
        "<!DOCTYPE html>",
        "<!-- a comment -->",
        "<path",
    ],
)
def test_what_is_more_than_shapes(part):
    assert not is_drawing(f"{HEAD}{part}</svg>")


def test_figures_are_drawings():
    parts = (
        '<style type="text/css">*{stroke-linejoin: round}</style>',
        '<defs><clipPath id="p"><rect x="1" y="2"/></clipPath></defs>',
        '<g clip-path="url(#p)"><use xlink:href="#a" style="font: 9px \'DejaVu Sans\'"/></g>',
        '<image xlink:href="data:image/png;base64,iVBORw0=" width="3"/>',
        "<text>onset = 3 &lt;script&gt; @import url(x) &amp; &#39;</text>\n",
    )
    assert is_drawing(f"{HEAD}{''.join(parts)}</svg>\n")

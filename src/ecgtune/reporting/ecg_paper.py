"""A window on ECG paper, with stretches marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.text import printable, shortened

#: Levels of shading: of the strongest part, two thirds and one third.
LEVELS = 3
SHADE = "#0072B2"


@dataclass(frozen=True)
class Stretch:
    """A part of one lead: seconds from the start of the window, and its value."""

    lead: int
    start: float
    end: float
    value: float


def stretches(values: NDArray[np.float64], seconds: float, width: float) -> list[Stretch]:
    """Return parts of `width` seconds of each lead with the mean of its values, the largest first.

    values: (leads, samples) over `seconds`.
    """
    leads, samples = values.shape
    number = max(1, round(seconds / width))
    edges = np.linspace(0, samples, number + 1).round().astype(int)
    found = [
        Stretch(lead, start * seconds / samples, end * seconds / samples, float(values[lead, start:end].mean()))
        for lead in range(leads)
        for start, end in pairwise(edges)
        if end > start
    ]
    return sorted(found, key=lambda each: -each.value)


def ecg_paper(
    window: NDArray[np.float32],
    sampling_rate: float,
    leads: Sequence[str],
    title: str,
    marked: Sequence[Stretch] = (),
    *,
    millivolts: bool = True,
    points: int | None = None,
) -> str:
    """Return a window (leads, samples) as SVG: 25 mm/s and 10 mm/mV, one row per lead, marked parts shaded.

    A part is darker the larger its value; parts below a third of the largest are left out. millivolts: False scales the
    window, whose largest value becomes 1.5 mV; then the grid measures time only. points: of the line of a lead at most,
    which keep its extrema; None draws every sample.
    """
    import ecg_plot

    signal = np.asarray(window, np.float64)
    if not millivolts:
        signal = signal * (1.5 / (np.abs(signal).max() or 1.0))
    names = [shortened(printable(name), 20) for name in leads]
    style = ecg_plot.Style(calibration=millivolts)
    chart: Any = ecg_plot.plot(
        signal,
        sample_rate=sampling_rate,
        lead_names=names,
        layout="stacked",
        title=shortened(printable(title), 120),
        style=style,
    )
    largest = max((each.value for each in marked), default=0.0)
    for each in marked if largest > 0 else ():
        # The library draws all marks alike: overlapping ones are darker.
        for _ in range(int(np.floor(LEVELS * each.value / largest + 1e-9))):
            chart.add_annotations([{"time": each.start, "end_time": each.end, "lead": names[each.lead]}], color=SHADE)
    text = _PREVIEW.sub("", _compact(chart.to_svg(preview_points=points)))
    return text if millivolts else text.replace("10 mm/mV · ", "").replace("amplitude: mV", "amplitude: not in mV")


#: What the library writes below a line of fewer points: behind the scales, or on a line of its own.
_PREVIEW = re.compile(r" · PREVIEW|<text [^>]*>PREVIEW</text>")
#: A line of the grid as the library writes it: its ends, and what lines of one kind share.
_LINE = re.compile(r'<line x1="([^"]+)" y1="([^"]+)" x2="([^"]+)" y2="([^"]+)"([^>]*?) ?/>')
_LINES = re.compile(r"(?:<line [^>]*/>)+")


def _compact(svg: str) -> str:
    """The same picture in a tenth of the size: neighbouring lines of one kind as one path, coordinates to 0.01 mm."""

    def joined(match: re.Match[str]) -> str:
        kinds: dict[str, list[str]] = {}
        for x1, y1, x2, y2, kind in _LINE.findall(match[0]):
            kinds.setdefault(kind, []).append(f"M{float(x1):.2f},{float(y1):.2f}L{float(x2):.2f},{float(y2):.2f}")
        return "".join(f'<path d="{"".join(lines)}"{kind} fill="none"/>' for kind, lines in kinds.items())

    text = _LINES.sub(joined, svg)
    return re.sub(r' d="[^"]+"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)

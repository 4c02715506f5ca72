"""Common style of figures, with colours that are distinguishable for colour-blind readers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgtune.text import shortened
from ecgtune.utils.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#1f2933", "#5f6b7a", "#e4e7eb"
# Okabe and Ito's palette with darker pink, and without orange and yellow, which are too pale on white.
METHOD_COLOURS = {"full": "#0072B2", "adapter": "#D55E00", "lora": "#009E73", "probe": "#B85C94"}
SPARE_COLOURS = ("#56B4E9", "#8C6D1F", "#4B4E9B", "#A83232", "#3F7F7F", "#7A7A2B")
BASELINE_COLOURS = ("#9aa5b1", "#697586", "#c3cad3")
BASELINE_DASHES = ((0, (2, 2)), (0, (6, 2)), (0, (6, 2, 1, 2)))
# matplotlib measures DejaVu Sans. Browsers without it use a font of at most its width, so that text does not overlap.
MEASURED_FONT, NARROWER_FONTS = "DejaVu Sans", "Verdana, Arial, Helvetica, sans-serif"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")

#: Least distance of points, as a part of the width of a logarithmic axis.
_APART = 0.035

STYLE: dict[str, Any] = {
    # Text instead of paths: small, searchable files. matplotlib includes DejaVu Sans.
    "svg.fonttype": "none",
    "svg.hashsalt": "ecgtune",
    "pdf.fonttype": 42,  # fonts that journals accept
    "text.parse_math": False,  # names may contain dollar signs
    "font.family": MEASURED_FONT,
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": "#aab4c0",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


_PDF = ContextVar("_PDF", default=False)


@contextmanager
def with_pdf() -> Iterator[None]:
    """Write every figure inside as PDF too."""
    token = _PDF.set(True)
    try:
        yield
    finally:
        _PDF.reset(token)


def method_colours(methods: Sequence[str]) -> dict[str, str]:
    """Return a colour per method name: fixed for the names of `METHOD_COLOURS`, else one of `SPARE_COLOURS`."""
    others = [name for name in methods if name not in METHOD_COLOURS]
    spare = {name: SPARE_COLOURS[index % len(SPARE_COLOURS)] for index, name in enumerate(others)}
    return {name: METHOD_COLOURS.get(name) or spare[name] for name in methods}


def baseline_colours(baselines: Sequence[str]) -> dict[str, str]:
    """Return a grey per baseline."""
    return {name: BASELINE_COLOURS[index % len(BASELINE_COLOURS)] for index, name in enumerate(baselines)}


def row_colours(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return a colour per row of results.json, by the name of its method."""
    methods, baselines = ([row["method"] for row in rows if row["kind"] == kind] for kind in ("method", "baseline"))
    return {**baseline_colours(baselines), **method_colours(methods)}


def draw(path: Path, size: tuple[float, float], paint: Callable[[Figure], None], *, png: bool = False) -> list[Path]:
    """Write the figure that `paint` draws to `path` (.svg) and, with `png`, as .png; return the files.

    size: width and height in inches. Figure is used without pyplot, so no backend is selected.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    # "default" first, so that a matplotlibrc of the user does not affect the reports.
    with style.context(["default", STYLE]):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        files = [
            path,
            *([path.with_suffix(".png")] if png else []),
            *([path.with_suffix(".pdf")] if _PDF.get() else []),
        ]
        for file in files:
            write_atomically(file, lambda part, kind=file.suffix: _save(figure, part, kind))
    return files


def _save(figure: Figure, path: Path, kind: str) -> None:
    if kind == ".png":
        figure.savefig(path, format="png", dpi=160)
    elif kind == ".pdf":
        figure.savefig(path, format="pdf", metadata={"CreationDate": None})
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph ")  # text of an SVG is drawn by the fonts of its reader
            # Without a date, the same data give the same file.
            figure.savefig(path, format="svg", metadata={"Date": None})
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f"'{MEASURED_FONT}'", f"'{MEASURED_FONT}', {NARROWER_FONTS}"), encoding="utf-8")


def heading(figure: Figure, text: str) -> None:
    """Set a left-aligned title of the whole figure, at most 120 characters."""
    figure.suptitle(shortened(text, 120), x=0.012, ha="left", fontsize=11, fontweight="bold")


def legend_label(text: str) -> str:
    """Return a name for a legend, at most 60 characters; matplotlib leaves out those that begin with an underscore."""
    return shortened(f" {text}" if text.startswith("_") else text, 60)


def only_horizontal_grid(axes: Axes) -> None:
    """Remove the vertical grid lines."""
    axes.grid(False, axis="x")


def beside(costs: Sequence[float]) -> list[float]:
    """Return positive costs for a logarithmic axis on which points that are too close are moved apart."""
    if not costs:
        return []
    gap = max((max(costs) / min(costs)) ** _APART, 1 + _APART)
    places, last = list(costs), 0.0
    for index in sorted(range(len(costs)), key=costs.__getitem__):
        last = places[index] = max(costs[index], last * gap)
    return places


def cost_ticks(axes: Axes, units: Sequence[tuple[str, float]]) -> None:
    """Set at most four round ticks on a logarithmic axis of costs, times in one unit.

    units: endings and sizes, the largest first.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = axes.get_xlim()
    largest = next((each for each in units if high >= each[1]), units[-1])
    factor = largest[1] if units[0][1] == 3600.0 else 1.0

    def text(value: float, _: int) -> str:
        unit, size = largest if factor > 1 else next((each for each in units if value >= each[1]), units[-1])
        return f"{value / size:g}{unit}"

    powers = [10.0**power for power in range(-9, 16)]
    for steps in ((1,), (1, 3), (1, 2, 5)):
        found = [factor * power * step for power in powers for step in steps if low <= factor * power * step <= high]
        if len(found) > 1:
            break
    axes.xaxis.set_major_locator(FixedLocator(found[:: -(-len(found) // 4)]))
    axes.xaxis.set_major_formatter(FuncFormatter(text))
    axes.xaxis.set_minor_locator(NullLocator())

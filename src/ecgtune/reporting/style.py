"""One look for every figure: light, few lines, colours that colour-blind readers can tell apart."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecgtune.utils.files import write_atomically

INK, QUIET, GRID = "#1f2933", "#5f6b7a", "#e4e7eb"
# Okabe and Ito's palette; pink is darkened, orange and yellow are left out: too pale on white.
METHOD_COLOURS = {"full": "#0072B2", "adapter": "#D55E00", "lora": "#009E73", "probe": "#B85C94"}
SPARE_COLOURS = ("#56B4E9", "#8C6D1F", "#4B4E9B", "#A83232", "#3F7F7F", "#7A7A2B")
BASELINE_COLOURS = ("#9aa5b1", "#697586", "#c3cad3")
BASELINE_DASHES = ((0, (2, 2)), (0, (6, 2)), (0, (6, 2, 1, 2)))
# Where the font that matplotlib measured is missing, one as wide or narrower stands in and nothing overlaps.
MEASURED_FONT, NARROWER_FONTS = "DejaVu Sans", "Verdana, Arial, Helvetica, sans-serif"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")

STYLE: dict[str, Any] = {
    # Text stays text: small files, searchable. DejaVu Sans comes with matplotlib.
    "svg.fonttype": "none",
    "svg.hashsalt": "ecgtune",
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


def method_colours(methods: Sequence[str]) -> dict[str, str]:
    """A colour per method name, the same in every figure: known names keep theirs, others take a spare one in turn."""
    spare = [name for name in methods if name not in METHOD_COLOURS]
    given = {name: SPARE_COLOURS[place % len(SPARE_COLOURS)] for place, name in enumerate(spare)}
    return {name: METHOD_COLOURS.get(name) or given[name] for name in methods}


def baseline_colours(baselines: Sequence[str]) -> dict[str, str]:
    """Greys for the baselines, so that they do not look like methods."""
    return {name: BASELINE_COLOURS[place % len(BASELINE_COLOURS)] for place, name in enumerate(baselines)}


def draw(path: Path, size: tuple[float, float], paint: Callable[[Figure], None], *, png: bool = False) -> list[Path]:
    """Write what `paint` draws as `path` (an .svg) and, with `png`, as the .png beside it; returns the files.

    size: width and height in inches. Built on Figure alone: no backend is chosen and no global figure is left.
    """
    # "default" first, so that a reader's own matplotlibrc does not change the reports.
    with style.context(["default", STYLE]):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        files = [path, path.with_suffix(".png")] if png else [path]
        for file in files:
            write_atomically(file, lambda part, kind=file.suffix: _save(figure, part, kind))
    return files


def _save(figure: Figure, path: Path, kind: str) -> None:
    if kind == ".png":
        figure.savefig(path, format="png", dpi=160)
    else:
        # Without a date the same numbers give the same file.
        figure.savefig(path, format="svg", metadata={"Date": None})
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f"'{MEASURED_FONT}'", f"'{MEASURED_FONT}', {NARROWER_FONTS}"), encoding="utf-8")


def heading(figure: Figure, text: str) -> None:
    """A title over the whole figure, at its left edge."""
    figure.suptitle(text, x=0.012, ha="left", fontsize=11, fontweight="bold")


def only_horizontal_grid(axes: Axes) -> None:
    """No vertical lines: bars and epochs are read along the other axis."""
    axes.grid(False, axis="x")

"""The figure of growth.py: seconds above, memory below, a column for each size that grows."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ecgtune.reporting.style import MARKERS, draw, heading, method_colours


def write_figure(path: Path, result: dict[str, Any]) -> list[Path]:
    """`path` (an .svg) from the content of growth.json; scales begin at zero, so what is proportional lies on a ray."""
    axes, rows = result["axes"], result["rows"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    colours = method_colours(methods)

    def paint(figure: Figure) -> None:
        heading(figure, "How time and memory grow, in bf16")
        panels = figure.subplots(2, len(axes), squeeze=False)
        for column, (axis, title) in enumerate(axes.items()):
            per_epoch = axis == "windows"
            told = (
                ("seconds", "an epoch" if per_epoch else "a step", "s", 1.0),
                ("bytes", "the process" if per_epoch else "kept in a step", "GB", 1e9),
            )
            for panel, (key, what, unit, scale) in zip(panels[:, column], told, strict=True):
                for place, method in enumerate(methods):
                    chosen = [row for row in rows if (row["axis"], row["method"]) == (axis, method)]
                    if not chosen:
                        continue
                    values = [row["value"] for row in chosen]
                    panel.plot(
                        values,
                        [row[key] / scale for row in chosen],
                        color=colours[method],
                        marker=MARKERS[place],
                        ms=5,
                        label=method,
                    )
                panel.set_xlim(left=0)
                panel.set_ylim(0, 1.1 * panel.dataLim.ymax)
                panel.locator_params(nbins=5)
                panel.set_title(f"{what}, {unit}")
            panels[-1, column].set_xlabel(title)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))

    return draw(path, (11.0, 5.4), paint)

"""The figure of growth.py: seconds above, memory below, a column for each size that grows."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ecgtune.reporting.style import MARKERS, draw, heading, method_colours


def write_figure(path: Path, result: dict[str, Any]) -> list[Path]:
    """`path` (an .svg) from the content of growth.json; both scales are logarithmic, so a straight line is a power."""
    axes, rows = result["axes"], result["rows"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    colours = method_colours(methods)

    def paint(figure: Figure) -> None:
        heading(figure, "Cost of a step (left column: of an epoch), in bf16")
        panels = figure.subplots(2, len(axes), squeeze=False)
        for column, (axis, title) in enumerate(axes.items()):
            for panel, (key, unit, scale) in zip(
                panels[:, column], (("seconds", "s", 1.0), ("bytes", "GB", 1e9)), strict=True
            ):
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
                    panel.set_xscale("log", base=2)
                    panel.set_xticks(values, [f"{value:g}" for value in values])
                panel.set_yscale("log")
                panel.set_title(unit)
            panels[-1, column].set_xlabel(title)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))

    return draw(path, (11.0, 5.4), paint)

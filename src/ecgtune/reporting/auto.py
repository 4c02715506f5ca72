"""The documents of `ecgtune auto`: answer.md, next.md, and report.html with its figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgtune.reporting.evidence import case_facts, read_evidence
from ecgtune.reporting.pages import folder_facts, inline_figure, render, shown_folder
from ecgtune.reporting.style import INK, QUIET, draw, heading, method_colours
from ecgtune.reporting.wording import metric_titles
from ecgtune.utils.files import replace_folder, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ANSWER, NEXT, REPORT = "answer.md", "next.md", "report.html"
_ROW = 0.34  # inches of a candidate


def write_auto(out: Path, facts: Mapping[str, Any]) -> Path:
    """Write the documents of a finished auto into its folder; return the path of the answer.

    facts: values of the templates `auto-*.j2`. Raises RunError when the folder cannot be written.
    """
    candidates, curve = facts["candidates"], facts["curve"]

    def figures(folder: Path) -> None:
        write_candidates(folder / "candidates.svg", candidates, facts["choice"]["members"])
        if curve["points"]:
            write_learning_curve(folder / "curve.svg", curve)

    replace_folder(out / "figures", figures)
    write_auto_report(out, facts)
    values = {**facts, "metric_titles": metric_titles(facts["metrics"])}
    for template, name in (("auto-next.md.j2", NEXT), ("auto-answer.md.j2", ANSWER)):
        write_text(out / name, render(template, values))
    return out / ANSWER


def write_auto_report(out: Path, facts: Mapping[str, Any]) -> None:
    """Write the report alone, with the cases that are in the folder of the tested run, `facts["run"]`."""
    run = facts["run"]
    values = {
        **facts,
        **folder_facts(out),
        "cases": case_facts(run, read_evidence(run).cases),
        "picture": inline_figure,
        "metric_titles": metric_titles(facts["metrics"]),
        "report_command": f"ecgtune report {shown_folder(run)}",
    }
    write_text(out / REPORT, render("auto.html.j2", values))


def write_candidates(
    path: Path, rows: Sequence[Mapping[str, Any]], chosen: Collection[str], *, png: bool = False
) -> list[Path]:
    """Plot the validation AUROC of each candidate with its interval, the best on top; return the files."""
    colours = method_colours([row["method"] for row in rows])

    def paint(figure: Figure) -> None:
        heading(figure, "Candidates on validation: AUROC, 95 % interval")
        axes = figure.subplots()
        for place, row in enumerate(rows):
            at, colour = len(rows) - place, colours[row["method"]]
            axes.plot([row["ci_low"], row["ci_high"]], [at, at], color=colour, lw=2)
            taken = row["name"] in chosen
            axes.plot(row["score"], at, "o", ms=8, color=colour if taken else "white", mec=colour, mew=2)
        labels = [f"{row['title']}{', chosen' if row['name'] in chosen else ''}" for row in rows]
        axes.set_yticks([len(rows) - place for place in range(len(rows))], labels, color=INK)
        axes.set_ylim(0.4, len(rows) + 0.6)
        axes.grid(axis="y", visible=False)

    return draw(path, (7.6, 1.0 + _ROW * len(rows)), paint, png=png)


def write_learning_curve(path: Path, curve: Mapping[str, Any], *, png: bool = False) -> list[Path]:
    """Plot a learning curve over training windows, with its extrapolation; return the files."""
    colour = method_colours(["probe"])["probe"]

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import NullFormatter, NullLocator

        heading(figure, "Learning curve of the probe: validation AUROC, 95 % interval")
        axes = figure.subplots()
        measured, further = curve["points"], curve["extrapolated"]
        for points, dashes, face in ((measured, "-", colour), ([measured[-1], *further], "--", "white")):
            sizes = [point["windows"] for point in points]
            low, high = ([point[end] for point in points] for end in ("ci_low", "ci_high"))
            axes.fill_between(sizes, low, high, color=colour, alpha=0.12 if dashes == "-" else 0.06, lw=0)
            axes.plot(sizes, [point["score"] for point in points], dashes, color=colour, lw=2, zorder=2)
            shown = points if dashes == "-" else points[1:]
            axes.plot([p["windows"] for p in shown], [p["score"] for p in shown], "o", color=face, mec=colour, mew=1.8)
        axes.set_xscale("log")
        sizes = [point["windows"] for point in (*measured, *further)]
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("Training windows (open points: extrapolated)", color=QUIET)

    return draw(path, (7.6, 3.4), paint, png=png)

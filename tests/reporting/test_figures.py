"""The eleven figures of a comparison and the two of a run."""

from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from ecgtune.reporting import figures
from ecgtune.reporting.figures import write_comparison_figures, write_run_figures
from ecgtune.reporting.folders import read_comparison, read_run
from ecgtune.reporting.style import METHOD_COLOURS, draw, method_colours

FIGURES = {
    f"{name}-{kind}.svg" for name in ("full", "adapter", "lora", "probe") for kind in ("curves", "confusion")
} | {
    "methods.svg",
    "costs.svg",
    "differences.svg",
}


def texts(file):
    return [" ".join(node.itertext()).strip() for node in ElementTree.parse(file).iter() if node.tag.endswith("}text")]


def test_four_methods_make_eleven_figures(written):
    assert {file.name for file in (written / "figures").iterdir()} == FIGURES


def test_figures_say_what_they_show(written):
    folder = written / "figures"
    curves = texts(folder / "lora-curves.svg")
    assert {"LoRA r16, all linear layers", "validation", "training", "checkpoint epoch", "single seeds (2)"} <= set(
        curves
    )
    confusion = texts(folder / "full-confusion.svg")
    runs = [read_run(written / f"full/seed-{seed}") for seed in (0, 1)]
    total = np.sum([run.metrics["window"]["confusion"] for run in runs], axis=0)
    assert {str(number) for number in total.ravel()} <= set(confusion)
    assert {"Test windows, sum of 2 seeds", "sinus rhythm", "fibrillation"} <= set(confusion)
    assert f"{total[0, 0] / total[0].sum():.1%}" in confusion
    # The majority class has no precision: said, not drawn as 0.
    assert texts(folder / "methods.svg").count("n/a") == 1
    scatter = texts(folder / "costs.svg")
    results = read_comparison(written).results
    row = results["rows"][0]
    assert f"Full fine-tuning: {row['metrics']['accuracy']['mean']:.3f}" in scatter
    assert {"Majority class: 0.500", "Trained weights, % of the model", "Training time"} <= set(scatter)
    forest = texts(folder / "differences.svg")
    assert {row["title"] for row in results["rows"] if row["method"] not in ("full", "majority")} <= set(forest)
    assert "Accuracy minus that of full fine-tuning: 95 % interval" in forest


def test_mean_ends_with_the_first_run_and_rings_mark_checkpoint_epochs(written):
    runs = read_comparison(written).runs["lora"]
    axes = Figure().subplots()
    figures._curve_panel(axes, runs, "loss", "red")
    lengths = [len(run.log) for run in runs]
    assert lengths == [8, 7]
    thick = [line for line in axes.lines if line.get_linewidth() == 2 and line.get_linestyle() == "-"]
    expected = np.mean([[entry["val_loss"] for entry in run.log[:7]] for run in runs], axis=0)
    np.testing.assert_allclose(thick[0].get_ydata(), expected)
    rings = [line for line in axes.lines if line.get_marker() == "o"]
    for run, ring in zip(runs, rings, strict=True):
        best = run.metrics["training"]["best_epoch"]
        assert list(ring.get_xdata()) == [best]
        assert list(ring.get_ydata()) == [run.log[best - 1]["val_loss"]]


@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_ticks_are_whole_epochs(written, epochs):
    run = read_comparison(written).runs["lora"][0]
    axes = Figure().subplots()
    figures._curve_panel(axes, [replace(run, log=run.log[:epochs])], "loss", "red")
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_run_figures_and_png(written, tmp_path):
    files = write_run_figures(tmp_path / "lora", read_run(written / "lora/seed-0"), png=True)
    assert sorted(file.name for file in files) == ["confusion.png", "confusion.svg", "curves.png", "curves.svg"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files if file.suffix == ".png")
    baseline = write_run_figures(tmp_path / "majority", read_run(written / "majority/seed-0"))
    assert [file.name for file in baseline] == ["confusion.svg"]


def test_same_numbers_same_files_and_no_trace(written, tmp_path):
    before = dict(matplotlib.rcParams)
    # A reader's own style must not reach the reports.
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "mine"}):
        write_comparison_figures(tmp_path, read_comparison(written))
    for name in FIGURES:
        assert (tmp_path / name).read_bytes() == (written / "figures" / name).read_bytes()
    assert dict(matplotlib.rcParams) == before


def test_dollar_signs_are_text_and_not_formulas(written, tmp_path):
    run = read_run(written / "lora/seed-0")
    files = figures.write_curves(tmp_path / "curves.svg", [run], r"cost $x_1$, \alpha", "red", png=True)
    assert r"cost $x_1$, \alpha" in texts(files[0])
    odd = replace(run, metrics=run.metrics | {"classes": ["$5", "$\\frac"]})
    assert "$\\frac" in texts(figures.write_confusion(tmp_path / "confusion.svg", [odd], "", "red")[0])


def test_nothing_half_drawn_is_left(tmp_path):
    def paint(figure):
        figure.subplots()
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        draw(tmp_path / "broken.svg", (3, 3), paint)
    assert list(tmp_path.iterdir()) == []


def test_colours_are_constant_and_distinct():
    names = ["mine", "lora", "full", "paper-lora"]
    colours = method_colours(names)
    assert colours["lora"] == METHOD_COLOURS["lora"] == method_colours(["lora"])["lora"]
    assert len(set(colours.values())) == len(names)

"""The curves of a pretraining."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from ecgtune.reporting import figures
from ecgtune.reporting.figures import write_pretraining_figures
from ecgtune.reporting.folders import read_pretraining

LEGEND = {"validation", "training", "checkpoint epoch"}


def texts(file):
    return [" ".join(node.itertext()).strip() for node in ElementTree.parse(file).iter() if node.tag.endswith("}text")]


@pytest.mark.parametrize(
    ("name", "drawn", "left_out"),
    [
        ("teacher", {"Loss", "Variance of the teacher", "Variance of predictions"}, {"Masked prediction"}),
        ("rhythm", {"Loss", "Masked prediction", "Rhythm, whole crop", "Rhythm, each token"}, set()),
        ("rhythm-alone", {"Loss", "Rhythm, whole crop"}, {"Masked prediction", "Variance of the teacher"}),
        ("contrastive", {"Contrastive", "Diversity", "Code perplexity", "Masked accuracy", "Segments (CMSC)"}, set()),
    ],
)
def test_every_term_that_was_computed_has_a_panel(pretrained, name, drawn, left_out):
    found = texts(pretrained / name / "figures" / "curves.svg")
    assert drawn | LEGEND | {name, "Learning rate, end of epoch"} <= set(found)
    assert not left_out & set(found)


def test_panels_show_the_log(pretrained):
    run = read_pretraining(pretrained / "teacher")
    run = replace(run, metrics=run.metrics | {"training": run.metrics["training"] | {"best_epoch": 2}})
    axes = Figure().subplots()
    figures._term_panel(axes, run, "target_variance", "red")
    training, validation, ring = axes.lines
    assert training.get_linestyle() == "--"
    np.testing.assert_array_equal(training.get_ydata(), [row["train_target_variance"] for row in run.log])
    np.testing.assert_array_equal(validation.get_ydata(), [row["val_target_variance"] for row in run.log])
    assert list(ring.get_xdata()) == [2]
    assert list(ring.get_ydata()) == [run.log[1]["val_target_variance"]]
    assert ring.get_marker() == "o"


def test_terms_of_tomorrow_and_missing_values(pretrained, tmp_path):
    run = read_pretraining(pretrained / "teacher")
    log = [row | {"train_novelty": 0.5, "val_novelty": None if row["epoch"] == 2 else 0.4} for row in run.log]
    run = replace(run, log=log)
    files = write_pretraining_figures(tmp_path, run, png=True)
    assert [file.name for file in files] == ["curves.svg", "curves.png"]
    assert "novelty" in texts(tmp_path / "curves.svg")
    np.testing.assert_array_equal(figures._curve(run.log, "val_novelty")[1], [0.4, np.nan, 0.4])


def test_one_epoch_has_one_tick(pretrained, tmp_path):
    run = read_pretraining(pretrained / "teacher")
    run = replace(run, log=run.log[:1], metrics=run.metrics | {"training": run.metrics["training"] | {"best_epoch": 1}})
    axes = Figure().subplots()
    figures._term_panel(axes, run, "loss", "red")
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]


def test_same_numbers_same_file(pretrained, tmp_path):
    write_pretraining_figures(tmp_path, read_pretraining(pretrained / "rhythm"))
    assert (tmp_path / "curves.svg").read_bytes() == (pretrained / "rhythm" / "figures" / "curves.svg").read_bytes()

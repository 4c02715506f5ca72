"""`ecgtune explain`: the picture, what it states, and what is refused."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import ecgtune
from ecgtune.errors import SettingError
from ecgtune.io.writing import write_csv
from ecgtune.reporting.ecg_paper import SHADE, Stretch, ecg_paper, stretches
from helpers.cli import refused, run
from helpers.methods import slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    data = ecgtune.simulate(60, seed=1, seconds=3)
    recipe = ecgtune.recipe("probe", epochs=1, batch_size=16)
    ecgtune.fine_tune(data, recipe, model="ecg-fm-tiny-random", out=folder / "run")
    write_csv(ecgtune.simulate(4, seed=2, seconds=3), folder / "new.csv")
    return folder


@pytest.mark.parametrize("by", ["occlusion", "attention-rollout", *slow("integrated-gradients")])
def test_command_writes_the_picture(trained, tmp_path, capsys, by):
    if by == "integrated-gradients":
        pytest.importorskip("captum", reason="pip install ecgtune[explain] installs captum")
    out = tmp_path / "why.svg"
    run("explain", trained / "run", trained / "new.csv", "--sampling-rate", 100, "--by", by, "--out", out, "--quiet")
    text = capsys.readouterr().out
    assert re.search(r"window \d of 4 windows: probability of \S+: 0\.\d{3}, the highest of all windows", text)
    picture = out.read_text(encoding="utf-8")
    ET.fromstring(picture)
    assert f"shaded by {by}" in picture
    assert SHADE in picture
    assert len(picture) < 400_000


def test_class_and_window_are_those_asked_for(trained, tmp_path):
    classes = ecgtune.load_run(trained / "run").classes
    settings = ecgtune.ExplainSettings(target=classes[0], window=2)
    reading = ecgtune.PredictSettings(sampling_rate=100)
    found = ecgtune.explain(trained / "run", trained / "new.csv", settings, reading, out=tmp_path / "x.svg")
    assert (found.label, found.window, found.windows) == (classes[0], 2, 4)
    assert found.values.shape == (1, 300)
    values = [each.value for each in found.stretches]
    assert values == sorted(values, reverse=True)
    with pytest.raises(SettingError, match="window 9: the file has 4 windows, from 0"):
        ecgtune.explain(trained / "run", trained / "new.csv", ecgtune.ExplainSettings(window=9), reading, out="x.svg")


def test_an_amplitude_that_no_ecg_has_is_told(trained, tmp_path, capsys):
    command = ("explain", trained / "run", trained / "new.csv", "--sampling-rate", 100, "--out", tmp_path / "x.svg")
    run(*command, "--unit", "mV")
    assert "note:" not in capsys.readouterr().out
    run(*command, "--unit", "V")
    note = r"^note: new.csv: 3 windows with samples beyond 1 V, which no ECG has"
    assert re.search(note, capsys.readouterr().out, re.MULTILINE)


def test_what_is_refused(trained, tmp_path, capsys):
    out = tmp_path / "x.svg"
    new = (trained / "run", trained / "new.csv", "--sampling-rate", 100, "--out", out)
    assert "allowed" in refused(capsys, "explain", *new, "--target", "XYZ")
    assert "allowed: 0.02 to 2 seconds" in refused(capsys, "explain", *new, "--width", 5)
    assert not out.exists()
    assert "pictures are SVG files" in refused(capsys, "explain", *new[:-1], tmp_path / "x.png")


def test_shades_grow_with_the_value_and_stay_in_their_lead():
    window = np.zeros((2, 500), np.float32)
    marked = [Stretch(0, 1.0, 1.2, 3.0), Stretch(1, 2.0, 2.2, 1.1), Stretch(1, 3.0, 3.2, 0.5)]
    picture = ecg_paper(window, 100, ("I", "II"), "a < b", marked)
    assert picture.count(SHADE) == 3 + 1  # three levels, one level, and below a third none
    assert "a &lt; b" in picture
    assert "25 mm/s" in picture
    assert "10 mm/mV" in picture
    relative = ecg_paper(window, 100, ("I", "II"), "", millivolts=False)
    assert "mm/mV" not in relative
    assert "not in mV" in relative


def test_stretches_cover_the_window_once():
    values = np.zeros((2, 100))
    values[1, 40:50] = 1
    found = stretches(values, 10.0, 1.0)
    assert len(found) == 20
    assert (found[0].lead, found[0].start, found[0].end, found[0].value) == (1, 4.0, 5.0, 1.0)

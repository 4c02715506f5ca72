"""`ecgtune data fingerprint` and `overlap`, and warnings about recordings of the pretraining."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

import ecgtune
from ecgtune.data.beat_prints import beat_prints
from ecgtune.io.beat_prints import PRETRAINING, write_prints
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from helpers.cli import refused, run
from helpers.models import TINY
from helpers.records import write_record
from helpers.settings import loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Windows of 60 recordings, and recordings of which every third is one of them."""
    path = tmp_path_factory.mktemp("overlap")
    data = ecgtune.simulate(60, seed=1, seconds=10, patients=60)
    names = np.array([f"a{number:02}" for number in range(60)])
    np.savez(path / "windows.npz", signal=data.signal, label=data.label, record=names, sampling_rate=100, leads=["II"])
    for number, signal in enumerate(data.signal[::3, 0]):
        write_record(path / "records", f"b{number:02}", 3 * signal[150:][None], rate=100, leads=("II",))
    return path


def test_data_and_fingerprints_of_it_give_the_same_pairs(folder, tmp_path, capsys):
    prints = tmp_path / "records.npz"
    run("data", "fingerprint", folder / "records", "--out", prints, "--names")
    assert "20 recordings, 20 with beats enough" in capsys.readouterr().out
    for second, out in ((folder / "records", "1.csv"), (prints, "2.csv")):
        run("data", "overlap", folder / "windows.npz", second, "--out", tmp_path / out)
    assert "20 of 60 recordings of" in capsys.readouterr().out
    rows = [list(csv.DictReader((tmp_path / name).open(newline=""))) for name in ("1.csv", "2.csv")]
    assert [(row["first"], row["second"]) for row in rows[0]] == [(f"a{3 * n:02}", f"b{n:02}") for n in range(20)]
    assert rows[0] == rows[1]


def test_windows_count_as_their_recording(folder, tmp_path, capsys):
    with np.load(folder / "windows.npz") as arrays:
        parts = np.concatenate([arrays["signal"][..., :800], arrays["signal"][..., 200:]])
        np.savez(
            tmp_path / "parts.npz", signal=parts, label=np.tile(arrays["label"], 2),
            record=np.tile(arrays["record"], 2), sampling_rate=100, leads=["II"],
        )  # fmt: skip
    run("data", "overlap", tmp_path / "parts.npz", folder / "records", "--out", tmp_path / "pairs.csv")
    assert "20 of 60 recordings of" in capsys.readouterr().out
    pairs = [(row["first"], row["second"]) for row in csv.DictReader((tmp_path / "pairs.csv").open(newline=""))]
    assert sorted(pairs) == sorted(set(pairs))


def test_names_are_left_out_unless_they_are_asked_for(folder, tmp_path):
    run("data", "fingerprint", folder / "records", "--out", tmp_path / "prints.npz")
    with np.load(tmp_path / "prints.npz") as stored:
        assert stored["name"].tolist() == [str(number) for number in range(20)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fingerprint", "missing.npz", "--out", "x.npz"), "missing.npz"),
        (("fingerprint", "WINDOWS", "--out", "x.npz", "--lead", "V1"), "has no lead V1"),
        (("overlap", "WINDOWS", "DAMAGED"), "cannot be read"),
        (("overlap", "WINDOWS", "names.npz"), "name has shape (1,)"),
        (("overlap", "WINDOWS", "negative.npz"), "a recording has fewer than 0 beats"),
    ],
)
def test_what_cannot_be_read_is_refused(folder, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    np.savez("damaged.npz", ecgtune_beat_prints=np.array(1))
    whole = vars(beat_prints(list(np.zeros((2, 600))), 100.0)) | {"ecgtune_beat_prints": np.array(1)}
    np.savez("names.npz", **whole | {"name": np.array(["a"])})
    np.savez("negative.npz", **whole | {"count": np.array([3, -3], np.int32)})
    places = {"WINDOWS": folder / "windows.npz", "DAMAGED": "damaged.npz"}
    assert message in refused(capsys, "data", *(places.get(word, word) for word in words))
    assert not (tmp_path / "x.npz").exists()


def test_a_file_that_fills_the_memory_is_refused(folder, tmp_path, capsys):
    arrays = {"ecgtune_beat_prints": np.array(1), "count": np.zeros(20_000_000, np.int32)}
    np.savez_compressed(tmp_path / "bomb.npz", **arrays)
    assert "far more than it holds" in refused(capsys, "data", "overlap", folder / "windows.npz", tmp_path / "bomb.npz")


def test_training_warns_of_test_recordings_that_were_pretrained_on(folder, tmp_path):
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_encoder(EcgFM(replace(TINY, depth=1)), encoder, {})
    data = ecgtune.read_dataset(folder / "windows.npz")
    settings = loop(epochs=1, batch_size=16, device="cpu", precision="fp32")
    recipe = ecgtune.Recipe(method=ecgtune.LinearProbe(), **settings._asdict())
    warnings = []
    for seen in (False, True):
        if seen:
            write_prints(encoder / PRETRAINING, beat_prints(list(data.signal[:, 0]), 100.0))
        model = ecgtune.load_model(encoder, classes=data.classes)
        made = ecgtune.fine_tune(data, recipe, model=model, out=tmp_path / f"run-{seen}")
        warnings.append([text for text in made.metrics["split"]["warnings"] if "was pretrained on" in text])
    tests = made.metrics["split"]["counts"]["test"]["windows"]
    assert warnings[0] == []
    assert f"{tests} of {tests} test records have the beats of a recording that encoder was" in warnings[1][0]


def test_the_bundled_encoder_has_its_fingerprints_and_no_names():
    from ecgtune.io.beat_prints import read_prints
    from ecgtune.workflows.overlap import pretraining_file

    file = pretraining_file(ecgtune.load_model("ecg-fm-tiny", classes=("N", "AF")))
    prints = read_prints(file)
    assert len(prints) == 6021
    assert not np.char.str_len(prints.name).any()
    assert file.stat().st_size < 1_000_000
    assert pretraining_file(ecgtune.load_model("ecg-fm-tiny-random", classes=("N", "AF"))) is None

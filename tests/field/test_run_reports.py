"""Saving, loading, resuming and predicting as people reported it, and what they expect of a run folder.

Each test names the reports, `owner/repository#number` on GitHub, before what it checks.
"""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import ecgtune
from ecgtune.errors import CheckpointError, EcgtuneError, RunError
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.models.loading import load_model
from ecgtune.training.predictions import read_predictions
from ecgtune.training.run_folder import RunFolder
from helpers.models import TINY
from helpers.records import heartbeats, write_record
from helpers.settings import loop
from helpers.training import SETTINGS, check_resume, run

SHORT = loop(epochs=1, batch_size=8, device="cpu")
COUNT = 16
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 120128\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Recordings of two leads, 4 s at 200 Hz, a table of them in the reverse order, a tiny encoder and a run."""
    path = tmp_path_factory.mktemp("field")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGTUNE_CACHE", str(path / "cache"))
        for number, signal in enumerate(heartbeats(2 * COUNT, seconds=4).reshape(COUNT, 2, -1)):
            write_record(path / "records", f"r{number:02}", signal, leads=("I", "II"))
        lines = [f"r{number:02},{'AF' if number % 2 else 'N'}" for number in reversed(range(COUNT))]
        (path / "labels.csv").write_text("\n".join(["record,label", *lines]) + "\n")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            save_encoder(EcgFM(TINY), path / "encoder", {})
        settings = ecgtune.RecordSettings(sampling_rate=100, leads=("II",), window=2)
        data = ecgtune.read_records(path / "labels.csv", path / "records", settings=settings)
        tune(path, data, path / "run")
    return path, data


def tune(path: Path, data, out: Path, *, resume: bool = False, **settings):
    model = load_model(path / "encoder", classes=data.classes, head=ecgtune.Head(dropout=0.5))
    method = ecgtune.LoRA(rank=2, dropout=0.5)
    recipe = ecgtune.Recipe(method=method, **loop(SHORT, **settings)._asdict())
    return ecgtune.fine_tune(data, recipe, model=model, out=out, resume=resume)


def answers(run_folder, data, tmp_path, **settings) -> list[dict[str, str]]:
    ecgtune.predict(run_folder, data, ecgtune.PredictSettings(**settings), out=tmp_path / "out")
    with (tmp_path / "out" / "recordings.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def probability(rows: list[dict[str, str]]) -> list[float]:
    return [float(next(value for name, value in row.items() if name.startswith("probability"))) for row in rows]


@pytest.mark.parametrize("moved", [False, True], ids=["in place", "moved"])
def test_a_loaded_run_gives_the_stored_answers(place, tmp_path, monkeypatch, moved):
    """huggingface/peft#310, #577, #2001, sentence-transformers#3980: head and adapter come back, from any folder."""
    path, data = place
    folder = path / "run"
    if moved:
        folder = shutil.copytree(folder, tmp_path / "elsewhere" / "run")
        monkeypatch.chdir(tmp_path)
    stored = read_predictions(folder / "predictions.csv")
    again = ecgtune.load_run(folder).predict(data.signal[stored.row])
    np.testing.assert_allclose(again[:, 1], stored.probability, rtol=0, atol=1e-6)


def test_an_encoder_that_has_moved_is_asked_for_by_its_path(place, tmp_path):
    """huggingface/transformers#43760: a run whose encoder is gone names the path; no other encoder is taken."""
    path, _ = place
    folder = shutil.copytree(path / "run", tmp_path / "run")
    saved = (folder / "best" / "model.json").read_text()
    assert str(path / "encoder") in saved
    (folder / "best" / "model.json").write_text(saved.replace(str(path / "encoder"), str(tmp_path / "gone")))
    with pytest.raises(CheckpointError, match=f"put it back at {tmp_path / 'gone'}"):
        ecgtune.load_run(folder)


def test_dropout_is_off_in_predictions(place):
    """ipolharvard/ethos-ares#20, chemprop/chemprop#185: the same window has the same answer every time."""
    path, data = place
    loaded = ecgtune.load_run(path / "run")
    assert np.array_equal(loaded.predict(data.signal), loaded.predict(data.signal))


@pytest.mark.parametrize("file", ["head.safetensors", "adapter_model.safetensors"])
def test_weights_that_are_git_lfs_pointers(place, tmp_path, file):
    """huggingface/diffusers#13559: a pointer in the place of weights is called a Git LFS pointer."""
    folder = shutil.copytree(place[0] / "run", tmp_path / "run")
    (folder / "best" / file).write_text(POINTER)
    with pytest.raises(EcgtuneError, match="Git LFS"):
        ecgtune.load_run(folder)


def test_a_checkpoint_that_is_a_git_lfs_pointer(tmp_path):
    """MIT-REALM/neural_clbf#13: so it is in the place of a checkpoint."""
    (tmp_path / "model.pt").write_text(POINTER)
    with pytest.raises(EcgtuneError, match="Git LFS"):
        load_model(tmp_path / "model.pt")


def test_an_encoder_goes_on_with_other_classes(place):
    """open-mmlab/mmdetection#6533: a new task with more classes gets a new head, and the encoder its weights."""
    encoder = load_model(place[0] / "encoder", classes=("AF", "N", "O"))
    assert encoder.classes == ("AF", "N", "O")
    assert encoder(torch.zeros(2, 1, 200)).shape == (2, 3)


def test_a_finished_run_is_not_overwritten(place):
    """mravanelli/pytorch-kaldi#204, TuragaLab/DECODE#110: training again into a finished folder changes nothing."""
    path, data = place
    before = {file: file.read_bytes() for file in (path / "run").rglob("*") if file.is_file()}
    with pytest.raises(RunError, match="--resume"):
        tune(path, data, path / "run")
    tune(path, data, path / "run", resume=True)
    assert {file: file.read_bytes() for file in (path / "run").rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"batch_size": 4}, "batch_size"), ({"epochs": 3}, "epochs"), ({"learning_rate": 1e-4}, "learning_rate")],
)
def test_a_resume_with_another_setting_names_it(place, settings, named):
    """huggingface/transformers#21271, dnouri/nolearn#214: a resumed run has the settings that it began with."""
    path, data = place
    with pytest.raises(RunError, match=named):
        tune(path, data, path / "run", resume=True, **settings)


RESUMED = {
    "Lightning-AI/pytorch-lightning#5325": (8, {}),  # within an epoch: its other steps are done, none is skipped
    "huggingface/accelerate#2016": (6, {}),  # at the end of an epoch: the order of the windows goes on
    "Lightning-AI/pytorch-lightning#4655": (3, {}),  # so does the learning rate
    "Lightning-AI/pytorch-lightning#18727": (9, {"patience": 1}),  # and the best value so far
}


@pytest.mark.parametrize(("stop_after", "settings"), RESUMED.values(), ids=RESUMED.keys())
def test_a_resumed_training_ends_where_the_whole_one_does(stop_after, settings, tmp_path):
    """A training that was stopped ends on the same weights, log and best epoch, to the bit."""
    check_resume(tmp_path, settings=loop(SETTINGS, epochs=2, **settings), stop_after=stop_after)


def test_a_damaged_state_is_told(tmp_path):
    """huggingface/accelerate#4283: a state that cannot be restored ends the resume; it does not go on without it."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_after=9)
    state = RunFolder(tmp_path).state
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(EcgtuneError, match=r"state\.pt"):
        run(tmp_path)


def test_answers_are_in_the_order_of_the_table(place, tmp_path):
    """fastai/fastai#975, facebookresearch/mmf#586: one row per recording, in the order that was given, by name."""
    path, _ = place
    rows = answers(path / "run", path / "labels.csv", tmp_path, records=path / "records")
    assert [row["recording"] for row in rows] == [f"r{number:02}" for number in reversed(range(COUNT))]


def test_the_columns_name_the_class(place, tmp_path):
    """NickLJLee/ECGFounder#1, Edoar-do/HuBERT-ECG#2: a probability says of which class it is."""
    path, _ = place
    names = answers(path / "run", path / "records", tmp_path)[0]
    assert any(name in ("probability_AF", "probability_N") for name in names)


def test_windows_of_a_recording_are_pooled(place, tmp_path):
    """bowang-lab/ecg-fm#15: each recording has one answer, the mean over its windows."""
    path, _ = place
    rows = answers(path / "run", path / "records", tmp_path)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        windows = list(csv.DictReader(file))
    assert len(rows) == COUNT
    assert len(windows) == 2 * COUNT
    means = np.reshape(probability(windows), (COUNT, 2)).mean(axis=1)
    np.testing.assert_allclose(probability(rows), means, atol=1e-12)


@pytest.mark.parametrize("rate", [100, 400])
def test_another_rate_is_resampled(place, tmp_path, rate):
    """ispras/EcgLib#11: a recording at another rate has the answer of the same heart at the run's rate."""
    path, _ = place
    signal = heartbeats(2, seconds=4, rate=400)
    write_record(tmp_path / "a", "x", signal, rate=400, leads=("I", "II"))
    write_record(tmp_path / "b", "x", signal[:, :: 400 // rate], rate=rate, leads=("I", "II"))
    one, other = (probability(answers(path / "run", tmp_path / name, tmp_path)) for name in ("a", "b"))
    assert one == pytest.approx(other, abs=0.02)


def test_another_unit_is_converted(place, tmp_path):
    """bdsp-core/ecg_respiration_sleep_staging#4: the same signal in microvolts has the same answer."""
    path, _ = place
    signal = heartbeats(1, seconds=4)
    for name, factor, unit in (("mv", 1, "mV"), ("uv", 1000, "uV")):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "x.npz", signal=signal * factor, sampling_rate=200, unit=unit, leads=["II"])
    one, other = (probability(answers(path / "run", tmp_path / name, tmp_path)) for name in ("mv", "uv"))
    assert one == pytest.approx(other, abs=1e-5)


def test_a_recording_without_the_lead_is_not_answered_from_zeros(place, tmp_path):
    """Edoar-do/HuBERT-ECG#4: with a lead missing there is no answer, and the lead is named."""
    path, _ = place
    write_record(tmp_path / "records", "x", heartbeats(1, seconds=4), leads=("V1",))
    with pytest.raises(EcgtuneError, match=r"II"):
        answers(path / "run", tmp_path / "records", tmp_path)


def test_a_record_cut_short_stops_no_other(place, tmp_path):
    """bowang-lab/ecg-fm#16: a record that lost bytes on its way is listed with the reason; the others are answered."""
    path, _ = place
    records = shutil.copytree(path / "records", tmp_path / "records")
    whole = (records / "r03.dat").read_bytes()
    (records / "r03.dat").write_bytes(whole[:1001])
    rows = answers(path / "run", records, tmp_path, max_skipped=0.5)
    assert [row["recording"] for row in rows] == [f"r{number:02}" for number in range(COUNT) if number != 3]
    with (tmp_path / "out" / "skipped.csv").open(newline="") as file:
        (skipped,) = csv.DictReader(file)
    assert skipped["recording"] == "r03"
    assert "cut short" in skipped["reason"]

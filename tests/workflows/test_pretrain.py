"""`pretrain` as a user calls it: the run folder, its encoder in use, resume, bad input."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ecgtune
from ecgtune.errors import CheckpointError, DataError, RunError, SettingError
from ecgtune.recipes.pretraining import load_pretraining_recipe, pretraining_text
from ecgtune.reporting.writing import card_is_edited, write_pretraining
from ecgtune.training.run_folder import RunFolder
from helpers.pretraining import CONTRASTIVE, RHYTHM, RHYTHM_ALONE, TEACHER, beats, write_recordings
from helpers.settings import changed, loop
from helpers.training import stopped_in_the_second_epoch

workflow = import_module("ecgtune.workflows.pretrain")  # the package has a function of that name


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with recordings, windows that hold two of them out, and a finished pretraining."""
    folder = tmp_path_factory.mktemp("pretrain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGTUNE_CACHE", str(folder / "cache"))
        signals = [beats(20, 100, seed) for seed in range(10)] + [np.zeros(2000, np.int16), beats(1, 100, 0)]
        write_recordings(folder / "recordings.npz", signals)
        np.savez(folder / "windows.npz", record=["R01", "R02", "R03"], split=["val", "train", "test"])
        ecgtune.pretrain(
            folder / "recordings.npz",
            TEACHER,
            ecgtune.PretrainSettings(leave_out=folder / "windows.npz", export_float16=True),
            out=folder / "run",
        )
    return folder


@pytest.fixture(autouse=True)
def _own_cache(place, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(place / "cache"))


def pretrain(place, recipe, name, *, seed=0, resume=False, **others):
    settings = ecgtune.PretrainSettings(**({"leave_out": place / "windows.npz"} | others))
    file, out = place / "recordings.npz", place / name
    return ecgtune.pretrain(file, recipe, settings, out=out, seed=seed, resume=resume)


def test_the_run_folder_tells_everything(place):
    run = place / "run"
    assert {path.name for path in run.iterdir()} == {
        "recipe.toml", "environment.json", "recordings.csv", "log.jsonl", "best", "float16", "metrics.json", "figures",
        "README.md", "report.html",
    }  # fmt: skip
    assert load_pretraining_recipe(str(run / "recipe.toml")) == TEACHER
    use = {row["record"]: row["use"] for row in csv.DictReader((run / "recordings.csv").open())}
    assert use["R01"] == use["R03"] == "left_out"
    assert (use["R10"], use["R11"]) == ("flat", "short")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["data"]["recordings"] == {"train": 6, "val": 2, "left_out": 2, "short": 1, "flat": 1, "clipped": 0}
    assert metrics["data"]["crops_per_epoch"] == 60
    assert metrics["training"]["steps"] == 12
    file = {"name": "recordings.npz", "sha256": hashlib.sha256((place / "recordings.npz").read_bytes()).hexdigest()}
    assert metrics["data"]["files"] == [file]
    environment = json.loads((run / "environment.json").read_text())
    assert environment["processes"] == 1
    assert environment["versions"]["neurokit2"] == version("neurokit2")
    assert len((run / "log.jsonl").read_text().splitlines()) == 3
    model = json.loads((run / "best" / "model.json").read_text())
    assert model["pretraining"]["objective"] == str(TEACHER.objective)
    assert metrics["weights"] == f"pretrained (sha256 {model['sha256'][:8]}...)"


def test_the_encoder_is_a_model_like_any_other(place, tmp_path):
    model = ecgtune.load_model(place / "run" / "best")
    assert model.weights.describe().startswith("pretrained (sha256 ")
    training = loop(epochs=2, batch_size=32, device="cpu")
    data = ecgtune.simulate(60, seed=1, seconds=3)
    run = ecgtune.fine_tune(
        data,
        ecgtune.Recipe(method=ecgtune.LoRA(rank=2), **training._asdict()),
        model=model,
        out=tmp_path / "r",
    )
    assert run.metrics["weights"] == model.weights.describe()
    assert ecgtune.load_run(run.folder).predict(ecgtune.simulate(4, seed=2, seconds=3).signal).shape == (4, 2)


def test_float16_is_half_the_file_and_nearly_the_same_encoder(place):
    full, half = place / "run" / "best", place / "run" / "float16"
    stored = load_file(half / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    for name, tensor in load_file(full / "model.safetensors").items():
        assert torch.equal(stored[name], tensor.half()), name
    signal = torch.randn(2, 1, 400)
    one, two = (ecgtune.load_model(folder).eval() for folder in (full, half))
    assert {parameter.dtype for parameter in two.parameters()} == {torch.float32}
    torch.testing.assert_close(two.encode(signal)[0], one.encode(signal)[0], rtol=0, atol=2e-2)


@pytest.mark.parametrize("missing", ["report.html", "README.md"])
def test_report_or_card_alone_is_written_when_it_is_missing(place, missing):
    run = Path(shutil.copytree(place / "run", place / f"without-{missing}"))
    (run / missing).unlink()
    (run / "last").mkdir()
    (run / "last/state.pt").touch()  # of a process that was killed after its results
    pretrain(place, TEACHER, run.name, resume=True)
    assert (run / missing).is_file()
    assert not (run / "last").exists()


def test_report_and_card_are_written_when_they_are_missing_or_float16_is_new(place):
    run = Path(shutil.copytree(place / "run", place / "again"))
    shutil.rmtree(run / "float16")
    for file in (run / "report.html", run / "README.md"):
        file.unlink()
    pretrain(place, TEACHER, "again", resume=True)
    assert not (run / "float16").exists()
    assert "float16/" not in (run / "README.md").read_text()
    pretrain(place, TEACHER, "again", resume=True, export_float16=True)
    half = json.loads((run / "float16" / "model.json").read_text())["sha256"]
    assert half == json.loads((place / "run" / "float16" / "model.json").read_text())["sha256"]
    assert half in (run / "README.md").read_text()
    assert half in (run / "report.html").read_text()


def test_a_card_that_someone_has_edited_is_kept_and_that_is_said(place, caplog):
    caplog.set_level("INFO", "ecgtune")
    run = Path(shutil.copytree(place / "run", place / "edited"))
    shutil.rmtree(run / "float16")
    (run / "README.md").write_text("completed by someone")
    pretrain(place, TEACHER, "edited", resume=True)
    pretrain(place, TEACHER, "edited", resume=True, export_float16=True)
    assert "README.md was edited and is not replaced" in caplog.text
    assert (run / "README.md").read_text() == "completed by someone"
    assert json.loads((run / "float16" / "model.json").read_text())["sha256"] in (run / "report.html").read_text()
    (run / "report.html").unlink()
    pretrain(place, TEACHER, "edited", resume=True)
    assert (run / "README.md").read_text() == "completed by someone"


def test_a_card_is_not_edited_because_it_is_looked_at_from_elsewhere(place, monkeypatch):
    assert not card_is_edited(place / "run")
    monkeypatch.chdir(place)
    assert not card_is_edited("run")
    write_pretraining("run")
    card = place / "run" / "README.md"
    monkeypatch.chdir(place.parent)
    assert not card_is_edited(place / "run")
    text = card.read_text()
    card.write_text(text.replace("Intended use and users: ______", "Intended use: tests"))
    assert card_is_edited(place / "run")
    card.write_bytes(b"\xff")
    assert card_is_edited(place / "run")
    card.write_text(text)


def test_a_report_that_was_interrupted_is_written_later(place, monkeypatch):
    run = Path(shutil.copytree(place / "run", place / "interrupted"))
    shutil.rmtree(run / "float16")
    with monkeypatch.context() as patch:
        patch.setattr(workflow, "write_pretraining", lambda folder, card: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pretrain(place, TEACHER, "interrupted", resume=True, export_float16=True)
    pretrain(place, TEACHER, "interrupted", resume=True)
    assert "float16/" in (run / "README.md").read_text()


def test_a_stopped_run_goes_on_and_a_finished_one_is_left_alone(place):
    best = (place / "run" / "best" / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match="--resume"):
        pretrain(place, TEACHER, "run")
    pretrain(place, TEACHER, "run", resume=True)
    assert (place / "run" / "best" / "model.safetensors").read_bytes() == best
    with stopped_in_the_second_epoch():
        pretrain(place, TEACHER, "stopped")
    assert RunFolder(place / "stopped").state.is_file()
    pretrain(place, TEACHER, "stopped", resume=True)
    assert (place / "stopped" / "best" / "model.safetensors").read_bytes() == best
    assert not RunFolder(place / "stopped").state.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe": CONTRASTIVE}, "objective was data2vec, now contrastive"),
        ({"recipe": replace(TEACHER, objective=replace(TEACHER.objective, masks=3))}, "objective.masks was 2, now 3"),
        ({"recipe": replace(TEACHER, encoder=replace(TEACHER.encoder, depth=1))}, "encoder.depth was 2, now 1"),
        ({"recipe": replace(TEACHER, crops=replace(TEACHER.crops, noise=0.0))}, "crops.noise was 0.1, now 0.0"),
        (
            {"recipe": replace(TEACHER, optimisation=replace(TEACHER.optimisation, epochs=9))},
            "optimisation.epochs was 3, now 9",
        ),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"leave_out": None}, "left_out was 2 names .*, now none"),
        ({"sampling_rate": 100.0}, "recorded_at was None, now 100.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_recipe_refuses_to_resume_and_names_the_field(place, change, said):
    arguments = {"recipe": TEACHER, "resume": True} | change
    with pytest.raises(RunError, match=said):
        pretrain(place, arguments.pop("recipe"), "run", **arguments)


def test_a_pretraining_of_auto_does_not_go_on_in_another_format(place, monkeypatch):
    auto = replace(
        TEACHER,
        optimisation=replace(TEACHER.optimisation, epochs=1),
        trainer=replace(TEACHER.trainer, precision="auto"),
    )
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
    pretrain(place, auto, "auto")
    pretrain(place, auto, "auto", resume=True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    with pytest.raises(RunError, match="auto_precision was fp32, now bf16"):
        pretrain(place, auto, "auto", resume=True)


def test_a_misspelt_folder_is_not_resumed_from_the_start(place):
    with pytest.raises(RunError, match="holds no run to continue; leave --resume out"):
        pretrain(place, TEACHER, "rum", resume=True)
    assert not (place / "rum").exists()


def test_the_two_kinds_of_run_do_not_mix(place, tmp_path):
    with pytest.raises(RunError, match=r"holds a pretraining.*--model"):
        ecgtune.load_run(place / "run")
    with pytest.raises(CheckpointError, match=r"its encoder is .*best"):
        ecgtune.load_model(place / "run")
    data = ecgtune.simulate(60, seed=1, seconds=3)
    training = loop(epochs=2, device="cpu")
    probe = ecgtune.LinearProbe()
    model = ecgtune.load_model("ecg-fm-tiny")
    with pytest.raises(RunError, match="holds a pretraining"):
        ecgtune.fine_tune(
            data,
            ecgtune.Recipe(method=probe, **training._asdict()),
            model=model,
            out=place / "run",
            resume=True,
        )
    model = ecgtune.load_model("ecg-fm-tiny")
    ecgtune.fine_tune(data, ecgtune.Recipe(method=probe, **training._asdict()), model=model, out=tmp_path / "probe")
    with pytest.raises(RunError, match="holds a fine-tuning"):
        ecgtune.pretrain(place / "recordings.npz", TEACHER, out=tmp_path / "probe", resume=True)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"leave_out": "nowhere.npz"}, DataError, "nowhere.npz"),
        ({"sampling_rate": 300.0}, DataError, "is 100 Hz, but --sampling-rate says 300"),
        ({"leads": ("V1",)}, DataError, r"has no lead V1, its leads are II; name those \(--leads\)"),
        ({"leads": ("II", "ii")}, SettingError, "leads has II, II; name each lead once"),
        ({"leads": ()}, SettingError, "leads are empty"),
        ({"recipe": replace(TEACHER, crops=replace(TEACHER.crops, window_seconds=60.0))}, DataError, "10 short"),
        (
            {"recipe": replace(TEACHER, optimisation=replace(TEACHER.optimisation, epochs=1, batch_size=512))},
            SettingError,
            "step",
        ),
        ({"recipe": replace(TEACHER, encoder=replace(TEACHER.encoder, heads=3))}, SettingError, "3 heads"),
    ],
    ids=["leave_out", "rate", "no lead", "twice", "none", "too long", "one step", "heads"],
)
def test_bad_input_leaves_no_folder(place, change, error, said):
    arguments = {"recipe": TEACHER} | change
    with pytest.raises(error, match=said):
        pretrain(place, arguments.pop("recipe"), "never", **arguments)
    assert not (place / "never").exists()


def test_rhythm_without_a_beat_detector_leaves_no_folder(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "neurokit2", None)
    with pytest.raises(SettingError, match=r"pip install 'ecgtune\[pretrain\]'"):
        pretrain(place, RHYTHM, "never")
    assert not (place / "never").exists()


def test_leaving_out_recordings_of_another_database(place, tmp_path):
    np.savez(tmp_path / "windows.npz", record=["X1"], split=["val"])
    with pytest.raises(DataError, match="none of its recordings"):
        pretrain(place, TEACHER, "never", leave_out=tmp_path / "windows.npz")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [RHYTHM, TEACHER, CONTRASTIVE, RHYTHM_ALONE], ids=lambda recipe: recipe.name)
def test_two_processes_end_where_one_with_two_pieces_does(place, tmp_path, recipe):
    settings = replace(recipe, optimisation=replace(recipe.optimisation, epochs=2, optimizer="adam", weight_decay=0.0))
    (tmp_path / "two.toml").write_text(pretraining_text(settings))
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
            "-m", "ecgtune.cli.main",
            "pretrain", str(place / "recordings.npz"), "--recipe", str(tmp_path / "two.toml"),
            "--out", str(tmp_path / "two"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("epoch 1/2") == 1
    environment = json.loads((tmp_path / "two" / "environment.json").read_text())
    assert environment["processes"] == 2
    assert environment["command"].startswith("torchrun --nproc-per-node 2 -m ecgtune.cli.main pretrain ")
    assert (tmp_path / "two" / "report.html").is_file()
    one = changed(settings, gradient_accumulation_steps=2)
    ecgtune.pretrain(place / "recordings.npz", one, out=tmp_path / "one")
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for ours, theirs in zip(*logs, strict=True):
        del ours["seconds"], theirs["seconds"]
        assert theirs == pytest.approx(ours, rel=1e-3)


def test_a_disk_without_room_is_told_before_anything_is_written(place, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**5))
    with pytest.raises(RunError, match=r"its disk has 100 kB free, but about [\d.]+ [kM]B are needed"):
        pretrain(place, TEACHER, "full-disk")
    assert not (place / "full-disk").exists()

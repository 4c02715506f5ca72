"""Parts of a recipe through a whole run: its folder, its numbers, and back from the folder alone."""

import json
from dataclasses import replace

import numpy as np
import pytest

import ecgtune
from ecgtune.errors import SettingError
from ecgtune.recipes.recipe import load_recipes
from ecgtune.training.callbacks import ProgressCallback
from ecgtune.training.predictions import read_predictions
from helpers.models import TINY
from helpers.settings import loop

SHORT = loop(epochs=1, batch_size=32, device="cpu")
DATA = ecgtune.simulate(120, seed=1, seconds=3)
PARTS = loop(SHORT, head_epochs=1, head_rate_factor=0.5, drop_path=0.1, ema=0.9)


@pytest.fixture
def fine_tune(encoder):
    def fine_tune(out, method, training=SHORT, pooling="mean", **settings):
        model = ecgtune.load_model(encoder, classes=DATA.classes, head=ecgtune.Head(pooling=pooling))
        recipe = ecgtune.Recipe(method=method, **training._asdict())
        return ecgtune.fine_tune(DATA, recipe, model=model, out=out, **settings)

    return fine_tune


def test_recordings_of_patients_from_training_to_the_report(tmp_path):
    """Every patient has two recordings, one of each label, so only recordings can have one answer."""
    many, label = ecgtune.simulate(200, seed=1, seconds=3), np.tile(np.repeat([0, 1], 3), 20)
    signal = np.empty_like(many.signal[: len(label)])
    for value in (0, 1):
        signal[label == value] = many.signal[many.label == value][:60]
    patient = np.repeat([f"P{number:02}" for number in range(20)], 6)
    recording = np.repeat([f"R{number:02}" for number in range(40)], 3)
    data = replace(DATA, signal=signal, label=label, group=patient, group_name="patient", recording=recording)
    (probe,) = load_recipes("probe")
    probe = replace(probe, **SHORT._asdict())
    ecgtune.compare(data, [probe], ecgtune.CompareSettings(seeds=1), out=tmp_path / "compared")
    run = ecgtune.load_run(tmp_path / "compared" / "probe" / "seed-0")
    test = read_predictions(run.folder / "predictions.csv").of("test")
    assert set(zip(test.group, test.recording, strict=True)) <= set(zip(patient, recording, strict=True))
    group = run.metrics["group"]
    assert (group["of"], group["n"]) == ("recording", len(set(test.recording)))
    majority = json.loads((tmp_path / "compared" / "majority" / "seed-0" / "metrics.json").read_text())
    assert (majority["group"]["of"], majority["group"]["n"]) == ("recording", group["n"])
    (row, *_) = json.loads((tmp_path / "compared" / "results.json").read_text())["rows"]
    assert row["group_metrics"]["auroc"]["mean"] == group["metrics"]["auroc"]["value"]
    for page in (run.folder / "report.html", run.folder / "README.md", tmp_path / "compared" / "report.html"):
        assert "Per recording" in page.read_text()


@pytest.mark.parametrize(
    ("method", "training", "pooling"),
    [
        (ecgtune.LinearProbe(layers="mix"), SHORT, "mean"),
        (ecgtune.LinearProbe(layers="mix"), SHORT, "attention"),
        (ecgtune.LoRA(rank=2), PARTS, "attention"),
        (ecgtune.Full(), loop(PARTS, layer_decay=0.7), "mean"),
    ],
    ids=str,
)
def test_a_loaded_run_predicts_what_the_run_predicted(fine_tune, method, training, pooling, tmp_path):
    run = fine_tune(tmp_path / "run", method, training, pooling)
    stored = read_predictions(run.folder / "predictions.csv")
    again = ecgtune.load_run(run.folder)
    assert np.array_equal(again.predict(DATA.signal[stored.row])[:, 1], stored.probability)
    (recipe,) = load_recipes(str(run.folder / "recipe.toml"))
    assert (recipe.method, recipe.optimisation, recipe.trainer) == (method, *training)
    assert recipe.model.pooling == pooling
    assert run.metrics["training"]["head_epochs"] == training.optimisation.head_epochs
    heads = [path.relative_to(run.folder).as_posix() for path in (run.folder / "head").rglob("*.*")]
    assert sorted(heads) == (
        ["head/best/head.safetensors", "head/log.jsonl"] if training.optimisation.head_epochs else []
    )
    width = TINY.width * (2 if pooling == "mean" else 3) + 2  # the linear layer, and the query
    assert run.metrics["parameters"]["head"] == width
    if isinstance(method, ecgtune.LinearProbe):
        assert run.metrics["parameters"]["method"] == TINY.depth + 1


def test_a_run_stopped_after_its_head_goes_on(fine_tune, tmp_path, monkeypatch):
    whole = fine_tune(tmp_path / "whole", ecgtune.LoRA(rank=2), PARTS)
    steps = iter(range(1000))

    def stop(self, step):
        if next(steps) == 5:  # of 3 steps of the head, then 3 of the method
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ProgressCallback, "on_step_end", stop)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(tmp_path / "stopped", ecgtune.LoRA(rank=2), PARTS)
    resumed = fine_tune(tmp_path / "stopped", ecgtune.LoRA(rank=2), PARTS, resume=True)
    for file in ("predictions.csv", "head/best/head.safetensors"):
        assert (resumed.folder / file).read_bytes() == (whole.folder / file).read_bytes()
    epochs = [json.loads(line) for line in (resumed.folder / "head" / "log.jsonl").read_text().splitlines()]
    assert resumed.metrics["training"]["seconds"] > epochs[0]["seconds"]
    assert not list(resumed.folder.rglob("state.pt"))


@pytest.mark.parametrize(
    ("method", "training", "message"),
    [
        (ecgtune.LinearProbe(), loop(SHORT, head_epochs=1), "head_epochs is 1, but probe already trains only the head"),
        (ecgtune.LoRA(rank=2), loop(SHORT, layer_decay=0.5), "layer_decay is 0.5, but lora"),
        (ecgtune.SideTuning(), loop(SHORT, drop_path=0.5), "drop_path is 0.5, but side"),
    ],
    ids=["head", "decay", "drop"],
)
def test_what_cannot_act_leaves_nothing_behind(fine_tune, method, training, message, tmp_path):
    with pytest.raises(SettingError, match=message):
        fine_tune(tmp_path / "run", method, training)
    assert not (tmp_path / "run").exists()

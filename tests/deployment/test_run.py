"""A finished run in Python: its features, and what it prints."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import ecgtune
from ecgtune.deployment.run import Ensemble
from ecgtune.errors import DataError, SettingError
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from helpers.models import TINY
from helpers.records import heartbeats, write_record

DATA = ecgtune.simulate(60, seed=1, seconds=3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of a probe and of LoRA."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "encoder").mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_encoder(EcgFM(TINY), folder / "encoder", {})
    recipes = {
        name: ecgtune.recipe(
            name, model=str(folder / "encoder"), epochs=2, batch_size=16, device="cpu", precision="fp32"
        )
        for name in ("probe", "lora")
    }
    return {name: ecgtune.fine_tune(DATA, one, out=folder / name) for name, one in recipes.items()}


@pytest.mark.parametrize("name", ["probe", "lora"])
def test_embeddings_are_what_the_head_reads(runs, name):
    run = runs[name]
    features = run.embed(DATA.signal[:5])
    assert (features.shape, features.dtype) == ((5, 3 * TINY.width), np.float32)
    with torch.no_grad():
        probability = run.model.head(torch.from_numpy(features)).softmax(dim=1).numpy()
    np.testing.assert_allclose(probability, run.predict(DATA.signal[:5]), atol=1e-6)


def test_embeddings_have_the_preprocessing_of_the_run(runs):
    faster = np.repeat(DATA.signal[:2], 2, axis=2)
    features = runs["probe"].embed(faster, sampling_rate=200)
    np.testing.assert_allclose(features, runs["probe"].embed(1000 * faster + 3, 200), atol=1e-3)
    with pytest.raises(DataError, match="6 s, but the run was trained on windows of 3 s"):
        runs["probe"].embed(faster)


def test_embeddings_of_a_recording_are_those_of_its_windows(runs, tmp_path):
    run, beats = runs["probe"], heartbeats(1, rate=100, seconds=9).round(3)  # whole steps
    write_record(tmp_path, "rec", beats, rate=100)
    features = run.embed(tmp_path / "rec.hea")
    np.testing.assert_allclose(features, run.embed(beats.reshape(3, 1, -1)), atol=1e-4)
    np.testing.assert_allclose(features, run.embed(beats, leads=["II"]), atol=1e-4)
    with pytest.raises(DataError, match="signal: has none of the leads II, only V1"):
        run.embed(beats, leads=["V1"])


def test_features_of_a_probe_are_those_of_the_encoder(runs):
    same = [run.embed(DATA.signal[:2]) for run in runs.values()]
    assert not np.allclose(*same)
    prepared = torch.from_numpy(runs["probe"].preprocessing(DATA.signal[:2], 100))
    model = ecgtune.load_model(runs["probe"].model.name, head=ecgtune.Head(pooling="statistics"))
    with torch.no_grad():
        np.testing.assert_allclose(same[0], model.eval().pool(*model.encode(prepared)).numpy(), atol=1e-6)


def test_values_print_themselves_in_one_short_line(runs):
    ensemble = ecgtune.load_run([run.folder for run in runs.values()])
    texts = [repr(value) for value in (DATA, ecgtune.split_dataset(DATA), runs["lora"], ensemble)]
    for text in texts:
        assert len(text) < 300
        assert "\n" not in text
        assert "array" not in text
    assert "60 windows of 1 lead and 300 samples at 100 Hz, binary: 0, 1, 7 patients, from simulated" in texts[0]
    assert texts[1] == "Split(train 36, val 14, test 10, by patient)"
    assert "LoRA(rank=3" in texts[2]
    assert f"test accuracy {runs['lora'].metrics['window']['metrics']['accuracy']['value']:.3f}" in texts[2]
    assert all(str(run.folder) in texts[3] for run in runs.values())


def test_runs_that_pool_recordings_differently_are_no_ensemble(runs):
    one = runs["probe"]
    other = replace(one, metrics=one.metrics | {"evaluation": {"recording": "maximum"}})
    with pytest.raises(SettingError, match=r"recordings pooled by maximum, but .* has mean"):
        Ensemble((one, other))

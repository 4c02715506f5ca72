"""Windows that stay on disk give what windows in memory give, and never stand in memory all at once."""

import tracemalloc
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

import ecgtune
from ecgtune.workflows.preparation import Prepared, on_disk, prepare
from ecgtune.workflows.results import choice_warnings
from helpers.settings import changed, loop

MODULE = import_module("ecgtune.workflows.preparation")
ROWS = np.array([70, 3, 4, 119, 50, 51, 0])


@pytest.fixture
def data(tmp_path, monkeypatch):
    """120 windows of one lead, 6 s at 100 Hz, as a memory map."""
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    made = ecgtune.simulate(120, seed=1)
    arrays = {"signal": made.signal[:, 0], "label": made.label, "patient": made.group}
    np.savez(tmp_path / "w.npz", sampling_rate=100, unit="mV", **arrays)
    return ecgtune.read_dataset(tmp_path / "w.npz")


def prepared(data, *, kept: int, monkeypatch, **settings) -> Prepared:
    monkeypatch.setattr(MODULE, "KEPT_BYTES", kept)
    split = ecgtune.split_dataset(data)
    preprocessing = ecgtune.Preprocessing.fit(data, split.train, **settings)
    return Prepared(data, split, preprocessing)


@pytest.mark.parametrize("rate", [100.0, 60.0, 250.0])
@pytest.mark.parametrize("normalisation", ["zscore", "global", "none"])
@pytest.mark.parametrize("resampling", ["polyphase", "linear"])
def test_the_same_bits_from_disk_as_from_memory(data, monkeypatch, rate, normalisation, resampling):
    settings = {"sampling_rate": rate, "normalisation": normalisation, "resampling": resampling}
    memory = prepared(data, kept=1 << 30, monkeypatch=monkeypatch, **settings)
    disk = prepared(data, kept=0, monkeypatch=monkeypatch, **settings)
    expected, inputs = memory.windows(ROWS).inputs, disk.windows(ROWS).inputs
    assert isinstance(expected, np.ndarray)
    assert not isinstance(inputs, np.ndarray)
    assert (tuple(inputs.shape), len(inputs), disk.samples) == (expected.shape, len(ROWS), memory.samples)
    for index in (slice(0, 3), slice(5, None), np.array([6, 0, 2]), 4, slice(0, 0)):
        assert np.array_equal(inputs[index], expected[index])
        assert inputs[index].dtype == np.float32
        assert inputs[index].flags.writeable
    assert np.array_equal(disk.windows(ROWS).label, memory.windows(ROWS).label)


def test_small_maps_and_arrays_in_memory_are_prepared_once(data, monkeypatch):
    settings = {"sampling_rate": 100.0}
    assert isinstance(
        prepared(data, kept=1 << 30, monkeypatch=monkeypatch, **settings).windows(ROWS).inputs, np.ndarray
    )
    there = data.select(np.arange(len(data)))
    assert isinstance(prepared(there, kept=0, monkeypatch=monkeypatch, **settings).windows(ROWS).inputs, np.ndarray)


def test_no_copy_of_the_whole_is_made(data, tmp_path, monkeypatch):
    """Of 4,800 windows, read in batches of 8."""
    monkeypatch.setattr(MODULE, "KEPT_BYTES", 0)
    np.tile(data.signal, (40, 1, 1)).tofile(tmp_path / "signal.f32")
    signal = np.memmap(tmp_path / "signal.f32", dtype=np.float32, mode="r", shape=(4800, 1, 600))
    many = replace(data, signal=signal, label=np.tile(data.label, 40), group=None, group_name=None)
    split, preprocessing = ecgtune.split_dataset(data), ecgtune.Preprocessing(sampling_rate=100.0)
    tracemalloc.start()
    try:
        windows = Prepared(many, split, preprocessing).windows(np.arange(4800))
        for start in range(0, 4800, 8):
            assert windows.inputs[start : start + 8].shape == (8, 1, 600)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert windows.inputs.signal is signal
    assert peak < signal.nbytes / 20


@pytest.mark.slow
def test_a_training_from_disk_ends_on_the_same_bits(data, tmp_path, monkeypatch):
    training = loop(epochs=1, batch_size=32, device="cpu", prefix_cache="on")
    runs = {}
    for kept in (1 << 30, 0):
        monkeypatch.setattr(MODULE, "KEPT_BYTES", kept)
        model = ecgtune.load_model("ecg-fm-tiny", classes=data.classes)
        where = tmp_path / str(kept)
        runs[kept] = ecgtune.fine_tune(
            data, ecgtune.Recipe(method=ecgtune.LoRA(rank=2), **training._asdict()), model=model, out=where
        )
    memory, disk = runs.values()
    assert (memory.folder / "predictions.csv").read_bytes() == (disk.folder / "predictions.csv").read_bytes()
    assert disk.metrics["training"]["precomputed"] == memory.metrics["training"]["precomputed"]
    assert len(list((tmp_path / "cache").glob("prefix-*.npy"))) == 2  # the same keys, whichever way it was read


def test_views_of_a_map_are_on_disk(data):
    assert on_disk(data.signal)
    assert on_disk(np.asarray(data.signal)[3:])
    assert not on_disk(np.array(data.signal))


EPOCH, THRESHOLD = "the epoch of the highest AUROC", "a threshold fitted on them (f1)"


@pytest.mark.parametrize(
    ("windows", "settings", "expected"),
    [
        (120, {}, [EPOCH]),
        (120, {"checkpoint_metric": "loss"}, []),
        (120, {"checkpoint_metric": "last"}, []),
        (120, {"epochs": 1}, []),
        (120, {"threshold": "f1"}, [EPOCH, THRESHOLD]),
        (120, {"threshold": "f1", "checkpoint_metric": "last"}, [THRESHOLD]),
        (120, {"threshold": "f1", "epochs": 1}, [THRESHOLD]),
        (600, {"threshold": "f1"}, []),
    ],
)
def test_few_validation_windows_are_no_judges_of_an_epoch_or_a_threshold(windows, settings, expected):
    simulated = ecgtune.simulate(windows, seed=0)
    split = ecgtune.split_dataset(simulated)
    fewest = np.bincount(simulated.label[split.val]).min()
    recipe = changed(ecgtune.Recipe(optimisation=ecgtune.Optimisation(epochs=5)), **settings)
    found = choice_warnings(simulated, split, recipe.optimisation, recipe.evaluation.threshold)
    assert len(found) == len(expected)
    for warning, says in zip(found, expected, strict=True):
        assert warning.startswith(f"validation has {len(split.val)} windows, {fewest} of the rarest class: {says}")
        assert {EPOCH: "--checkpoint-metric", THRESHOLD: "--threshold"}[says] in warning


@pytest.mark.parametrize(("rate", "warned"), [(100.0, False), (1000.0, True), (25.0, True)])
def test_windows_of_another_length_than_in_the_pretraining_are_a_warning(rate, warned):
    data = replace(ecgtune.simulate(80, seed=1), sampling_rate=rate)
    split = ecgtune.split_dataset(data)
    prepared = prepare(ecgtune.load_model("ecg-fm-tiny"), data, split, ecgtune.DataSettings())
    further = prepared.split.warnings[len(split.warnings) :]
    assert [f"windows of {600 / rate:.3g} s, but the encoder was pretrained on about 5 s" in w for w in further] == (
        [True] if warned else []
    )

"""Encoders with published weights, in small sizes, from a training to an exported file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ecgtune
from ecgtune.deployment.int8 import exact_products
from ecgtune.deployment.run import Run
from ecgtune.models.base import Encoder
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_jepa.network import EcgJepa, EcgJepaConfig
from ecgtune.models.names import MODELS
from ecgtune.recipes.preset import changed_preset
from ecgtune.workflows.baselines import scratch_recipe
from helpers.models import one_line
from helpers.published import TINY
from helpers.settings import loop
from helpers.training import stopped_in_the_second_epoch

#: Two seconds of two leads: the length that the small ECG-JEPA takes.
DATA = ecgtune.simulate(windows=80, seconds=2, sampling_rate=250, seed=1)
ENCODERS = {
    **TINY,
    "ecg-jepa": lambda: EcgJepa(EcgJepaConfig(width=16, depth=2, heads=2, feed_forward=24, patch=25, patches=20)),
}
HEARTLANG = ENCODERS.pop("heartlang")  # reads ten seconds, and no graph holds it


def trained(folder: Path, encoder: Encoder, method: ecgtune.Method, *, resume: bool = False, **settings: object) -> Run:
    save_encoder(encoder, folder / "encoder")
    model = ecgtune.load_model(folder / "encoder", classes=DATA.classes, leads=DATA.leads)
    settings = {"epochs": 2, "batch_size": 16, "device": "cpu", "precision": "fp32", **settings}
    recipe = ecgtune.Recipe(method=method, **loop(**settings)._asdict())
    return ecgtune.fine_tune(DATA, recipe, model=model, out=folder / "run", resume=resume)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_a_run_is_trained_loaded_and_exported(tmp_path: Path, name: str):
    run = trained(tmp_path, ENCODERS[name](), ecgtune.LoRA(rank=2), gradient_checkpointing=True, drop_path=0.1)
    presets = run.model.base_encoder.input_spec.presets
    assert run.preprocessing.steps == next(iter(presets.values()))
    probability = run.predict(DATA.signal[:9])
    again = ecgtune.load_run(run.folder)
    np.testing.assert_array_equal(again.predict(DATA.signal[:9]), probability)
    refused = "merl-resnet18 has no linear layers in its blocks; use fp32" if name == "merl-resnet18" else ""
    if not exact_products():
        refused = "products of eight bits are not exact here"
    if refused:
        with pytest.raises(ecgtune.SettingError, match=refused):
            again.predict(DATA.signal[:9], precision="int8")
    else:
        np.testing.assert_allclose(again.predict(DATA.signal[:9], precision="int8"), probability, atol=0.05)

    verified = ecgtune.export(run.folder, tmp_path / "model.onnx")
    model = ecgtune.runtime.Model(verified.path)
    assert model.metadata["input"]["prepared_by_runtime"]
    np.testing.assert_allclose(model.predict(DATA.signal[:9]), probability, atol=1e-5)
    faster = np.repeat(DATA.signal[:9], 2, axis=-1)  # another rate goes through the same steps
    np.testing.assert_allclose(model.predict(faster, 500.0), run.predict(faster, 500.0), atol=1e-5)
    with pytest.raises(ecgtune.SettingError, match="an encoder's preset, which the page cannot compute") as caught:
        ecgtune.page(tmp_path / "model.onnx", tmp_path / "page.html")
    one_line(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_the_frozen_prefix_is_cached_and_a_plan_is_made(tmp_path: Path, name: str):
    encoder = ENCODERS[name]()
    whole = trained(tmp_path / "off", encoder, ecgtune.TopLayers(layers=1), prefix_cache="off")
    cached = trained(tmp_path / "on", encoder, ecgtune.TopLayers(layers=1), prefix_cache="on")
    assert cached.metrics["training"]["precomputed"]
    np.testing.assert_allclose(cached.predict(DATA.signal[:9]), whole.predict(DATA.signal[:9]), atol=1e-4)
    recipe = ecgtune.recipe("lora", epochs=2, batch_size=16, model=str(tmp_path / "on" / "encoder"), device="cpu")
    plan = ecgtune.plan(DATA, recipe, ecgtune.CompareSettings(seeds=1, baselines=False))
    assert len(plan.estimates) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_a_stopped_training_resumes_with_the_same_bits(tmp_path: Path, name: str):
    encoder, method = ENCODERS[name](), ecgtune.Adapter(width=2)
    whole = trained(tmp_path / "whole", encoder, method, drop_path=0.2)
    with stopped_in_the_second_epoch():
        trained(tmp_path / "stopped", encoder, method, drop_path=0.2)
    resumed = trained(tmp_path / "stopped", encoder, method, drop_path=0.2, resume=True)
    np.testing.assert_array_equal(resumed.predict(DATA.signal[:9]), whole.predict(DATA.signal[:9]))


@pytest.mark.slow
def test_a_licence_that_forbids_something_is_in_every_result(tmp_path: Path, monkeypatch):
    encoder = TINY["hubert-ecg"]()
    entry, reader = MODELS["hubert-ecg"], type(encoder).published
    monkeypatch.setitem(MODELS, "hubert-ecg", replace(entry, weights=replace(entry.weights, sizes=encoder.config)))
    path = tmp_path / "hubert.pt"
    names = {reader.published_name(name): tensor for name, tensor in encoder.state_dict().items()}
    torch.save({"model_state_dict": names}, path)
    settings = {"epochs": 2, "batch_size": 16, "device": "cpu", "precision": "fp32"}
    recipe = ecgtune.recipe("lora", model="hubert-ecg", checkpoint=str(path), **settings)
    results = ecgtune.compare(DATA, recipe, ecgtune.CompareSettings(seeds=1, baselines=False), out=tmp_path / "runs")
    notice = "CC BY-NC 4.0, no commercial use"
    run = ecgtune.load_run(tmp_path / "runs" / "lora" / "seed-0")
    assert notice in results["weights"]
    for file in ("README.md", "report.html", "metrics.json"):
        assert notice in (run.folder / file).read_text(encoding="utf-8"), file
    assert notice in (tmp_path / "runs" / "table.md").read_text(encoding="utf-8")
    exported = ecgtune.export(run, tmp_path / "model.onnx")
    facts = ecgtune.runtime.Model(exported.path).metadata
    assert (facts["encoder"]["licence"], facts["encoder"]["terms"]) == ("CC BY-NC 4.0", "no commercial use")
    assert notice in facts["run"]["weights"]


def test_a_probe_of_beats_is_trained_and_an_export_refused(tmp_path: Path):
    data = ecgtune.simulate(windows=80, seconds=10, sampling_rate=100, seed=1)
    save_encoder(HEARTLANG(), tmp_path / "encoder")
    model = ecgtune.load_model(tmp_path / "encoder", classes=data.classes, leads=data.leads)
    recipe = ecgtune.recipe("probe", epochs=2, batch_size=16, device="cpu", precision="fp32")
    run = ecgtune.fine_tune(data, recipe, model=model, out=tmp_path / "run")
    assert run.metrics["training"]["precomputed"]
    probability = run.predict(data.signal[:5])
    np.testing.assert_array_equal(ecgtune.load_run(run.folder).predict(data.signal[:5]), probability)
    with pytest.raises(ecgtune.SettingError, match=r"heartlang cannot be exported: its beats .*: ecgtune predict RUN"):
        ecgtune.export(run.folder, tmp_path / "model.onnx")


def test_a_preset_and_a_file_belong_to_their_encoder_alone():
    recipe = ecgtune.recipe("lora", model="ecgfounder", checkpoint="model.pth", preset="evaluation")
    baseline = scratch_recipe(recipe)
    assert (baseline.data.preset, baseline.model.checkpoint) == ("auto", None)
    assert changed_preset(recipe) is None

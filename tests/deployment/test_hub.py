"""Runs on a hub: pushed without data of the recordings, loaded by name with the same predictions."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from peft import PeftModel

import ecgtune
from ecgtune.errors import CheckpointError, RunError, SettingError
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from helpers.hub import served, use_endpoint
from helpers.methods import METHODS, THROUGH_PEFT, slow
from helpers.models import TINY
from helpers.settings import loop

NAME = "someone/af-detector"
SHORT = loop(epochs=1, batch_size=8, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of three methods on recordings with names, of an encoder that is a folder of this machine."""
    path = tmp_path_factory.mktemp("hub")
    (path / "encoder").mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_encoder(EcgFM(replace(TINY, depth=1)), path / "encoder", {})
    data = ecgtune.simulate(40, seed=1)
    record = np.array([f"person{number // 2:02}" for number in range(40)])
    np.savez(path / "windows.npz", signal=data.signal, label=data.label, record=record, sampling_rate=100)
    for name, method in (("lora", ecgtune.LoRA(rank=2)), ("probe", ecgtune.LinearProbe()), ("full", ecgtune.Full())):
        tune(path, name, method)
    return path


def tune(path, name, method):
    read = ecgtune.read_dataset(path / "windows.npz")
    model = ecgtune.load_model(path / "encoder", classes=read.classes)
    recipe = ecgtune.Recipe(method=method, **SHORT._asdict())
    ecgtune.fine_tune(read, recipe, model=model, out=path / name)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with served(tmp_path / "hub", monkeypatch):
        yield tmp_path / "hub"


@pytest.mark.parametrize("name", ["lora", "probe", "full"])
def test_a_pushed_run_predicts_the_same_elsewhere(folder, hub, name):
    run = ecgtune.load_run(folder / name)
    assert ecgtune.push_to_hub(run, NAME, token="secret").endswith(NAME)
    (folder / "encoder").rename(folder / "gone")  # another machine has neither the encoder nor the data
    try:
        loaded = ecgtune.load_run(NAME)
    finally:
        (folder / "gone").rename(folder / "encoder")
    signal = ecgtune.simulate(5, seed=3).signal
    np.testing.assert_array_equal(loaded.predict(signal), run.predict(signal))
    assert loaded.summary() == run.summary()
    assert (loaded.classes, loaded.threshold) == (run.classes, run.threshold)
    assert (hub / NAME / "encoder").exists() == (name != "full")
    assert loaded.known(["person00"]) == []


def test_nothing_about_persons_or_this_machine_is_pushed(folder, hub):
    ecgtune.push_to_hub(folder / "lora", NAME, token="secret")
    files = [path for path in (hub / NAME).rglob("*") if path.is_file()]
    names = {path.relative_to(hub / NAME).as_posix() for path in files}
    assert {"README.md", "metrics.json", "recipe.toml", "best/adapter_model.safetensors"} <= names
    assert not names & {"split.csv", "predictions.csv", "environment.json", "report.html"}
    for path in files:
        for word in (str(folder), "person0"):
            assert word.encode() not in path.read_bytes(), (path, word)


def test_the_card_has_the_metadata_of_the_hub(folder, hub):
    ecgtune.push_to_hub(folder / "lora", NAME, token="secret")
    _, front, text = (hub / NAME / "README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["library_name"] == "ecgtune"
    assert "ecg" in facts["tags"]
    results = {each["name"]: each["value"] for each in facts["model-index"][0]["results"][0]["metrics"]}
    measured = ecgtune.load_run(folder / "lora").metrics["window"]["metrics"]
    assert results == {name: measured[name]["value"] for name in ("accuracy", "f1", "auroc")}
    assert f'ecgtune.load_run("{NAME}")' in text
    assert "Not a medical device" in text


def test_a_card_that_cannot_be_read_is_one_line(folder, hub, tmp_path):
    run = shutil.copytree(folder / "probe", tmp_path / "probe")
    (run / "README.md").write_bytes(b"\xff")
    with pytest.raises(RunError, match=r"README.md cannot be read .* remove it and rerun"):
        ecgtune.push_to_hub(run, NAME, token="secret")


def test_an_encoder_by_name_is_not_pushed_but_named(folder, hub, tmp_path):
    read = ecgtune.read_dataset(folder / "windows.npz")
    recipe = ecgtune.Recipe(method=ecgtune.LinearProbe(), **SHORT._asdict())
    model = ecgtune.load_model("ecg-fm-tiny", classes=read.classes)
    run = ecgtune.fine_tune(read, recipe, model=model, out=tmp_path / "run")
    ecgtune.push_to_hub(run, NAME, token="secret")
    assert not (hub / NAME / "encoder").exists()
    assert ecgtune.load_run(NAME).model.name == "ecg-fm-tiny"


@pytest.mark.slow
def test_an_exported_file_goes_along(folder, hub, tmp_path):
    file = tmp_path / "model.onnx"
    ecgtune.export(folder / "lora", file)
    ecgtune.push_to_hub(folder / "lora", NAME, exported=file, token="secret")
    card = (hub / NAME / "README.md").read_text()
    assert "## Exported file" in card
    assert "0 decisions changed" in card
    signal = ecgtune.simulate(5, seed=3).signal
    found = ecgtune.runtime.Model(hub / NAME / "model.onnx").predict(signal)
    np.testing.assert_allclose(found, ecgtune.load_run(NAME).predict(signal, precision="fp32"), rtol=0, atol=1e-5)
    with pytest.raises(SettingError, match="is the export of another run"):
        ecgtune.push_to_hub(folder / "full", "someone/other", exported=file, token="secret")


def test_bad_names_and_an_unreachable_hub_are_one_line(folder, hub, monkeypatch):
    with pytest.raises(SettingError, match="'name' is no name on the hub"):
        ecgtune.push_to_hub(folder / "lora", "name")
    with pytest.raises(CheckpointError, match="nobody/nothing: no such folder, and no model of this name") as error:
        ecgtune.load_run("nobody/nothing")
    assert "\n" not in str(error.value)
    use_endpoint(monkeypatch, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(RunError, match="cannot be pushed to the hub") as error:
        ecgtune.push_to_hub(folder / "lora", NAME, token="secret")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", [ecgtune.LoRA(rank=2), *slow(*(each for each in METHODS if each in THROUGH_PEFT))])
def test_the_adapter_folder_loads_with_plain_peft(folder, tmp_path, method):
    read = ecgtune.read_dataset(folder / "windows.npz")
    model = ecgtune.load_model(folder / "encoder", classes=read.classes)
    # At its own rate, AdaLoRA's product of three small factors changes the tokens by 5e-6 in one epoch.
    settings = loop(SHORT, learning_rate=10 * method.learning_rate)
    recipe = ecgtune.Recipe(method=method, **settings._asdict())
    run = ecgtune.fine_tune(read, recipe, model=model, out=tmp_path / "run")
    encoder = ecgtune.load_model(folder / "encoder").base_encoder
    signal = torch.tensor(run.preprocessing(read.signal[:4], 100))
    before = encoder.forward_features(signal)[0]
    PeftModel.from_pretrained(encoder, tmp_path / "run" / "best").eval()  # changes the encoder in place
    found, expected = (each.forward_features(signal)[0] for each in (encoder, run.model.base_encoder))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert (found - before).abs().max() > 1e-4

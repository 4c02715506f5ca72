"""A model as plain values, and the model that those rebuild."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecgtune.errors import CheckpointError
from ecgtune.models.checkpoint import convert
from ecgtune.models.classifier import Classifier, Head
from ecgtune.models.description import build_model, describe_model
from ecgtune.models.loading import load_model
from helpers.models import NAMES, same_weights

OfficialFile = Callable[..., Path]


def through_json(model: Classifier) -> dict[str, object]:
    return json.loads(json.dumps(describe_model(model)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", [Head(), Head(hidden=5, dropout=0.2, activation="relu")])
def test_a_description_rebuilds_the_model(name: str, head: Head) -> None:
    model = load_model(name, classes=("sinus", "other"), leads=("V1",), head=head, seed=4)
    rebuilt = build_model(through_json(model))
    assert same_weights(rebuilt.encoder, model.encoder)
    assert (rebuilt.classes, rebuilt.weights, rebuilt.name) == (model.classes, model.weights, model.name)
    rebuilt.head.load_state_dict(model.head.state_dict())
    signal = torch.randn(2, 1, 400)
    assert torch.equal(rebuilt.eval()(signal), model.eval()(signal))


@pytest.mark.parametrize("kind", ["pt", "folder"])
def test_a_described_file_must_not_change(official_file: OfficialFile, tmp_path: Path, kind: str) -> None:
    path = official_file() if kind == "pt" else convert(official_file(), tmp_path / "converted")
    model = load_model(path, leads=("II",), lead_mode="copy")
    description = through_json(model)
    assert same_weights(build_model(description).encoder, model.encoder)
    if kind == "pt":
        official_file(change=lambda content: content["model"]["layer_norm.bias"].add_(1))
    else:
        (path / "model.json").unlink()
        (path / "model.safetensors").unlink()
        path.rmdir()
        convert(official_file(change=lambda content: content["model"]["layer_norm.bias"].add_(1)), path)
    with pytest.raises(CheckpointError, match=r"has changed since this run: .* put the earlier file back"):
        build_model(description)


def test_without_its_base_a_model_is_rebuilt_from_saved_weights(official_file: OfficialFile) -> None:
    path = official_file()
    model = load_model(path, leads=("II", "V1")).eval()
    description, weights = through_json(model), model.state_dict()
    path.unlink()
    with pytest.raises(CheckpointError, match="holds only the weights of its method") as caught:
        build_model(description)
    assert f"put it back at {path.resolve()} (sha256 {model.weights.sha256})" in str(caught.value)
    assert "\n" not in str(caught.value)
    rebuilt = build_model(description, load_base=False).eval()
    rebuilt.load_state_dict(weights)
    signal = torch.randn(2, 2, 80)
    assert torch.equal(rebuilt(signal), model(signal))
    assert rebuilt.weights == model.weights


def test_a_description_of_another_version() -> None:
    with pytest.raises(CheckpointError, match="format 99"):
        build_model(describe_model(load_model("ecg-fm-tiny")) | {"format": 99})

"""Models by name, their heads, and their descriptions."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecgtune.errors import CheckpointError, SettingError
from ecgtune.models.checkpoint import convert, load_checkpoint
from ecgtune.models.classifier import Classifier, Head
from ecgtune.models.description import build_model, describe_model
from ecgtune.models.ecg_fm.network import EcgFmConfig
from ecgtune.models.loading import load_model
from ecgtune.models.registry import list_models

NAMES = ("ecg-fm-tiny", "ecg-fm-tiny-random", "resnet-1d")  # those that need no download
OfficialFile = Callable[..., Path]


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["ecg-fm", "ecg-fm-tiny", "ecg-fm-tiny-random", "resnet-1d"]),
        ("*tiny", ["ecg-fm-tiny"]),
        ("hubert*", []),
    ],
)
def test_list_models(pattern: str, names: list[str]) -> None:
    assert list_models(pattern) == names


@pytest.mark.parametrize(
    ("name", "limit", "tokens"), [("ecg-fm-tiny", 6e6, 75), ("ecg-fm-tiny-random", 6e6, 75), ("resnet-1d", 1.3e6, 38)]
)
def test_the_embedded_models(name: str, limit: float, tokens: int) -> None:
    model = load_model(name, classes=3).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) < limit
    signal = torch.randn(4, 1, 600)
    encoded, mask = model.encode(signal)
    assert encoded.shape == (4, tokens, model.encoder.head_width)
    assert mask.shape == (4, tokens)
    assert model(signal).shape == (4, 3)
    assert model.weights.kind == ("pretrained" if name == "ecg-fm-tiny" else "random")
    assert model.encoder.sampling_rate == 100
    assert model.encoder.resampling == "polyphase"


@pytest.mark.parametrize("name", NAMES)
def test_padding_hides_what_is_padded(name: str) -> None:
    model = load_model(name).eval()
    padding = torch.arange(600) >= torch.tensor([[600], [330]])
    tokens, mask = model.encode(torch.randn(2, 1, 600), padding)
    assert mask.sum(dim=1).tolist() == ([38, 21] if name == "resnet-1d" else [75, 41])
    pooled = model.pool(tokens, mask)
    torch.testing.assert_close(pooled[1], tokens[1, : int(mask[1].sum())].mean(dim=0))


def test_what_depends_on_the_seed() -> None:
    tiny, other = load_model("ecg-fm-tiny", seed=1), load_model("ecg-fm-tiny", seed=2)
    assert same_weights(tiny.encoder, other.encoder)
    assert not same_weights(tiny.head, other.head)
    assert same_weights(tiny.head, load_model("ecg-fm-tiny", seed=1).head)
    for name in ("resnet-1d", "ecg-fm-tiny-random"):
        scratch, again, third = (load_model(name, seed=seed) for seed in (1, 1, 2))
        assert same_weights(scratch, again)
        assert not same_weights(scratch.encoder, third.encoder)
        assert scratch.weights.describe() == "random (seed 1)"


@pytest.mark.parametrize("name", NAMES)
def test_loading_draws_nothing_from_the_callers_generator(name: str) -> None:
    before = torch.get_rng_state()
    load_model(name)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("head", "layers", "count"),
    [
        (None, ["Linear"], 192 * 2 + 2),
        (Head(hidden=8), ["Linear", "GELU", "Linear"], 192 * 8 + 8 + 8 * 2 + 2),
        (Head(hidden=8, activation="relu"), ["Linear", "ReLU", "Linear"], 192 * 8 + 8 + 8 * 2 + 2),
        (Head(hidden=8, dropout=0.1), ["Dropout", "Linear", "GELU", "Dropout", "Linear"], 192 * 8 + 8 + 8 * 2 + 2),
    ],
)
def test_heads(head: Head | None, layers: list[str], count: int) -> None:
    model = load_model("ecg-fm-tiny", head=head)
    assert [type(layer).__name__ for layer in model.head] == layers
    assert sum(parameter.numel() for parameter in model.head.parameters()) == count


@pytest.mark.parametrize("values", [{"hidden": 0}, {"dropout": 1.0}, {"activation": "tanh"}])
def test_wrong_heads(values: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        Head(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name_or_path": "ecg-fm-tinny"}, SettingError, "did you mean 'ecg-fm-tiny'.*resnet-1d"),
        ({"name_or_path": "missing.pt"}, CheckpointError, "no such file"),
        ({"leads": ("I", "II")}, SettingError, "reads one lead"),
        ({"lead_mode": "repeat"}, SettingError, "lead mode 'repeat'"),
        ({"classes": None}, SettingError, "no head of its own; give classes=2"),
        ({"classes": 1}, SettingError, "2 or more"),
        ({"classes": ("a", "a")}, SettingError, "different names"),
        ({"classes": ()}, SettingError, "2 or more"),
        ({"classes": "ab"}, SettingError, r"classes is the text 'ab'; .* classes=\(\"a\", \"b\"\)"),
        ({"leads": "II"}, SettingError, r"leads is the text 'II'; write leads=\(\"II\",\)"),
        ({"name_or_path": ""}, SettingError, r"no model is named; .* ecgtune\.load_run\(folder\)"),
        ({"heads": 3}, SettingError, "ecg-fm-tiny knows its number of attention heads; leave heads=3 out"),
        ({"name_or_path": "ecg-fm", "heads": 3}, SettingError, "ecg-fm knows its number"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        load_model(**({"name_or_path": "ecg-fm-tiny"} | arguments))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("classes", "names"), [(2, ("0", "1")), (("sinus", "other"), ("sinus", "other"))])
def test_classes(classes: int | tuple[str, ...], names: tuple[str, ...]) -> None:
    assert load_model("ecg-fm-tiny", classes=classes).classes == names


def test_a_one_lead_model_takes_any_lead() -> None:
    model = load_model("ecg-fm-tiny", leads=("V5",))
    assert model.encoder.leads == ("V5",)
    assert same_weights(model, load_model("ecg-fm-tiny"))


def test_a_finetuned_file_keeps_its_head_or_takes_a_new_one(official_file: OfficialFile) -> None:
    path = official_file("finetuned")
    own = load_model(path, classes=None)
    assert own.classes == ("label 0", "label 1", "label 2")
    stored = load_checkpoint(path).head
    assert stored is not None
    assert torch.equal(own.head[-1].weight, stored["weight"])
    assert load_model(path, classes=2).head[-1].weight.shape == (2, 16)
    with pytest.raises(SettingError, match="leave head"):
        load_model(path, classes=None, head=Head(hidden=3))


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


def test_heads_of_attention_are_remembered(official_file: OfficialFile, small_config: EcgFmConfig) -> None:
    path = official_file(change=lambda content: content.update(cfg=None))
    model = load_model(path, heads=4)
    assert build_model(through_json(model)).encoder.config == model.encoder.config
    assert model.encoder.config.heads == small_config.heads


def test_a_description_of_another_version() -> None:
    with pytest.raises(CheckpointError, match="format 99"):
        build_model(describe_model(load_model("ecg-fm-tiny")) | {"format": 99})

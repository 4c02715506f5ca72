"""`load_model`: names, files, heads, leads and seeds."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.errors import CheckpointError, SettingError
from ecgtune.models.checkpoint import convert, load_checkpoint
from ecgtune.models.classifier import Head
from ecgtune.models.ecg_fm.network import EcgFmConfig
from ecgtune.models.loading import input_spec_of, load_model
from helpers.models import NAMES, same_weights, tiny_classifier

OfficialFile = Callable[..., Path]


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
    spec = model.encoder.input_spec
    assert (spec.leads, spec.sampling_rate, spec.resampling) == (("II",), 100, "polyphase")


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
    ("arguments", "error", "message"),
    [
        ({"name_or_path": "ecg-fm-tinny"}, SettingError, "did you mean 'ecg-fm-tiny'.*resnet-1d"),
        ({"name_or_path": "missing.pt"}, CheckpointError, "no such file"),
        ({"leads": ("I", "II")}, SettingError, "reads one lead"),
        ({"lead_mode": "repeat"}, SettingError, "lead mode 'repeat'"),
        ({"classes": 1}, SettingError, "2 or more"),
        ({"classes": ("a", "a")}, SettingError, "different names"),
        ({"classes": ()}, SettingError, "2 or more"),
        ({"classes": "ab"}, SettingError, r"classes is the text 'ab'; .* classes=\(\"a\", \"b\"\)"),
        ({"leads": "II"}, SettingError, r"leads is the text 'II'; write leads=\(\"II\",\)"),
        ({"name_or_path": ""}, SettingError, r"no model is named; .* ecgtune\.load_run\(folder\)"),
        ({"name_or_path": nn.Linear(2, 2)}, SettingError, r"load_model got a Linear; .* ecgtune\.save_encoder"),
        ({"name_or_path": tiny_classifier().encoder}, SettingError, r"got a EcgFM; give a name or a path"),
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
    assert model.encoder.input_spec.leads == ("V5",)
    assert same_weights(model, load_model("ecg-fm-tiny"))


def test_a_finetuned_file_keeps_its_head_or_takes_a_new_one(official_file: OfficialFile) -> None:
    path = official_file("finetuned")
    own = load_model(path)
    assert own.classes == ("label 0", "label 1", "label 2")
    stored = load_checkpoint(path).head
    assert stored is not None
    assert torch.equal(own.head[-1].weight, stored["weight"])
    assert load_model(path, classes=2).head[-1].weight.shape == (2, 16)
    with pytest.raises(SettingError, match=r"keeps its own linear head; leave head out, or give classes"):
        load_model(path, head=Head(hidden=3))


def test_all_leads_of_the_encoder_are_kept(official_file: OfficialFile) -> None:
    model = load_model(official_file())
    assert model.leads == STANDARD_LEADS
    assert model.classes == ("0", "1")
    assert load_model(official_file(), leads=("V1", "II")).leads == ("V1", "II")


def test_attention_heads_that_a_file_does_not_state_are_given_to_convert(
    official_file: OfficialFile, small_config: EcgFmConfig, tmp_path: Path
) -> None:
    path = official_file(change=lambda content: content.update(cfg=None))
    with pytest.raises(CheckpointError, match=r"ecgtune convert in\.pt out/ --heads N"):
        load_model(path)
    model = load_model(convert(path, tmp_path / "converted", heads=4))
    assert model.encoder.config == small_config


@pytest.mark.parametrize("name", NAMES)
def test_the_input_of_a_name_is_that_of_its_encoder(name: str) -> None:
    assert input_spec_of(name) == load_model(name).encoder.input_spec


def test_the_input_of_a_file_is_that_of_its_encoder(official_file: OfficialFile) -> None:
    spec = input_spec_of(official_file())
    assert (spec.leads, spec.sampling_rate, spec.resampling) == (STANDARD_LEADS, 500, "linear")


def test_a_link_to_itself_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.symlink_to(path)
    for name, checkpoint in ((str(path), None), ("ecg-fm", path)):
        with pytest.raises((CheckpointError, SettingError), match=r"model\.pt"):
            load_model(name, checkpoint=checkpoint, classes=2)

"""Published files of every architecture, written by the tests in small sizes: what is read, told and refused."""

import re
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ecgtune import LinearProbe, Recipe, fine_tune, simulate
from ecgtune.config.model import ModelSettings
from ecgtune.errors import AuditError, CheckpointError, SettingError
from ecgtune.models.base import Encoder
from ecgtune.models.checkpoint import convert, load_checkpoint, load_named, save_encoder
from ecgtune.models.description import build_model, describe_model
from ecgtune.models.ecgfounder.labels import LABELS
from ecgtune.models.loading import load_model
from ecgtune.models.names import MODELS, built_in
from ecgtune.models.published import StateDictFormat
from helpers.models import one_line
from helpers.published import TINY
from helpers.settings import loop


@dataclass(frozen=True)
class Published:
    """How a published file of an architecture looks: where its tensors are, and what else is in it."""

    name: str
    container: str | None
    prefix: str = ""
    extra: tuple[str, ...] = ()  # tensors that the network does not use
    beside: dict[str, Any] = field(default_factory=dict)

    @property
    def encoder(self) -> Encoder:
        return TINY[MODELS[self.name].architecture.architecture]()

    @property
    def format(self) -> StateDictFormat:
        return type(self.encoder).published


FILES = {
    "ecgfounder": Published(
        "ecgfounder",
        "state_dict",
        extra=("first_bn.weight", "stage_list.0.block_list.0.bn1.running_mean"),
        beside={"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "step": 4, "scheduler": None},
    ),
    "ecg-jepa": Published("ecg-jepa", "encoder", beside={"epoch": 100}),
    "ecg-jepa, pretraining": Published(
        "ecg-jepa", None, prefix="encoder.", extra=("predictor.mask_token", "target_encoder.norm.weight")
    ),
    "hubert-ecg": Published(
        "hubert-ecg",
        "model_state_dict",
        extra=("masked_spec_embed", "final_proj.0.weight", "label_embedding.0.weight"),
        beside={"model_config": {"hidden_size": 16}, "global_step": 5},
    ),
    "hubert-ecg, fine-tuned": Published("hubert-ecg", "model_state_dict", prefix="hubert_ecg."),
    "openecg": Published(
        "openecg",
        "model_state",
        extra=("refine.0.weight", "head_sample.bias", "head.weight"),
        beside={"model_config": {"arch": "__import__('os').abort()"}, "epoch": 6, "note": "codec"},
    ),
    "merl-resnet18": Published("merl-resnet18", None),
    "merl-vit-tiny": Published("merl-vit-tiny", None),
    "st-mem": Published("st-mem", "model", beside={"epoch": 800, "optimizer": {}, "scaler": None, "config": {"a": 1}}),
    "st-mem, pretraining": Published(
        "st-mem", "model", prefix="encoder.", extra=("mask_embedding", "decoder_head.bias", "to_decoder_embedding.bias")
    ),
    "heartlang": Published(
        "heartlang", "model", extra=("mask_token", "lm_head.weight"), beside={"args": Namespace(seed=1), "scaler": {}}
    ),
    "heartlang, fine-tuned": Published("heartlang", "model", prefix="backbone."),
}


def content_of(case: Published, encoder: Encoder, outputs: int = 0) -> dict[str, Any]:
    """A file of `encoder`, with a head of some outputs."""
    tensors: dict[str, Tensor] = {
        case.prefix + case.format.published_name(name): tensor for name, tensor in encoder.state_dict().items()
    }
    tensors |= {name: torch.ones(2) for name in case.extra}
    if outputs and case.format.head is not None:
        weight, bias = case.format.head
        tensors |= {weight: torch.randn(outputs, encoder.head_width), bias: torch.zeros(outputs)}
    return tensors if case.container is None else {case.container: tensors, **case.beside}


def written(path: Path, case: Published, encoder: Encoder, **changes: Any) -> Path:
    torch.save(content_of(case, encoder, **changes), path)
    return path


@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_a_published_file_is_read_and_the_rest_is_told(tmp_path: Path, case: Published):
    encoder = case.encoder
    path = written(tmp_path / "model.pth", case, encoder)
    found = load_named(path, case.name, type(encoder), encoder.config)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(found.encoder.state_dict()[name], tensor), name
    left_out = dict(found.weights.left_out)
    assert set(left_out) == {*case.extra, *case.beside}
    sentence = found.weights.audit()
    assert f"{len(encoder.state_dict())} used" in sentence
    assert all(name in sentence for name in case.beside)
    assert not case.extra or f"{len(case.extra)} left out (" in sentence
    assert found.weights.licence == built_in()[case.name].licence
    assert found.head is None


@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_a_prefix_of_parallel_training_and_half_precision_are_read(tmp_path: Path, case: Published):
    encoder = case.encoder
    content = content_of(case, encoder)
    tensors = content if case.container is None else content[case.container]
    halved = {f"module.{n}": t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    torch.save(halved if case.container is None else {**content, case.container: halved}, tmp_path / "model.pth")
    found = load_named(tmp_path / "model.pth", case.name, type(encoder), encoder.config)
    types = {name: tensor.dtype for name, tensor in found.encoder.state_dict().items()}
    assert types == {name: tensor.dtype for name, tensor in encoder.state_dict().items()}


def test_the_head_of_a_file_keeps_its_label_names(tmp_path: Path, monkeypatch):
    case = FILES["ecgfounder"]
    encoder = case.encoder
    monkeypatch.setattr(type(encoder), "published", replace(case.format, sizes=(encoder.config,)))
    path = written(tmp_path / "model.pth", case, encoder, outputs=150)
    model = load_model(path)
    assert model.classes == LABELS
    folder = convert(path, tmp_path / "converted")
    assert load_model(folder).classes == LABELS
    signal = torch.randn(2, len(encoder.config.leads), 500)
    assert torch.equal(load_model(folder).eval()(signal), model.eval()(signal))
    assert load_model(path, classes=("a", "b")).classes == ("a", "b")
    assert load_model(written(tmp_path / "five.pth", case, encoder, outputs=5)).classes[0] == "label 0"
    content = content_of(case, encoder, outputs=5)
    content["state_dict"]["dense.bias"] = torch.ones(5, dtype=torch.uint8)
    torch.save(content, tmp_path / "whole.pth")
    with pytest.raises(AuditError, match=r"whole\.pth: its head .*bias is torch\.uint8, but torch\.float32 is needed"):
        load_model(tmp_path / "whole.pth")


def test_terms_of_a_licence_are_told_once_and_kept(tmp_path: Path, monkeypatch, caplog):
    case = FILES["hubert-ecg"]
    encoder = case.encoder
    monkeypatch.setattr(type(encoder), "published", replace(case.format, sizes=(encoder.config,)))
    path = written(tmp_path / "model.pt", case, encoder)
    notice = "CC BY-NC 4.0, no commercial use"
    with caplog.at_level("INFO", logger="ecgtune"):
        model = load_model(path)
        load_model(path)
    told = [record.getMessage() for record in caplog.records]
    assert told[1:] == [f"licence of the weights of {path}: {notice}"]
    assert told[0].startswith(f"{path}: all ")
    assert "3 left out (used only by the pretraining objective)" in told[0]
    assert notice in model.weights.describe()
    assert notice in load_model(convert(path, tmp_path / "converted")).weights.describe()
    again = build_model(describe_model(model))
    assert again.weights == model.weights


def test_a_converted_folder_is_read_by_name_and_refused_for_another(tmp_path: Path):
    encoder, other = FILES["ecgfounder"].encoder, FILES["ecg-jepa"].encoder
    folder = save_encoder(encoder, tmp_path / "encoder")
    found = load_named(folder, "ecgfounder", type(encoder), encoder.config)
    assert found.encoder.config == encoder.config
    with pytest.raises(AuditError, match=r"does not fit ecg-jepa: it holds the encoder ecgfounder with"):
        load_named(folder, "ecg-jepa", type(other), other.config)


def test_a_model_by_name_and_file_is_described_and_built_again(tmp_path: Path, monkeypatch):
    case = FILES["ecgfounder"]
    encoder = case.encoder
    entry = MODELS["ecgfounder"]
    monkeypatch.setitem(MODELS, "ecgfounder", replace(entry, weights=replace(entry.weights, sizes=encoder.config)))
    path = written(tmp_path / "model.pth", case, encoder)
    model = load_model("ecgfounder", checkpoint=path, classes=("a", "b"), leads=("II", "I"))
    assert (model.name, model.loaded.checkpoint) == ("ecgfounder", str(path))
    again = build_model(describe_model(model))
    signal = torch.randn(2, 2, 500)
    assert torch.equal(again.eval()(signal), model.eval()(signal))
    path.unlink()
    with pytest.raises(CheckpointError, match=rf"put it back at {path} \(sha256"):
        build_model(describe_model(model))


@pytest.mark.parametrize("name", ["hubert-ecg", "st-mem", "heartlang"])
def test_the_authors_mistakes_are_kept_where_they_are_asked_for(tmp_path: Path, name: str, monkeypatch):
    case = FILES[name]
    monkeypatch.setitem(
        MODELS, name, replace(MODELS[name], weights=replace(MODELS[name].weights, sizes=case.encoder.config))
    )
    path = written(tmp_path / "model.pth", case, case.encoder)
    right, theirs = (load_model(name, checkpoint=path, leads=("II",)) for _ in range(2))
    assert theirs.like_published() is theirs
    assert [each.is_as_published for each in (right, theirs)] == [False, True]
    for tensor, own in zip(theirs.base_encoder.parameters(), right.base_encoder.parameters(), strict=True):
        assert torch.equal(tensor, own)
    assert build_model(describe_model(theirs)).is_as_published


def test_a_run_keeps_the_authors_mistakes(tmp_path: Path, monkeypatch):
    case = FILES["hubert-ecg"]
    entry = replace(MODELS[case.name], weights=replace(MODELS[case.name].weights, sizes=case.encoder.config))
    monkeypatch.setitem(MODELS, case.name, entry)
    path = written(tmp_path / "model.pth", case, case.encoder)
    model = ModelSettings(case.name, str(path), as_published=True)
    recipe = Recipe(method=LinearProbe(), model=model, **loop(epochs=2, device="cpu")._asdict())
    run = fine_tune(simulate(60, sampling_rate=100, seconds=2, seed=1), recipe, out=tmp_path / "run")
    assert run.model.is_as_published


def test_an_encoder_without_a_mistake_of_its_authors_says_so():
    with pytest.raises(SettingError, match=r"openecg computes as .*as_published \(--as-published\) cannot act"):
        load_model("openecg-random").like_published()


def _other_shape(content: dict[str, Any]) -> None:
    content["state_dict"]["first_conv.conv.weight"] = torch.zeros(8, 5, 16)


def _lacking(content: dict[str, Any]) -> None:
    del content["state_dict"]["stage_list.0.block_list.0.conv1.conv.bias"]


def _further(content: dict[str, Any]) -> None:
    content["state_dict"]["cls_token"] = torch.zeros(1, 8)


def _not_finite(content: dict[str, Any]) -> None:
    content["state_dict"]["first_conv.conv.bias"] = torch.full((8,), float("nan"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_shape, r"its tensor 'first_conv\.conv\.weight' has shape \(8, 5, 16\) instead of \(8, 2, 16\)"),
        (_lacking, r"it has no tensor 'stage_list\.0\.block_list\.0\.conv1\.conv\.bias'"),
        (_further, r"its tensor 'cls_token' \(1, 8\) is none of the network's"),
        (_not_finite, r"not finite: first_conv\.conv\.bias"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named(tmp_path: Path, change: Callable[..., None], message: str):
    case = FILES["ecgfounder"]
    encoder = case.encoder
    content = content_of(case, encoder)
    change(content)
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(AuditError, match=message) as caught:
        load_named(tmp_path / "model.pth", "ecgfounder", type(encoder), encoder.config)
    one_line(caught.value)


def test_a_head_without_its_bias_is_told_so(tmp_path: Path):
    case = FILES["ecgfounder"]
    content = content_of(case, case.encoder, outputs=3)
    del content["state_dict"]["dense.bias"]
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(AuditError, match=r"it has no tensor 'dense\.bias'"):
        load_named(tmp_path / "model.pth", "ecgfounder", type(case.encoder), case.encoder.config)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"state_dict": [1]}], ids=["list", "tensor", "no tensors"])
@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_a_file_of_something_else_is_refused(tmp_path: Path, case: Published, content: object):
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"not a checkpoint of .*: no tensors under") as caught:
        load_named(tmp_path / "model.pth", case.name, type(case.encoder), case.encoder.config)
    one_line(caught.value)


@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_files_that_are_cut_off_or_of_another_encoder_are_refused(tmp_path: Path, case: Published):
    encoder = case.encoder
    path = written(tmp_path / "model.pth", case, encoder)
    for name, other in TINY.items():
        if name == encoder.architecture:
            continue
        own = other()
        with pytest.raises((AuditError, CheckpointError), match=rf"it is a file of {encoder.architecture}") as caught:
            load_named(path, name, type(own), own.config)
        one_line(caught.value)
        assert re.search(r"its tensor '|no tensors under", str(caught.value))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match="the end of the archive is missing") as caught:
        load_named(path, case.name, type(encoder), encoder.config)
    one_line(caught.value)


def test_a_file_of_another_size_is_refused_with_its_name(tmp_path: Path, monkeypatch):
    case = FILES["hubert-ecg"]
    encoder = case.encoder
    path = written(tmp_path / "model.pth", case, encoder)
    small = replace(MODELS["hubert-ecg-small"].weights, sizes=encoder.config)
    monkeypatch.setitem(MODELS, "hubert-ecg-small", replace(MODELS["hubert-ecg-small"], weights=small))
    monkeypatch.setattr(type(encoder), "published", replace(case.format, sizes=(encoder.config,)))
    with pytest.raises(AuditError, match=r"its tensor .* has shape .*; it is a file of hubert-ecg-small"):
        load_named(path, "hubert-ecg", type(encoder), replace(encoder.config, width=32))


def test_a_file_of_the_hub_in_safetensors_is_read_and_a_cut_one_refused(tmp_path: Path):
    case = FILES["hubert-ecg"]
    encoder = case.encoder
    tensors = content_of(case, encoder)["model_state_dict"]
    path = tmp_path / "model.safetensors"
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
    found = load_named(path, "hubert-ecg", type(encoder), encoder.config)
    assert len(found.weights.left_out) == 3
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="cut off"):
        load_named(path, "hubert-ecg", type(encoder), encoder.config)


def test_the_size_of_a_file_without_a_name_is_found(tmp_path: Path, monkeypatch):
    case = FILES["ecgfounder"]
    encoder = case.encoder
    one = type(encoder)(replace(encoder.config, leads=("I",)))
    monkeypatch.setattr(type(encoder), "published", replace(case.format, sizes=(encoder.config, one.config)))
    for each in (encoder, one):
        assert load_checkpoint(written(tmp_path / "model.pth", case, each)).encoder.config == each.config


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ecg-jepa", r"not downloaded .* get multiblock_epoch100\.pth .* checkpoint=PATH\), or --checkpoint PATH"),
        ("ecgfounder", r"could not be downloaded .* with the name as --checkpoint PATH"),
    ],
)
def test_a_name_without_its_file_says_how_to_get_it(name: str, message: str, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(name)
    one_line(caught.value)


def test_a_checkpoint_belongs_to_a_name_of_published_weights(tmp_path: Path):
    with pytest.raises(SettingError, match=r"'resnet-1d', which is no name of published weights; allowed: ecg-fm"):
        load_model("resnet-1d", checkpoint=tmp_path / "model.pt")

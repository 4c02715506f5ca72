"""Reading checkpoints: every tensor accounted for, nothing run, one clear line for what cannot be read."""

import argparse
import json
import os
import stat
import sys
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ecgtune.errors import AuditError, CheckpointError, EcgtuneError, RunError, SettingError
from ecgtune.models.checkpoint import convert, load_checkpoint
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.loading import load_model
from ecgtune.models.weights import Weights
from ecgtune.utils.files import file_sha256
from helpers.models import one_line
from hostile.folders import many_tensors

OfficialFile = Callable[..., Path]


@pytest.mark.parametrize("naming", ["old", "new"])
@pytest.mark.parametrize(("kind", "used", "left_out"), [("pretrained", 46, 8), ("finetuned", 48, 0)])
def test_both_kinds_and_both_weight_norms(
    official_file: OfficialFile, small_config: EcgFmConfig, kind: str, used: int, left_out: int, naming: str
) -> None:
    path = official_file(kind, naming)
    checkpoint = load_checkpoint(path)
    assert isinstance(checkpoint.encoder, EcgFM)
    assert checkpoint.encoder.config == small_config
    assert (len(checkpoint.weights.used), len(checkpoint.weights.left_out)) == (used, left_out)
    assert checkpoint.weights.sha256 == file_sha256(path)
    assert checkpoint.weights.describe() == f"pretrained (sha256 {file_sha256(path)[:8]}...)"
    in_file = set(torch.load(path, weights_only=True)["model"])
    assert {*checkpoint.weights.used, *(name for name, _ in checkpoint.weights.left_out)} == in_file
    assert (checkpoint.head is None) == (kind == "pretrained")
    torch.manual_seed(5)
    original = EcgFM(small_config).eval()
    signal = torch.randn(2, 12, 64)
    assert torch.equal(checkpoint.encoder.eval()(signal)[0], original(signal)[0])


def rename(old: str, new: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["model"].update({new: content["model"].pop(old)})


def put(name: str, tensor: torch.Tensor) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["model"].update({name: tensor})


def with_head(weight: torch.Tensor, bias: torch.Tensor) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["model"].update({"proj.weight": weight, "proj.bias": bias})


def test_a_head_of_one_output_and_a_new_one(official_file: OfficialFile) -> None:
    path = official_file("finetuned", change=with_head(torch.ones(1, 16), torch.zeros(1)))
    assert load_model(path).classes == ("label 0",)
    assert load_model(path, classes=("a", "b")).classes == ("a", "b")


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("finetuned", with_head(torch.ones(3, 16).long(), torch.zeros(3)), "weight is torch.int64, but torch.float32"),
        ("finetuned", with_head(torch.ones(3, 16), torch.zeros(3).bool()), "bias is torch.bool, but torch.float32"),
        ("finetuned", with_head(torch.ones(10_001, 16), torch.zeros(10_001)), "head has 10,001 outputs; allowed: 1 to"),
        ("pretrained", put("mask_emb", torch.ones(16).int()), "'mask_emb' is of torch.int32"),
        ("pretrained", put("mask_emb", torch.full((16,), float("nan"))), "1 not finite: mask_emb"),
    ],
)
def test_all_that_a_network_is_given_are_finite_weights(
    official_file: OfficialFile, kind: str, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = official_file(kind, change=change)
    for read in (load_checkpoint, load_model):
        with pytest.raises(AuditError, match=message) as caught:
            read(path)
        assert str(path) in one_line(caught.value)


Q = "encoder.layers.1.self_attn.q_proj.weight"
NOT_FINITE = torch.full((16,), float("nan"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename(Q, "encoder.layers.1.self_attn.query.weight"), rf"1 missing: {Q}; 1 unexpected: .*query\.weight"),
        (rename("encoder.layer_norm.bias", "encoder.norm.bias"), r"1 missing: encoder\.layer_norm\.bias"),
        (rename("post_extract_proj.weight", "proj_in.weight"), r"lacks 'post_extract_proj\.weight'"),
        (rename("encoder.layers.1.fc1.weight", "encoder.layers.9.fc1.weight"), "missing"),
        (put(Q, torch.zeros(16, 8)), rf"1 mis-shaped: {Q} \(16, 8\) instead of \(16, 16\)"),
        (put("extra.weight", torch.zeros(3)), r"1 unexpected: extra\.weight"),
        (put("encoder.layer_norm.weight", NOT_FINITE), r"1 not finite: encoder\.layer_norm\.weight"),
        (put("conv_pos.pos_conv.0.weight_g", torch.ones(1, 1, 6)), "twice"),
        (put("feature_extractor.conv_layers.0.0.weight", torch.zeros(8, 3, 2)), "3 leads"),
        (lambda content: content["model"].pop("layer_norm.bias"), r"1 missing: layer_norm\.bias"),
        (lambda content: [content["model"].pop(n) for n in list(content["model"]) if "fc" in n], r"lacks .*fc1"),
    ],
)
def test_the_weights_audit_names_the_tensor(
    official_file: OfficialFile, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = official_file(change=change)
    with pytest.raises(AuditError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in one_line(caught.value)


def test_many_problems_are_counted_and_few_are_named(official_file: OfficialFile) -> None:
    def prefix_all(content: dict[str, Any]) -> None:
        content["model"] = {
            name.replace("self_attn.", "attn.") if "encoder.layers" in name else name: tensor
            for name, tensor in content["model"].items()
        }

    with pytest.raises(AuditError, match=r"16 missing: .* and 13 more; 16 unexpected: .* and 13 more") as caught:
        load_checkpoint(official_file(change=prefix_all))
    one_line(caught.value)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b""), "not a readable PyTorch checkpoint"),
        (lambda path: path.write_text("\n<!DOCTYPE html><html></html>"), "a web page, as sites show one before"),
        (lambda path: path.write_text("lead,value\nII,0.3\n"), "not a readable PyTorch checkpoint"),
        (lambda path: path.mkdir(), "not a converted model"),
        (lambda path: torch.save({"weights": torch.zeros(3)}, path), "published file of no known encoder"),
        (lambda path: torch.save(torch.zeros(3), path), "published file of no known encoder; known: .*ecg-fm"),
        (lambda path: torch.save({"model": {"fc.weight": torch.zeros(3)}}, path), "of no known encoder"),
        (lambda path: torch.save({"model": {"post_extract_proj.weight": 3}}, path), "no entry 'model' with tensors"),
        (lambda path: np.savez(path.open("wb"), signal=np.zeros(3)), "not a readable PyTorch checkpoint"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "model.pt"
    write(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in one_line(caught.value)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_file_cut_off(official_file: OfficialFile, kept: float) -> None:
    path = official_file()
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError, match="cut off") as caught:
        load_checkpoint(path)
    one_line(caught.value)


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("function", ["os.system", "builtins.eval", "builtins.exec", "subprocess.check_output"])
def test_a_hostile_file_is_refused_and_not_run(tmp_path: Path, function: str, zipped: bool) -> None:
    module, name = function.split(".")
    marker = tmp_path / "it-ran"
    code = f"touch {marker}" if module == "os" else f"open({str(marker)!r}, 'w')"
    arguments = ["touch", str(marker)] if module == "subprocess" else code
    call = Call(getattr(__import__(module), name), arguments)
    path = tmp_path / "hostile.pt"
    torch.save({"model": {}, "extra_state": call}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="asks to run") as caught:
        load_checkpoint(path)
    one_line(caught.value)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # that the file would have run, had it been unpickled
    assert marker.exists()


def test_known_libraries_are_read_as_inert_things(official_file: OfficialFile, tmp_path: Path) -> None:
    marker = tmp_path / "array.npy"
    array = np.zeros(3)

    def add(content: dict[str, Any]) -> None:
        content["extra_state"]["call"] = Call(np.save, str(marker), array)

    path = official_file(change=add)
    load_checkpoint(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_files_saved_after_a_validation_and_with_settings_objects(
    official_file: OfficialFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DictConfig:  # stands for the settings library's class, which need not be installed to read the file
        def __init__(self, content: dict[str, Any]) -> None:
            self.content = content

    library = types.ModuleType("omegaconf.dictconfig")
    library.DictConfig = DictConfig  # type: ignore[attr-defined]
    DictConfig.__module__, DictConfig.__qualname__ = "omegaconf.dictconfig", "DictConfig"
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", library)

    def after_validation(content: dict[str, Any]) -> None:
        meters = defaultdict(OrderedDict, loss=OrderedDict(val=np.float64(0.3)))
        content["args"] = argparse.Namespace(arch="wav2vec2_cmsc", lr=[5e-5])
        content["task_state"] = DictConfig({"data": Path("/data")})
        content["extra_state"] = {
            "scores": np.linspace(0, 1, 7, dtype=np.float32).reshape(7, 1),
            "labels": np.array(["a", "b"], dtype=object),
            "count": np.int64(7),
            "meters": meters,
        }

    plain = load_checkpoint(official_file("finetuned")).encoder.state_dict()
    path = official_file("finetuned", change=after_validation)
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=True)
    for name in ("omegaconf", "omegaconf.dictconfig"):
        monkeypatch.delitem(sys.modules, name)
    for name, tensor in load_checkpoint(path).encoder.state_dict().items():
        assert torch.equal(tensor, plain[name]), name


def forget_heads(content: dict[str, Any]) -> None:
    content["cfg"]["model"]["encoder_layers"] = 12  # describes another size, as a fine-tuned file may


@pytest.mark.parametrize("cfg", [None, {}, {"model": None}, {"model": {"encoder_attention_heads": 4}}, "text"])
def test_heads_that_the_file_does_not_tell_must_be_given(
    official_file: OfficialFile, small_config: EcgFmConfig, cfg: object
) -> None:
    path = official_file(change=lambda content: content.update(cfg=cfg))
    with pytest.raises(CheckpointError, match=r"give it with heads=.* ecgtune convert in\.pt out/ --heads N") as caught:
        load_checkpoint(path)
    one_line(caught.value)
    encoder = load_checkpoint(path, heads=4).encoder
    assert isinstance(encoder, EcgFM)
    assert encoder.config == small_config


@pytest.mark.parametrize("heads", [3, 0, -1])
def test_heads_must_divide_the_width(official_file: OfficialFile, heads: int) -> None:
    with pytest.raises(CheckpointError, match="do not divide"):
        load_checkpoint(official_file(change=forget_heads), heads=heads)


@pytest.mark.parametrize("kind", ["pretrained", "finetuned"])
def test_convert_keeps_the_bits_and_the_head(official_file: OfficialFile, tmp_path: Path, kind: str) -> None:
    path = official_file(kind, change=lambda content: content.update(last_optimizer_state=torch.zeros(50_000)))
    folder = convert(path, tmp_path / "models" / "converted")
    assert sorted(file.name for file in folder.iterdir()) == ["model.json", "model.safetensors"]
    assert [file.name for file in folder.parent.iterdir()] == ["converted"]  # nothing unfinished beside it
    original, converted = load_checkpoint(path), load_checkpoint(folder)
    signal = torch.randn(2, 12, 64)
    for ours, theirs in zip(original.encoder.eval()(signal), converted.encoder.eval()(signal), strict=True):
        assert torch.equal(ours, theirs)
    assert converted.encoder.config == original.encoder.config
    assert (converted.head is None) == (original.head is None)
    for part, tensor in (original.head or {}).items():
        assert converted.head is not None
        assert torch.equal(converted.head[part], tensor)
    assert converted.weights.sha256 == file_sha256(folder / "model.safetensors")
    settings = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert Weights.from_json(settings["converted_from"]) == original.weights
    assert (folder / "model.safetensors").stat().st_size < path.stat().st_size / 2
    assert len(load_model(folder, leads=("V1",)).encoder.state_dict()) == 46


def test_convert_refuses_a_folder_with_something_in_it(official_file: OfficialFile, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SettingError, match="exists already"):
        convert(official_file(), taken)
    assert [file.name for file in taken.iterdir()] == ["notes.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert convert(official_file(), empty) == empty


@pytest.mark.parametrize(
    ("failure", "error"),
    [(OSError("No space left on device"), RunError), (SafetensorError("No space left on device"), CheckpointError)],
)
def test_convert_leaves_nothing_of_a_failure(
    official_file: OfficialFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    error: type[EcgtuneError],
) -> None:
    path = official_file()

    def full_disk(*_: object) -> None:
        raise failure

    monkeypatch.setattr("ecgtune.models.checkpoint.save_file", full_disk)
    with pytest.raises(error, match=r"converted cannot be written \(No space left on device\); choose another folder"):
        convert(path, tmp_path / "converted")
    assert os.listdir(tmp_path) == [path.name]


def test_convert_below_a_file_is_one_line(official_file: OfficialFile) -> None:
    path = official_file()
    with pytest.raises(RunError, match="cannot be written") as caught:
        convert(path, path / "converted")
    one_line(caught.value)


@pytest.mark.parametrize(("umask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_a_converted_folder_has_the_permissions_that_the_umask_asks_for(
    official_file: OfficialFile, tmp_path: Path, umask: int, file_mode: int, folder_mode: int
) -> None:
    path, before = official_file(), os.umask(umask)
    try:
        folder = convert(path, tmp_path / "converted")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {file_mode}
    assert stat.S_IMODE(folder.stat().st_mode) == folder_mode


def test_a_converted_folder_takes_no_heads_and_is_not_converted_again(
    official_file: OfficialFile, tmp_path: Path
) -> None:
    folder = convert(official_file(), tmp_path / "converted")
    with pytest.raises(SettingError, match="converted states its number of attention heads; leave heads=4 out"):
        load_checkpoint(folder, heads=4)
    with pytest.raises(SettingError, match="converted is converted already") as caught:
        convert(folder, tmp_path / "again")
    one_line(caught.value)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("content", ["best", "metrics.json"])
def test_a_run_folder_is_no_model(tmp_path: Path, content: str) -> None:
    (tmp_path / content).mkdir() if content == "best" else (tmp_path / content).write_text("{}")
    for use in (load_model, load_checkpoint, lambda folder: convert(folder, tmp_path / "out")):
        with pytest.raises(
            CheckpointError, match=r"a run folder, not a model; open it with ecgtune\.load_run"
        ) as caught:
            use(tmp_path)
        assert repr(str(tmp_path)) in one_line(caught.value)


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("encoder.projection.bias")
    save_file(tensors, folder / "model.safetensors")
    rewrite(folder, sha256=file_sha256(folder / "model.safetensors"))


def rewrite(folder: Path, **changes: object) -> None:
    settings = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(settings | changes), encoding="utf-8")


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), CheckpointError, r"model\.json is not in it"),
        (lambda folder: (folder / "model.safetensors").unlink(), CheckpointError, r"model\.safetensors is not in it"),
        (lambda folder: (folder / "model.json").write_text("{"), CheckpointError, "unreadable"),
        (lambda folder: (folder / "model.json").write_text("[]"), CheckpointError, "not the format"),
        (lambda folder: rewrite(folder, format=99), CheckpointError, "not the format"),
        (lambda folder: rewrite(folder, config={"witdh": 3}), SettingError, "did you mean 'width'"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), CheckpointError, "unreadable"),
        (flip_a_bit, CheckpointError, r"is not the file that model\.json describes"),
        (drop_tensor, AuditError, r"projection\.bias"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(many_tensors(13_000)),
            CheckpointError,
            "unreadable .*a header of 51999 values; at most 50000 are read",
        ),
    ],
)
def test_a_damaged_folder(
    official_file: OfficialFile,
    tmp_path: Path,
    damage: Callable[[Path], object],
    error: type[EcgtuneError],
    message: str,
) -> None:
    folder = convert(official_file(), tmp_path / "converted")
    damage(folder)
    with pytest.raises(error, match=message) as caught:
        load_checkpoint(folder)
    one_line(caught.value)

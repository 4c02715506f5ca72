"""Encoders by name: what is registered twice, not at all, by an entry point or a user's file."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import ecgtune
from ecgtune.errors import CheckpointError, SettingError
from ecgtune.models import names
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.models.loading import load_model
from ecgtune.models.registry import find_model, list_models, register_encoder, register_weights
from ecgtune.utils import extensions
from ecgtune.utils.files import file_sha256
from helpers.encoders import ConvConfig, ConvNet, PatchConfig, PatchNet, classifier, registered
from helpers.models import same_weights

ENCODERS = {"conv-net": (ConvNet, ConvConfig(leads=("I", "V2"))), "patch-net": (PatchNet, PatchConfig(depth=1))}
#: A file of a user that registers an encoder and a method.
FILE = """
from dataclasses import dataclass
import ecgtune
from helpers.encoders import ConvNet
from ecgtune.methods.own_weights.settings import NormBias
from ecgtune.methods.registry import register_method
from ecgtune.models.registry import register_encoder

@register_encoder("{name}-net", licence="MIT", description="of a user")
class Mine(ConvNet):
    pass

@register_method("{name}-norms")
@dataclass(frozen=True)
class Norms(NormBias):
    pass
"""


@pytest.fixture
def fresh():
    """Registrations that are looked for anew, and forgotten afterwards."""
    caches = (extensions._import_folders, extensions._load_group)
    with registered():
        for cached in caches:
            cached.cache_clear()
        yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("ecg-fm*", ["ecg-fm", "ecg-fm-tiny", "ecg-fm-tiny-random"]),
        ("*fm-tiny", ["ecg-fm-tiny"]),
        ("hubert*", ["hubert-ecg", "hubert-ecg-large", "hubert-ecg-small"]),
        ("none*", []),
    ],
)
def test_models_are_listed_by_a_pattern(pattern, names):
    assert [model.name for model in list_models(pattern)] == names


def test_the_list_has_the_facts_of_each_model():
    facts = {model.name: model for model in list_models()}
    published, bundled, scratch = facts["ecg-fm"], facts["ecg-fm-tiny"], facts["resnet-1d"]
    assert (published.parameters, len(published.leads), published.sampling_rate) == (90_373_248, 12, 500)
    assert (published.source, published.licence) == ("hub wanglab/ecg-fm", "MIT")
    encoder = load_model("ecg-fm-tiny").encoder
    assert bundled.parameters == sum(parameter.numel() for parameter in encoder.parameters())
    assert (bundled.leads, bundled.sampling_rate, bundled.source) == (("II",), 100, "bundled")
    assert (scratch.leads, scratch.source, scratch.architecture) == ((), "random", "resnet-1d")


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_from_outside_is_saved_and_loaded_to_the_bit(name, tmp_path):
    architecture, config = ENCODERS[name]
    encoder = classifier(architecture, config, seed=5).base_encoder
    with registered((name, architecture)):
        folder = save_encoder(encoder, tmp_path / "mine", {"note": "of the tests"})
        model = load_model(folder)
        assert same_weights(model.encoder, encoder)
        assert (type(model.encoder), model.encoder.config) == (architecture, config)
        assert model.leads == config.leads
        assert model.weights.sha256 == file_sha256(folder / "model.safetensors")
        assert load_model(name).encoder.config == architecture.config_type()
    with pytest.raises(CheckpointError, match=rf"architecture '{name}' is not registered; .*--import") as error:
        load_model(folder)
    assert "\n" not in str(error.value)


def test_weights_can_have_a_name_of_their_own(tmp_path):
    with registered(("conv-net", ConvNet)):
        source = find_model("conv-net")[1]
        register_weights("conv-net-small", "conv-net", source, licence="MIT")
        assert load_model("conv-net-small", leads=("V1",)).leads == ("V1",)
        assert [model.licence for model in list_models("conv-net*")] == ["unknown", "MIT"]


def test_a_folder_of_another_version_is_refused(tmp_path, monkeypatch):
    with registered(("conv-net", ConvNet)):
        folder = save_encoder(classifier(ConvNet, ConvConfig()).base_encoder, tmp_path / "mine")
        monkeypatch.setattr(ConvNet, "version", 2)
        with pytest.raises(CheckpointError, match="written by version 1 of conv-net; allowed: 2"):
            load_model(folder)


class Imitation(EcgFM):
    """A subclass that inherits the name of what it is not."""


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda folder: register_encoder("ecg-fm")(ConvNet), r"encoder 'ecg-fm' is registered already .*; choose anot"),
        (lambda folder: register_encoder("linear")(nn.Linear), "a subclass of Encoder with a config_type"),
        (lambda folder: save_encoder(classifier(PatchNet, PatchConfig()).base_encoder, folder), "PatchNet is not reg"),
        (
            lambda folder: save_encoder(Imitation(load_model("ecg-fm-tiny").encoder.config), folder),
            r"Imitation is not registered, .* decorate the class with @register_encoder\('name'\)",
        ),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(act, message, tmp_path):
    with registered(), pytest.raises(SettingError, match=message) as error:
        act(tmp_path / "folder")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "folder").exists()


def test_registering_a_class_again_is_no_duplicate():
    with registered(("conv-net", ConvNet), ("conv-net", ConvNet)):
        assert find_model("conv-net")[0] is ConvNet


def distribution(folder: Path, group: str, value: str) -> None:
    """Files of an installed package with one entry point."""
    place = folder / "ecg_plugin-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: ecg-plugin\nVersion: 1.0\n")
    (place / "entry_points.txt").write_text(f"[{group}]\nplugin = {value}\n")


@pytest.mark.parametrize("group", ["ecgtune.encoders", "ecgtune.methods"])
def test_an_entry_point_registers_what_it_imports(fresh, group, tmp_path, monkeypatch):
    module = f"ecg_plugin_{group.rpartition('.')[2]}"
    distribution(tmp_path, group, module)
    (tmp_path / f"{module}.py").write_text(FILE.format(name="plugin"))
    monkeypatch.syspath_prepend(str(tmp_path))
    if group == "ecgtune.encoders":
        assert load_model("plugin-net").encoder.architecture == "plugin-net"
        assert [model.description for model in list_models("plugin*")] == ["of a user"]
    else:
        assert ecgtune.methods.registry.find_method("plugin-norms")().biases


@pytest.mark.parametrize("group", ["ecgtune.encoders", "ecgtune.methods"])
def test_an_entry_point_that_fails_names_its_package(fresh, group, tmp_path, monkeypatch):
    distribution(tmp_path, group, "no_such_module_of_a_plugin")
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = list_models if group == "ecgtune.encoders" else ecgtune.methods.registry.method_names
    with pytest.raises(SettingError, match=rf"'plugin' of {group} cannot be imported .*uninstall ecg-plugin") as error:
        asked()
    assert "\n" not in str(error.value)


def test_files_of_the_environment_variable_are_imported(fresh, tmp_path, monkeypatch):
    (tmp_path / "first.py").write_text(FILE.format(name="first"))
    (tmp_path / "second.py").write_text(FILE.format(name="second"))
    monkeypatch.setenv("ECGTUNE_IMPORT", f"{tmp_path / 'first.py'}:{tmp_path / 'second.py'}")
    signal = torch.randn(2, 1, 160)
    for name in ("first", "second"):
        model = load_model(f"{name}-net")
        assert model(signal).shape == (2, 2)
        assert ecgtune.methods.registry.find_method(f"{name}-norms").name == f"{name}-norms"


def test_a_missing_file_of_the_environment_variable_is_one_line(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("ECGTUNE_IMPORT", str(tmp_path / "nothing.py"))
    with pytest.raises(SettingError, match=r"nothing\.py: no such Python file"):
        list_models()


def test_the_models_of_this_package_are_named_without_torch():
    code = "import sys\nfrom ecgtune.models.names import model_names\nprint(*model_names(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(names.built_in()) == [model.name for model in list_models()]
    assert done.stdout.split() == [*sorted(names.built_in()), "False"]

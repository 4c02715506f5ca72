"""openecg's encoder with the weights of the package, against the stored numbers of the authors' code."""

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.data.preprocessing import Preprocessing
from ecgtune.errors import CheckpointError
from ecgtune.models import registry
from ecgtune.models.checkpoint import load_checkpoint
from ecgtune.models.loading import load_model
from ecgtune.models.openecg.network import OpenECG
from ecgtune.models.openecg.published import PUBLISHED, published_name
from helpers.published import GRADIENTS, LOGITS, compare, stored

TOLERANCE = 5e-5  # values of size 20; the authors' code with and without fused kernels differs by 1.5e-5


@pytest.fixture(scope="module")
def package() -> Path:
    """The folder of the codec files in the package."""
    found = find_spec("openecg")
    if found is None:
        pytest.skip("the package openecg is not installed (extra openecg)")
    return Path(found.submodule_search_locations[0]) / "models"


class Codec(nn.Module):
    """What the published network computes behind the encoder: a label of every sample, from three heads."""

    def __init__(self, encoder: OpenECG, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.encoder = encoder
        names = ("refine.0", "refine.2", "head_sample", "beat_sample", "rhythm_sample")
        self.rest = nn.ParameterDict(
            {
                f"{name}.{part}".replace(".", "/"): tensors[f"{name}.{part}"]
                for name in names
                for part in ("weight", "bias")
            }
        )

    def published(self) -> dict[str, nn.Parameter]:
        """Parameters by their names in the file."""
        own = {published_name(name): parameter for name, parameter in self.encoder.named_parameters()}
        return own | {name.replace("/", "."): parameter for name, parameter in self.rest.items()}

    def forward(self, signal: Tensor) -> dict[str, Tensor]:
        states, _ = self.encoder.forward_intermediates(signal)
        found = {"conv_tok": self.encoder.stem(signal), "upper": states[-1], "mean_of_upper": states[-1].mean(dim=1)}
        found |= {f"lower{layer}": states[1 + layer] for layer in range(4)}
        found |= {f"upper{layer}": states[5 + layer] for layer in range(4)}
        samples = states[-1].repeat_interleave(PUBLISHED.patch, dim=1).transpose(1, 2)
        inner = F.gelu(F.conv1d(samples, *self._part("refine.0"), padding=2))
        found["refine"] = F.conv1d(inner, *self._part("refine.2"), padding=2)
        found["sample_features"] = features = (samples + found["refine"]).transpose(1, 2)
        found["mean_of_sample_features"] = features.mean(dim=1)
        heads = {"frame": "head_sample", "beat": "beat_sample", "rhythm": "rhythm_sample"}
        return found | {f"{kind}_logits": F.linear(features, *self._part(name)) for kind, name in heads.items()}

    def _part(self, name: str) -> tuple[Tensor, Tensor]:
        return self.rest[f"{name}.weight".replace(".", "/")], self.rest[f"{name}.bias".replace(".", "/")]


def codec(package: Path, version: str) -> Codec:
    path = package / f"codec_{version}.pt"
    encoder = load_model("openecg", checkpoint=path).base_encoder.eval()
    assert isinstance(encoder, OpenECG)
    return Codec(encoder, torch.load(path, weights_only=True)["model_state"])


def test_the_name_gives_the_weights_of_the_package(package: Path) -> None:
    named, read = load_model("openecg"), load_checkpoint(package / "codec_v6.pt")
    tensors = torch.load(package / "codec_v6.pt", weights_only=True)["model_state"]
    for name, tensor in named.base_encoder.state_dict().items():
        assert torch.equal(tensor, tensors[published_name(name)])
        assert torch.equal(tensor, read.encoder.state_dict()[name])
    assert named.weights.source == "openecg"
    assert (named.weights.licence, named.weights.sha256) == ("Apache-2.0", read.weights.sha256)
    assert "openecg" not in sys.modules  # its code is not imported
    assert "all 79 tensors accounted for: 67 used, 12 left out (layers that label samples" in named.weights.audit()


@pytest.mark.parametrize(("version", "kind"), [("v6", "rank"), ("v6", "noise"), ("v6", "short_3s"), ("v5", "rank")])
def test_outputs_equal_the_authors(shared: Path, package: Path, version, kind) -> None:
    # Statistics of logits have another place in their names.
    arrays = {
        re.sub(r"(\w+_logits)\.stats", r"stats.\1", name): array for name, array in stored(shared, "openecg").items()
    }
    model, signal = codec(package, version), torch.from_numpy(arrays[f"input.{kind}"])[:, None]
    with torch.no_grad():
        found = model(signal)
    compare(arrays, f"{version}.{kind}.", found)
    exact = {"upper[:,::5,::4]": TOLERANCE, "mean_of_upper": LOGITS, "mean_of_sample_features": LOGITS}
    exact |= {f"{head}_logits[:,::10]": TOLERANCE for head in ("frame", "beat", "rhythm")}
    for name, tolerance in exact.items():
        stage, _, index = name.partition("[")
        values = found[stage].numpy()
        values = values[eval(f"np.s_[{index}")] if index else values
        np.testing.assert_allclose(values, arrays[f"{version}.{kind}.{name}"], rtol=0, atol=tolerance, err_msg=name)
    tokens, _ = load_model("openecg", checkpoint=package / f"codec_{version}.pt").eval().encode(signal)
    assert torch.equal(tokens, found["upper"])


def test_the_preset_gives_what_the_authors_code_gives(shared: Path) -> None:
    arrays = stored(shared, "openecg")
    steps = OpenECG(PUBLISHED).input_spec.presets["labelling"]
    prepared = Preprocessing(500.0, normalisation="none", steps=steps)
    np.testing.assert_allclose(prepared(arrays["input.raw"][:, None], 500.0)[:, 0], arrays["input.rank"], atol=1e-7)
    again = prepared(arrays["input.rank"][:, None], 500.0)[:, 0]
    np.testing.assert_allclose(again, arrays["input.rank"], atol=1e-7)


def test_a_signal_of_another_rate_is_not_noticed_by_the_network(shared: Path, package: Path) -> None:
    """The stored output for 250 Hz; `input_spec` states 500 Hz, to which windows are resampled."""
    arrays = stored(shared, "openecg")
    model = codec(package, "v6")
    with torch.no_grad():
        found = model(torch.from_numpy(arrays["input.rate_250"])[:, None])["rhythm_logits"]
    np.testing.assert_allclose(found[:, ::10], arrays["v6.rate_250.rhythm_logits[:,::10]"], rtol=0, atol=TOLERANCE)
    assert model.encoder.input_spec.sampling_rate == 500


def test_gradients_equal_the_authors(shared: Path, package: Path) -> None:
    file = shared / "reference" / "encoders" / "openecg" / "grad_norms.json"
    stored_norms = json.loads(file.read_text())
    norms = stored_norms["codec_v6_sum_of_squares_of_all_three_heads"]
    model = codec(package, "v6")
    found = model(torch.from_numpy(stored(shared, "openecg")["input.rank"])[:, None])
    loss = sum(found[f"{head}_logits"].square().sum() for head in ("frame", "beat", "rhythm"))
    loss.backward()
    assert loss.item() == pytest.approx(stored_norms["loss"], rel=GRADIENTS)
    parameters = model.published()
    assert set(parameters) == {name for name, norm in norms.items() if norm is not None}
    for name, parameter in parameters.items():
        assert float(parameter.grad.double().norm()) == pytest.approx(norms[name], rel=GRADIENTS), name


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"in the package openecg, which is not installed; type: pip install "):
        load_model("openecg")

"""HuBERT-ECG against the stored numbers of the authors' code, in three sizes, through files as they publish them."""

import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.models.classifier import Classifier
from ecgtune.models.hubert_ecg.network import HubertEcg
from ecgtune.models.hubert_ecg.published import published_name
from ecgtune.models.loading import load_model
from helpers.published import compare, compare_gradients, outputs, seeded_weights, stored

FOLDER = "hubert_ecg"
NAMES = {"base": "hubert-ecg", "small": "hubert-ecg-small", "large": "hubert-ecg-large"}


def stages_of(model: Classifier) -> dict[str, torch.nn.Module]:
    """Modules by the names of their stored outputs."""
    encoder = model.base_encoder
    stages = {f"conv{number}": block for number, block in enumerate(encoder.stem)}
    stages |= {f"layer{number}": layer for number, layer in enumerate(encoder.layers)}
    return stages | {
        "feat_ln": encoder.stem_norm,
        "feat_proj": encoder.projection,
        "pos_conv": encoder.positional,
        "encoder_ln": encoder.input_norm,
    }


def signal_of(arrays, kind: str, leads: int) -> torch.Tensor:
    """A stored input, whose leads are in a row, as (batch, leads, samples)."""
    return torch.from_numpy(arrays[f"input.{kind}"]).unflatten(1, (leads, -1))


@pytest.mark.slow
@pytest.mark.parametrize("size", NAMES)
def test_outputs_and_gradients_equal_the_authors(shared: Path, tmp_path: Path, size: str):
    path = tmp_path / "hubert_ecg.pt"
    weights, arrays = seeded_weights(shared, FOLDER, f"{size}_finetuned_5_labels"), stored(shared, FOLDER)
    torch.save({"model_state_dict": weights, "global_step": 70000, "finetuning_vocab_size": 5}, path)
    model = load_model(NAMES[size], checkpoint=path).eval()
    for kind, leads in {"x": STANDARD_LEADS, "short": STANDARD_LEADS, "one": ("I",)}.items():
        if f"{size}.{kind}.logits" in arrays:
            # In double precision: rounding alone moves the stored outputs by 8e-6, and would move ours by as much.
            cut = load_model(NAMES[size], checkpoint=path, leads=leads).eval().double()
            found = outputs(cut, signal_of(arrays, kind, len(leads)).double(), stages_of(cut))
            found["tokens_shape"] = torch.tensor(found["tokens"].shape)
            compare(arrays, f"{size}.{kind}.", found | {"last_hidden_state": found["tokens"]})

    norms = json.loads((shared / "reference" / "encoders" / FOLDER / "grad_norms.json").read_text())
    names = {f"encoder.{own}": f"hubert_ecg.{published_name(own)}" for own in model.base_encoder.state_dict()}
    names |= {"head.0.weight": "classifier.weight", "head.0.bias": "classifier.bias"}
    signal = signal_of(arrays, "x", 12)
    compare_gradients(model, signal, norms[size], names, norms[f"{size}_loss"])

    if size == "base":
        config = replace(model.base_encoder.config, mask_first_samples=True)
        model.encoder = HubertEcg.from_weights(config, dict(model.base_encoder.state_dict())).eval()
        model.__dict__["base_encoder"] = model.encoder
        padding = ~torch.from_numpy(arrays["input.pad_mask"]).bool().unflatten(1, (12, -1))
        found = outputs(model, signal_of(arrays, "pad", 12), stages_of(model), padding)
        found["tokens_shape"] = torch.tensor(found["tokens"].shape)
        # The authors' pooling writes zeros into tokens that are masked.
        tokens = found["tokens"].masked_fill(~found["mask"][..., None], 0.0)
        compare(arrays, "base.pad.", found | {"last_hidden_state": tokens})


@pytest.mark.slow
def test_the_pretrained_encoder_equals_the_authors_with_and_without_masked_tokens(shared: Path, tmp_path: Path):
    weights, arrays = seeded_weights(shared, FOLDER, "base_pretrained"), stored(shared, FOLDER)
    save_file(weights, tmp_path / "model.safetensors")
    model = load_model("hubert-ecg", checkpoint=tmp_path / "model.safetensors").eval()
    assert "4 left out (used only by the pretraining objective)" in model.weights.audit()
    encoder, signal = model.base_encoder, signal_of(arrays, "x", 12)
    compare(arrays, "base.pretrained.x.", {"last_hidden_state": encoder(signal)[0]})
    mask = torch.from_numpy(arrays["base.pretrained.masked.mask"])
    masked = weights["masked_spec_embed"]
    encoder.projection.register_forward_hook(
        lambda module, inputs, tokens: torch.where(mask[..., None], masked, tokens)
    )
    tokens = encoder(signal)[0]
    projected = torch.nn.functional.linear(tokens, weights["final_proj.0.weight"], weights["final_proj.0.bias"])
    logits = torch.cosine_similarity(projected[:, :, None], weights["label_embedding.0.weight"], dim=-1) / 0.1
    compare(arrays, "base.pretrained.masked.", {"mask": mask, "last_hidden_state": tokens, "cluster_logits": logits})


@pytest.mark.slow
def test_a_file_of_a_training_is_read_without_running_its_objects(shared: Path, tmp_path: Path, monkeypatch):
    weights = dict(seeded_weights(shared, FOLDER, "small_pretrained"))
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for name in [name for name in weights if name.endswith(tuple(old))]:
        stem, _, ending = name.partition("conv.")[0], None, name.partition("conv.")[2]
        weights[f"{stem}conv.{old[ending]}"] = weights.pop(name)
    module = types.ModuleType("hubert_ecg")
    exec("class HuBERTECGConfig:\n    def __setstate__(self, state): raise RuntimeError('it ran')", module.__dict__)
    monkeypatch.setitem(sys.modules, "hubert_ecg", module)
    settings = module.HuBERTECGConfig()
    settings.hidden_size = 512
    torch.save({"model_config": settings, "model_state_dict": weights}, tmp_path / "hubert_ecg_small.pt")
    with pytest.raises(RuntimeError, match="it ran"):
        torch.load(tmp_path / "hubert_ecg_small.pt", weights_only=False)
    monkeypatch.delitem(sys.modules, "hubert_ecg")
    model = load_model("hubert-ecg-small", checkpoint=tmp_path / "hubert_ecg_small.pt")
    assert "model_config" in model.weights.audit()
    assert model.weights.notice == "CC BY-NC 4.0, no commercial use"
    assert "CC BY-NC 4.0, no commercial use" in model.weights.describe()

"""MERL's encoders against the stored numbers of the authors' code, through files as they publish them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ecgtune.data.preprocessing import Preprocessing
from ecgtune.models.classifier import Classifier
from ecgtune.models.loading import load_model
from ecgtune.models.merl.network import LEADS, PRESETS
from ecgtune.models.merl.published import resnet_name, vit_name
from helpers.published import compare, compare_gradients, outputs, seeded_weights, stored


def resnet_stages(model: Classifier) -> dict[str, torch.nn.Module]:
    encoder = model.base_encoder
    layers = {f"layer{number // 2 + 1}.{number % 2}": layer for number, layer in enumerate(encoder.layers)}
    return {"conv1": encoder.stem[0], "bn1": encoder.stem[1], **layers}


def vit_stages(model: Classifier) -> dict[str, torch.nn.Module]:
    encoder = model.base_encoder
    return {"to_patch_embedding": encoder.stem, **{f"block{n}": layer for n, layer in enumerate(encoder.layers)}}


CASES = [
    pytest.param(*case, marks=pytest.mark.slow)
    for case in (
        ("merl-resnet18", "resnet18", "resnet18_5_labels", resnet_name, "linear", resnet_stages),
        ("merl-vit-tiny", "vit_tiny", "vit_tiny_5_labels", vit_name, "head", vit_stages),
    )
]


def seeded_model(shared: Path, folder: Path, name: str, entry: str) -> Classifier:
    torch.save(seeded_weights(shared, "merl", entry), folder / "best_encoder.pth")  # a bare state dict
    return load_model(name, checkpoint=folder / "best_encoder.pth").eval()


@pytest.mark.parametrize(("name", "prefix", "entry", "published_name", "head", "stages"), CASES)
def test_outputs_and_gradients_equal_the_authors(
    shared: Path, tmp_path: Path, name, prefix, entry, published_name, head, stages
):
    model, arrays = seeded_model(shared, tmp_path, name, entry), stored(shared, "merl")
    assert len(model.classes) == 5
    for kind in ("x", "odd"):
        if not any(each.startswith(f"{prefix}.{kind}.") for each in arrays):
            continue
        signal = torch.from_numpy(arrays[f"input.{kind}"])
        found = outputs(model, signal, stages(model))
        found["tokens_in"] = model.base_encoder.features_before(0, signal)
        found["mean_before_norm"] = found["tokens"].mean(dim=1)
        compare(arrays, f"{prefix}.{kind}.", found)
    norms = json.loads((shared / "reference" / "encoders" / "merl" / "grad_norms.json").read_text())
    names = {f"encoder.{own}": published_name(own) for own in model.base_encoder.state_dict()}
    names |= {f"head.0.{part}": f"{head}.{part}" for part in ("weight", "bias")}
    compare_gradients(model, torch.from_numpy(arrays["input.x"]), norms[prefix], names, norms[f"{prefix}_loss"])


@pytest.mark.slow
def test_leads_in_the_usual_order_are_read_in_the_authors(shared: Path, tmp_path: Path):
    model = seeded_model(shared, tmp_path, "merl-vit-tiny", "vit_tiny_5_labels")
    usual = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    assert LEADS.index("aVF") == usual.index("aVL") == 4
    adapted = load_model("merl-vit-tiny", checkpoint=tmp_path / "best_encoder.pth", leads=usual).eval()
    signal = torch.from_numpy(stored(shared, "merl")["input.x"])
    swapped = signal[:, [LEADS.index(lead) for lead in usual]]
    with torch.no_grad():
        torch.testing.assert_close(adapted(swapped), model(signal))


def test_the_preset_scales_a_window_to_one_range():
    signal = np.random.default_rng(0).standard_normal((2, 12, 5000))
    prepared = Preprocessing(500.0, normalisation="none", steps=PRESETS["pretraining"])(signal, 500.0)
    low, high = (of(signal, axis=(1, 2), keepdims=True) for of in (np.min, np.max))
    np.testing.assert_allclose(prepared, (signal - low) / (high - low), atol=1e-6)

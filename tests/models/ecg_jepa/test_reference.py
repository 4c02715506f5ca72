"""ECG-JEPA against the stored numbers of the authors' code, through files as they publish them."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ecgtune.models.classifier import Classifier
from ecgtune.models.ecg_jepa.network import LEADS, positions
from ecgtune.models.ecg_jepa.published import published_name
from ecgtune.models.loading import load_model
from helpers.published import compare, compare_gradients, outputs, seeded_weights, stored

FOLDER, ENTRY = "ecg_jepa", "finetuning_classifier_5_labels"
#: Leads of the stored inputs.
INPUTS = {"x": LEADS, "leads_1_6": (LEADS[1], LEADS[6]), "lead_1": (LEADS[1],)}


def stages_of(model: Classifier) -> dict[str, torch.nn.Module]:
    """Modules by the names of their stored outputs."""
    encoder = model.base_encoder
    layers = {f"block{number}": layer for number, layer in enumerate(encoder.layers)}
    return {"W_P": encoder.projection, "norm": encoder.norm, "block0.attn": encoder.layers[0].attention} | layers


def computed(model: Classifier, signal: Tensor) -> dict[str, Tensor]:
    entered: list[Tensor] = []
    hook = model.base_encoder.layers[0].register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0]))
    found = outputs(model, signal, stages_of(model))
    hook.remove()
    return found | {"block0_in": entered[0]}


@pytest.mark.slow
def test_outputs_and_gradients_equal_the_authors(shared: Path, tmp_path: Path):
    weights, arrays = seeded_weights(shared, FOLDER, ENTRY), stored(shared, FOLDER)
    path = tmp_path / "classifier.pth"
    torch.save(weights, path)
    for kind, leads in INPUTS.items():
        model = load_model("ecg-jepa", checkpoint=path, leads=leads).eval()
        compare(arrays, f"{kind}.", computed(model, torch.from_numpy(arrays[f"input.{kind}"])))

    model = load_model("ecg-jepa", checkpoint=path).eval()
    signal = torch.from_numpy(arrays["input.x"])
    norms = json.loads((shared / "reference" / "encoders" / FOLDER / "grad_norms.json").read_text())
    names = {f"encoder.{own}": f"encoder.{published_name(own)}" for own in model.base_encoder.state_dict()}
    names |= {"head.0.weight": "fc.fc.weight", "head.0.bias": "fc.fc.bias"}
    compare_gradients(model, signal, norms["classifier"], names, norms["loss"])

    encoder = model.base_encoder
    visible = (~torch.from_numpy(arrays["masked.mask"])).repeat(len(LEADS))
    tokens, allowed = (
        encoder.embed(signal)[0][:, visible],
        encoder._neighbours("cpu")[None, None, visible][..., visible],
    )
    for layer in encoder.layers:
        tokens = layer(tokens + encoder.positions[visible], allowed)
    compare(arrays, "masked.", {"tokens": encoder.norm(tokens), "mask": torch.from_numpy(arrays["masked.mask"])})

    model.base_encoder.positions.copy_(positions(len(LEADS), 50, 768))
    compare(arrays, "x_with_sincos_table.", computed(model, signal))

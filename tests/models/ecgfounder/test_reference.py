"""ECGFounder against the stored numbers of the authors' code, through files as they publish them."""

import json
from pathlib import Path

import pytest
import torch

from ecgtune.models.classifier import Classifier
from ecgtune.models.ecgfounder.network import Block
from ecgtune.models.ecgfounder.published import TWELVE_LEADS, published_name
from ecgtune.models.loading import load_model
from helpers.published import compare, compare_gradients, outputs, seeded_file, stored

#: Model, prefix of its stored numbers, entry of its weights.
SIZES = [
    pytest.param("ecgfounder", "lead12", "12_lead_150_classes", marks=pytest.mark.slow),
    pytest.param("ecgfounder-1lead", "lead1", "1_lead_150_classes", marks=pytest.mark.slow),
]


def stages_of(model: Classifier) -> dict[str, torch.nn.Module]:
    """Modules by the names of their stored outputs."""
    encoder = model.base_encoder
    stages: dict[str, torch.nn.Module] = {"first_conv": encoder.stem}
    layers = iter(encoder.layers)
    for stage, blocks in enumerate(TWELVE_LEADS.blocks):
        stages |= {f"stage{stage}.block{block}": next(layers) for block in range(blocks)}
    inner: Block = stages["stage1.block0"]
    parts = {"conv1": inner.conv1, "conv2": inner.conv2, "conv3": inner.conv3}
    parts |= {"se_fc1": inner.excitation.fc1, "se_fc2": inner.excitation.fc2}
    return stages | {f"stage1.block0.{name}": module for name, module in parts.items()}


@pytest.mark.parametrize(("name", "prefix", "entry"), SIZES)
def test_outputs_and_gradients_equal_the_authors(shared: Path, tmp_path: Path, name, prefix, entry):
    path = seeded_file(tmp_path / "model.pth", shared, "ecgfounder", entry)
    model = load_model(name, checkpoint=path).eval()
    arrays = stored(shared, "ecgfounder")
    for kind in ("x", "odd", "tiny"):
        if f"input.{prefix}.{kind}" not in arrays:
            continue
        signal = torch.from_numpy(arrays[f"input.{prefix}.{kind}"])
        found = outputs(model, signal, stages_of(model))
        found["first_activation"] = torch.nn.functional.silu(found["first_conv"])
        found["last_map"] = found["tokens"].transpose(1, 2)
        before = found["stage0.block1"]
        found["stage1.block0.max_pool"] = torch.nn.functional.max_pool1d(torch.nn.functional.pad(before, (0, 1)), 2)
        compare(arrays, f"{prefix}.{kind}.", found)

    norms = json.loads((shared / "reference" / "encoders" / "ecgfounder" / "grad_norms.json").read_text())
    names = {f"encoder.{own}": published_name(own) for own in model.base_encoder.state_dict()}
    names |= {"head.0.weight": "dense.weight", "head.0.bias": "dense.bias"}
    signal = torch.from_numpy(arrays[f"input.{prefix}.x"])
    compare_gradients(model, signal, norms[f"{prefix}_150_classes"], names, norms[f"{prefix}_loss"])

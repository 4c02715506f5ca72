"""ST-MEM against the stored numbers of the authors' code, through files as they publish them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ecgtune.data.preprocessing import Preprocessing
from ecgtune.errors import AuditError
from ecgtune.models.checkpoint import load_checkpoint
from ecgtune.models.classifier import Classifier
from ecgtune.models.loading import load_model
from ecgtune.models.st_mem.network import PRESETS, STMEM, STMEMConfig
from ecgtune.models.st_mem.published import BASE, SMALL, published_name
from helpers.published import compare, compare_gradients, outputs, seeded_file, seeded_weights, stored


def stages_of(model: Classifier) -> dict[str, torch.nn.Module]:
    """Modules by the names of their stored outputs."""
    encoder = model.base_encoder
    stages = {f"block{number}": layer for number, layer in enumerate(encoder.layers)}
    return {"patch_embedding": encoder.patches, "block0.to_qkv": encoder.layers[0].attention.qkv, **stages}


def check_outputs(model: Classifier, arrays: dict[str, np.ndarray], prefix: str, kind: str) -> None:
    signal = torch.from_numpy(arrays[f"input.{kind}"])
    found = outputs(model, signal, stages_of(model))
    found["tokens_in"] = model.base_encoder.features_before(0, signal)
    found["last_block"] = found[f"block{len(model.base_encoder.layers) - 1}"]
    found["mean_before_norm"] = found["tokens"].mean(dim=1)
    compare(arrays, f"{prefix}.{kind}.", found)


@pytest.mark.slow
def test_outputs_and_gradients_equal_the_authors(shared: Path, tmp_path: Path):
    path = seeded_file(
        tmp_path / "encoder.pth", shared, "st_mem", "base_encoder_5_classes", "model", scaler=None, config={"a": 1}
    )
    model, arrays = load_model("st-mem", checkpoint=path).eval(), stored(shared, "st_mem")
    assert model.weights.terms.startswith("no commercial use")
    for kind in ("x", "short"):
        check_outputs(model, arrays, "base", kind)
    norms = json.loads((shared / "reference" / "encoders" / "st_mem" / "grad_norms.json").read_text())
    names = {f"encoder.{own}": published_name(own) for own in model.base_encoder.state_dict()}
    names |= {f"head.0.{part}": f"head.{part}" for part in ("weight", "bias")}
    compare_gradients(model, torch.from_numpy(arrays["input.x"]), norms["base"], names, norms["base_loss"])


@pytest.mark.slow
def test_the_small_size_equals_the_authors(shared: Path, tmp_path: Path):
    path = seeded_file(tmp_path / "encoder.pth", shared, "st_mem", "small_encoder_5_classes", "model")
    model = load_model(path).eval()
    assert model.base_encoder.config == SMALL
    check_outputs(model, stored(shared, "st_mem"), "small", "x")
    with pytest.raises(AuditError, match=r"st-mem: .*'pos_embedding' has shape \(1, 32, 384\) instead of"):
        load_model("st-mem", checkpoint=path)


@pytest.mark.slow
def test_one_lead_as_the_authors_code_reads_it(shared: Path, tmp_path: Path):
    """Their code reads one lead as twelve leads with two separators; here one lead gives the tokens of one lead."""
    path = seeded_file(tmp_path / "encoder.pth", shared, "st_mem", "base_encoder_5_classes", "model")
    model, arrays = load_model("st-mem", checkpoint=path, leads=("I",)).eval(), stored(shared, "st_mem")
    signal = torch.from_numpy(arrays["input.one"])
    with torch.no_grad():
        tokens, _ = model.encode(signal)
        assert tokens.shape == (2, 30, 768)
        right = model(signal)
    theirs = STMEM.from_weights(replace(BASE, leads=("I",), one_lead_as_twelve=True), model.encoder.state_dict()).eval()
    whole = load_model("st-mem", checkpoint=path).eval()
    whole.encoder, whole.__dict__["base_encoder"] = theirs, theirs
    check_outputs(whole, arrays, "base", "one")
    assert float((right - torch.from_numpy(arrays["base.one.logits"])).abs().max()) > 0.01
    twelve = load_model("st-mem", checkpoint=path).eval()
    with torch.no_grad():
        logits = twelve(signal.repeat(1, 12, 1))
    np.testing.assert_allclose(logits, arrays["base.one_repeated_12_times.logits"], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_encoder_of_the_whole_pretraining_model(shared: Path, tmp_path: Path):
    weights = dict(seeded_weights(shared, "st_mem", "base_full_pretraining"))
    for name in [name for name in weights if name.startswith("encoder.to_patch_embedding.")]:
        weights[name.removeprefix("encoder.")] = weights[name]
    torch.save({"model": weights, "epoch": 800}, tmp_path / "full.pth")
    found = load_checkpoint(tmp_path / "full.pth")
    arrays = stored(shared, "st_mem")
    reasons = dict(found.weights.left_out)
    assert reasons["to_patch_embedding.2.weight"] == "the same tensor under another name"
    assert reasons["mask_embedding"] == reasons["decoder_head.bias"] == "used only by the pretraining objective"
    encoder = found.encoder.eval()
    assert isinstance(encoder, STMEM)
    with torch.no_grad():
        # In the pretraining the norm acts on every token, separators among them.
        features = encoder.norm(encoder.features_before(BASE.depth, torch.from_numpy(arrays["input.x"])))
    np.testing.assert_allclose(features[:, ::11, ::16], arrays["full.mask0.latent[:,::11,::16]"], rtol=0, atol=2e-5)
    weights["to_patch_embedding.2.weight"] = weights["to_patch_embedding.2.weight"] + 1
    torch.save({"model": weights}, tmp_path / "full.pth")
    with pytest.raises(AuditError, match="names a tensor twice"):
        load_checkpoint(tmp_path / "full.pth")


@pytest.mark.parametrize("name", ["r500", "r400_flat_aVL", "r250"])
def test_the_preset_gives_what_the_authors_code_gives(shared: Path, name: str):
    """They resample whole recordings and filter windows; a window of nine seconds goes through the same steps."""
    with np.load(shared / "reference" / "encoders" / "st_mem" / "preprocessing.npz") as arrays:
        record, rate = arrays[f"input.{name}"].astype(np.float64), float(name[1:4])
        record = PRESETS["fine-tuning"][0](record[None], rate)[0][0]
        np.testing.assert_allclose(record[:, ::2], arrays[f"{name}.resampled[:,::2]"], atol=1e-5)
        crops = np.stack([record[:, start : start + 2250] for start in (0, 125, 250)])
        prepared = Preprocessing(250.0, normalisation="none", steps=PRESETS["fine-tuning"])(crops, 250.0)
        stored_crops = arrays[f"{name}.eval_crops(3,12,2250)[:,:,::3]"]
        np.testing.assert_allclose(prepared[:, :, ::3], stored_crops, rtol=0, atol=1e-5)


def test_the_positions_of_new_weights_are_the_authors(shared: Path):
    expected = stored(shared, "st_mem")["sincos_default.encoder.pos_embedding[0,:,::8]"]
    positions = STMEM(STMEMConfig(depth=0)).positions.detach()
    np.testing.assert_allclose(positions[0, :, ::8], expected, rtol=0, atol=2e-6)


SMALLEST = STMEMConfig(patch=20, patches=6, width=16, depth=2, heads=2, feed_forward=24)


def test_fewer_leads_give_the_tokens_of_these_leads_with_their_embeddings():
    torch.manual_seed(0)
    encoder = STMEM(SMALLEST).eval()
    few = encoder.adapt_leads(("V1", "II")).eval()
    signal = torch.randn(2, 2, 120)
    with torch.no_grad():
        tokens, mask = few(signal)
        assert tokens.shape == (2, 12, 16)
        assert mask.all()
        before = few.features_before(0, signal).unflatten(1, (2, 8))
        patches = few.patches(signal.unflatten(2, (-1, 20))) + few.positions[:, 1:7]
        for place, (row, lead) in enumerate(((1, 1), (6, 0))):  # lead II comes first
            torch.testing.assert_close(before[:, place, 1:-1], patches[:, lead] + few.lead_embeddings[row])
    short, _ = encoder(torch.randn(2, 12, 40))
    assert short.shape == (2, 24, 16)

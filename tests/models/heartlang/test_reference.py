"""HeartLang against the stored numbers of the authors' code, through files as they publish them."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.models.checkpoint import load_checkpoint
from ecgtune.models.classifier import Classifier
from ecgtune.models.heartlang.beats import Beats, beats_of, cut_beats, qrs_complexes
from ecgtune.models.heartlang.network import HeartLang, HeartLangConfig
from ecgtune.models.heartlang.published import published_name
from ecgtune.models.loading import load_model
from helpers.published import GRADIENTS, compare, seeded_file, stored


class OfBeats(HeartLang):
    """The encoder, for beats in place of a signal."""

    def embed(self, signal, padding_mask=None):
        return self.embed_beats(signal), None


def beats(arrays: dict[str, np.ndarray], kind: str) -> Beats:
    words, lead, second = (torch.from_numpy(arrays[f"input.{kind}.{part}"]) for part in ("words", "chan", "time"))
    return Beats(F.pad(words, (0, 0, 0, lead.shape[1] - words.shape[1])), lead.long(), second.long())


def stages(model: Classifier, given: Beats) -> dict[str, Tensor]:
    """All stages, by the names of their stored outputs."""
    encoder = model.base_encoder
    found = {"token_embed": encoder.stem(given.samples.transpose(1, 2)).transpose(1, 2)}
    found["tokens_in"] = features = encoder.embed_beats(given)
    for number, layer in enumerate(encoder.layers):
        attended = layer.attention(layer.attention_norm(features))
        found |= {f"layer{number}.attention": attended}
        found |= {f"layer{number}.feedforward": layer.feed_forward(layer.feed_forward_norm(features + attended))}
        features = layer(features)
    found |= {"transformer": features, "norm": encoder.finish(features, None)}
    found["pooled_cls"] = model.pool(found["norm"], None)
    return found | {"logits": model.head(found["pooled_cls"])}


@pytest.mark.slow
def test_outputs_and_gradients_equal_the_authors(shared: Path, tmp_path: Path):
    path = seeded_file(
        tmp_path / "checkpoint.pth",
        shared,
        "heartlang",
        "finetune_base_5_labels",
        "model",
        args=argparse.Namespace(a=1),
    )
    model, arrays = load_model("heartlang", checkpoint=path).eval(), stored(shared, "heartlang")
    reasons = dict(model.weights.left_out)
    assert reasons["backbone.mask_token"] == reasons["backbone.lm_head.weight"]
    model.encoder.__class__ = OfBeats
    for kind in ("x12", "lead_II_only"):
        with torch.no_grad():
            found = stages(model, beats(arrays, kind))
            compare(arrays, f"{kind}.", found)
            torch.testing.assert_close(model(beats(arrays, kind)), found["logits"])
        np.testing.assert_allclose(found["pooled_cls"], arrays[f"{kind}.pooled_cls"], rtol=0, atol=1e-5)

    norms = json.loads((shared / "reference" / "encoders" / "heartlang" / "grad_norms.json").read_text())
    total = model.requires_grad_(True)(beats(arrays, "x12")).square().sum()
    total.backward()
    np.testing.assert_allclose(total.item(), norms["loss"], rtol=GRADIENTS)
    own = {f"backbone.{published_name(name)}": p.grad for name, p in model.encoder.named_parameters()}
    own |= {f"mlp_head.{part}": getattr(model.head[0], part).grad for part in ("weight", "bias")}
    unused = {"backbone.mask_token", "backbone.lm_head.weight", "backbone.lm_head.bias"}
    assert set(own) == set(norms["finetune_base"]) - unused
    for name, gradient in own.items():
        assert float(gradient.double().norm()) == pytest.approx(norms["finetune_base"][name], rel=GRADIENTS), name


@pytest.mark.slow
def test_the_pretraining_model_is_read(shared: Path, tmp_path: Path):
    path = seeded_file(tmp_path / "checkpoint.pth", shared, "heartlang", "pretraining_model", "model")
    found = load_checkpoint(path)
    assert isinstance(found.encoder, HeartLang)
    assert found.head is None
    assert {name for name, reason in found.weights.left_out if "objective" in reason} == {
        *("mask_token", "lm_head.weight", "lm_head.bias")
    }


SIGNAL = np.zeros((12, 1000), dtype=np.float32)
PEAKS = (90, 180, 290, 370, 460, 560, 640, 750, 830, 930)
for _place, _peak in enumerate(PEAKS):
    SIGNAL[:, _peak - 6 : _peak + 7] += (1 + 0.01 * _place) * np.hanning(13)
SIGNAL *= np.linspace(1, 2, 12, dtype=np.float32)[:, None]


def test_beats_reach_half_way_to_their_neighbours():
    cut = cut_beats(np.array([30, 100, 300]), 330, 96)
    kept = [row[row < 330] for row in cut]
    assert [(row[0], row[-1] + 1) for row in kept] == [(0, 65), (52, 148), (252, 330)]
    assert [row[48] for row in cut] == [30, 100, 300]
    assert cut_beats(np.array([], dtype=np.int64), 330, 96).shape == (0, 96)


@pytest.mark.parametrize(
    ("peaks", "expected"),
    [
        ([30, 100, 300], [(0, 65, 18), (52, 148, 0), (252, 330, 0)]),
        ([40, 200, 290], [(0, 88, 8), (152, 248, 0), (245, 330, 3)]),
        ([20], [(0, 68, 28)]),
    ],
)
def test_beats_as_the_authors_code_cuts_them(peaks, expected):
    """First sample, end and place of the first sample, from `extract_qrs_segments` of their commit a08afd8."""
    cut = cut_beats(np.array(peaks), 330, 96, move_long=True)
    assert [(row[row < 330][0], row[row < 330][-1] + 1, np.argmax(row < 330)) for row in cut] == expected


def test_beats_of_a_signal():
    signal = torch.from_numpy(np.stack([SIGNAL, np.zeros_like(SIGNAL)]))
    found = beats_of(signal, STANDARD_LEADS, 256, 96)
    peaks = qrs_complexes(SIGNAL)
    np.testing.assert_allclose(peaks, PEAKS, atol=8)  # the detector is early on these waves
    count = len(peaks)
    assert found.lead[0, : 12 * count].tolist() == [lead for lead in range(1, 13) for _ in range(count)]
    assert found.second[0, :count].tolist() == [peak // 100 + 1 for peak in peaks]
    assert not found.lead[0, 12 * count :].any()
    assert not found.samples[0, 12 * count :].any()
    for place, lead in ((0, 0), (count - 1, 0), (7 * count + 2, 7)):
        peak = int(peaks[place % count])
        assert found.samples[0, place, 48] == SIGNAL[lead, peak]
    # A window without a beat has empty places alone.
    assert not found.lead[1].any()
    assert not found.samples[1].any()
    # So has one of which less than half a second is no padding.
    short = beats_of(signal[:1], STANDARD_LEADS, 256, 96, torch.tensor([20]))
    assert not short.lead.any()
    few = beats_of(signal, STANDARD_LEADS, count + 3, 96)
    assert few.lead[0].tolist() == [1] * count + [2] * 3


def test_fewer_leads_give_fewer_beats_with_the_embeddings_of_these_leads():
    torch.manual_seed(0)
    encoder = HeartLang(HeartLangConfig(beats=60, width=16, depth=1, heads=2, inner=8, feed_forward=24)).eval()
    signal = torch.from_numpy(SIGNAL)[None]
    one = encoder.adapt_leads(("II",)).eval()
    given = beats_of(signal[:, 1:2], ("II",), 60, 96)
    assert given.lead.unique().tolist() == [0, 2]
    with torch.no_grad():
        torch.testing.assert_close(one(signal[:, 1:2])[0], encoder.norm(encoder.layers[0](encoder.embed_beats(given))))
    tokens, mask = one(signal[:, 1:2], torch.arange(1000)[None] >= 500)
    assert mask.sum() == 1 + (qrs_complexes(SIGNAL[1:2, :500]) >= 0).sum()
    assert tokens.shape == (1, 61, 16)

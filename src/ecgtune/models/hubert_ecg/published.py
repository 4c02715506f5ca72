"""Reader of the published HuBERT-ECG files: `.pt` files of a training, and `.safetensors` of the hub."""

from __future__ import annotations

from dataclasses import replace

from ecgtune.models.hubert_ecg.network import HubertEcg, HubertEcgConfig
from ecgtune.models.published import StateDictFormat

BASE = HubertEcgConfig()
SMALL = replace(BASE, width=512, depth=8, heads=8, feed_forward=2048)
LARGE = replace(BASE, width=960, depth=16, heads=12, feed_forward=3840)

#: Parts of names in `HubertEcg` and in the file; the first that occurs is replaced.
_PARTS = {
    "stem_norm.": "feature_projection.layer_norm.",
    "projection.": "feature_projection.projection.",
    "positional.": "encoder.pos_conv_embed.",
    "input_norm.": "encoder.layer_norm.",
    "stem.": "feature_extractor.conv_layers.",
    "layers.": "encoder.layers.",
}
_INNER = {
    ".attention_norm.": ".layer_norm.",
    ".final_norm.": ".final_layer_norm.",
    ".fc1.": ".intermediate_dense.",
    ".fc2.": ".output_dense.",
    ".0.norm.": ".0.layer_norm.",
}


def published_name(name: str) -> str:
    """Name in the file of a tensor of `HubertEcg`."""
    start = next(part for part in _PARTS if name.startswith(part))
    name = _PARTS[start] + name.removeprefix(start)
    for own, theirs in _INNER.items():
        name = name.replace(own, theirs)
    return name


_PRETRAINING = "used only by the pretraining objective"
_CONV = "pos_conv_embed.conv."

FORMAT = StateDictFormat(
    architecture=HubertEcg,
    sizes=(SMALL, BASE, LARGE),
    published_name=published_name,
    mark="encoder.layers.*.feed_forward.intermediate_dense.weight",
    containers=("model_state_dict", "state_dict", "model"),
    prefixes=("module.", "hubert_ecg."),
    renamed={
        f"{_CONV}weight_g": f"{_CONV}parametrizations.weight.original0",
        f"{_CONV}weight_v": f"{_CONV}parametrizations.weight.original1",
    },
    head=("classifier.weight", "classifier.bias"),
    left_out={pattern: _PRETRAINING for pattern in ("masked_spec_embed", "final_proj.*", "label_embedding.*")},
)

"""Reader of the codec files of openecg."""

from __future__ import annotations

import re

from ecgtune.models.openecg.network import OpenECG, OpenECGConfig
from ecgtune.models.published import StateDictFormat

PUBLISHED = OpenECGConfig()

_LAYER = {
    "attention_norm.": "norm1.",
    "attention.qkv.": "self_attn.in_proj_",
    "attention.out_proj.": "self_attn.out_proj.",
    "feed_forward_norm.": "norm2.",
    "feed_forward.fc1.": "linear1.",
    "feed_forward.fc2.": "linear2.",
}


def published_name(name: str) -> str:
    """Name in the file of a tensor of `OpenECG`."""
    found = re.fullmatch(r"layers\.(\d+)\.(.*\.)(\w+)", name)
    if found is None:
        return name.replace("stem.", "conv_tok.").replace("positions", "pos_enc")
    layer = int(found[1])
    if layer < PUBLISHED.convolutional:
        return f"lower_{found[2][:-1]}s.{layer}.{found[3]}"
    return f"upper_transformer.layers.{layer - PUBLISHED.convolutional}.{_LAYER[found[2]]}{found[3]}"


FORMAT = StateDictFormat(
    architecture=OpenECG,
    sizes=(PUBLISHED,),
    published_name=published_name,
    mark="upper_transformer.layers.*.self_attn.in_proj_weight",
    containers=("model_state",),
    left_out={
        **dict.fromkeys(("refine.*", "*_sample.*"), "layers that label samples"),
        "head.*": "unused by the authors' network",
    },
)

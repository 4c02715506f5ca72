"""Reader of the codec files of openecg."""

from __future__ import annotations

import re

from ecgtune.models.openecg.network import OpenECG, OpenECGConfig
from ecgtune.models.published import StateDictFormat, layer_name

PUBLISHED = OpenECGConfig()

_PARTS = ("norm1", "self_attn.in_proj", "self_attn.out_proj", "norm2", "linear1", "linear2")


def published_name(name: str) -> str:
    """Name in the file of a tensor of `OpenECG`."""
    found = re.fullmatch(r"layers\.(\d+)\.(conv|norm)\.(\w+)", name)
    if found is not None:
        return f"lower_{found[2]}s.{found[1]}.{found[3]}"
    layer = layer_name(name, "upper_transformer.layers.{}", _PARTS, first=PUBLISHED.convolutional)
    if layer is not None:
        return layer.replace("in_proj.", "in_proj_")
    return name.replace("stem.", "conv_tok.").replace("positions", "pos_enc")


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

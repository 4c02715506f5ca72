"""Reader of the published ST-MEM files: the encoder, or the whole pretraining model."""

from __future__ import annotations

import re
from dataclasses import replace

from ecgtune.models.published import StateDictFormat, layer_name
from ecgtune.models.st_mem.network import STMEM, STMEMConfig

BASE = STMEMConfig()
SMALL = replace(BASE, width=384, heads=6, feed_forward=1536)

_PARTS = ("attn.norm", "attn.fn.to_qkv", "attn.fn.to_out.0", "ff.norm", "ff.fn.net.0", "ff.fn.net.3")


def published_layer(name: str) -> str:
    """Name in the file of a tensor of a `PreNormLayer`; other names as they are."""
    return layer_name(name, "block{}", _PARTS) or name


def published_name(name: str) -> str:
    """Name in the file of a tensor of `STMEM`."""
    found = re.fullmatch(r"patches\.(\d)\.(\w+)", name)
    if found is not None:
        return f"to_patch_embedding.{int(found[1]) + 1}.{found[2]}"
    return {"positions": "pos_embedding", "separator": "sep_embedding"}.get(name) or published_layer(name)


FORMAT = StateDictFormat(
    architecture=STMEM,
    sizes=(BASE, SMALL),
    published_name=published_name,
    mark="sep_embedding",
    prefixes=("module.", "encoder."),
    head=("head.weight", "head.bias"),
    left_out=dict.fromkeys(
        ("mask_embedding", "decoder_*", "to_decoder_embedding.*"), "used only by the pretraining objective"
    ),
)

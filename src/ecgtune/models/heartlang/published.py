"""Reader of the published HeartLang files: the pretraining model, or a fine-tuned one."""

from __future__ import annotations

import re

from ecgtune.models.heartlang.network import HeartLang, HeartLangConfig
from ecgtune.models.published import StateDictFormat

PUBLISHED = HeartLangConfig()

_NAMES = {
    "stem.weight": "token_embed.tokenConv.weight",
    "lead_embedding.weight": "spa_embed.embed.weight",
    "second_embedding.weight": "tem_embed.embed.weight",
    "class_token": "cls_token",
    "positions": "pos_embed",
    "norm.weight": "norm_layer.weight",
    "norm.bias": "norm_layer.bias",
}
_LAYER = {
    "attention_norm": "0.norm",
    "attention.qkv": "0.to_qkv",
    "attention.out_proj": "0.to_out.0",
    "feed_forward_norm": "1.net.0",
    "feed_forward.fc1": "1.net.1",
    "feed_forward.fc2": "1.net.4",
}


def published_name(name: str) -> str:
    """Name in the file of a tensor of `HeartLang`."""
    found = re.fullmatch(r"layers\.(\d+)\.(.*)\.(\w+)", name)
    return _NAMES[name] if found is None else f"transformer.layers.{found[1]}.{_LAYER[found[2]]}.{found[3]}"


FORMAT = StateDictFormat(
    architecture=HeartLang,
    sizes=(PUBLISHED,),
    published_name=published_name,
    mark="token_embed.tokenConv.weight",
    prefixes=("module.", "backbone."),
    head=("mlp_head.weight", "mlp_head.bias"),
    left_out=dict.fromkeys(("mask_token", "lm_head.*"), "used only by the pretraining objective"),
)

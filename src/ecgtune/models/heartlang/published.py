"""Reader of the published HeartLang files: the pretraining model, or a fine-tuned one."""

from __future__ import annotations

from ecgtune.models.heartlang.network import HeartLang, HeartLangConfig
from ecgtune.models.published import StateDictFormat, layer_name

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
_PARTS = ("0.norm", "0.to_qkv", "0.to_out.0", "1.net.0", "1.net.1", "1.net.4")


def published_name(name: str) -> str:
    """Name in the file of a tensor of `HeartLang`."""
    return layer_name(name, "transformer.layers.{}", _PARTS) or _NAMES[name]


FORMAT = StateDictFormat(
    architecture=HeartLang,
    sizes=(PUBLISHED,),
    published_name=published_name,
    mark="token_embed.tokenConv.weight",
    prefixes=("module.", "backbone."),
    head=("mlp_head.weight", "mlp_head.bias"),
    left_out=dict.fromkeys(("mask_token", "lm_head.*"), "used only by the pretraining objective"),
)

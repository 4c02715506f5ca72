"""Readers of the published MERL encoders: bare state dicts."""

from __future__ import annotations

import re

from ecgtune.models.merl.network import MerlResNet, MerlResNetConfig, MerlViT, MerlViTConfig
from ecgtune.models.published import StateDictFormat
from ecgtune.models.st_mem.published import published_layer

RESNET, VIT = MerlResNetConfig(), MerlViTConfig()


def resnet_name(name: str) -> str:
    """Name in the file of a tensor of `MerlResNet`."""
    found = re.fullmatch(r"layers\.(\d+)\.(.*)", name)
    if found is None:
        return name.replace("stem.0.", "conv1.").replace("stem.1.", "bn1.")
    return f"layer{int(found[1]) // 2 + 1}.{int(found[1]) % 2}.{found[2].replace('norm', 'bn')}"


def vit_name(name: str) -> str:
    """Name in the file of a tensor of `MerlViT`."""
    return published_layer(name).replace("stem.", "to_patch_embedding.").replace("positions", "pos_embedding")


RESNET_FORMAT = StateDictFormat(
    architecture=MerlResNet,
    sizes=(RESNET,),
    published_name=resnet_name,
    mark="layer1.0.bn1.running_var",
    head=("linear.weight", "linear.bias"),
)
VIT_FORMAT = StateDictFormat(
    architecture=MerlViT,
    sizes=(VIT,),
    published_name=vit_name,
    mark="to_patch_embedding.weight",
    head=("head.weight", "head.bias"),
)

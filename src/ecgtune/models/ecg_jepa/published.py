"""Reader of the published ECG-JEPA files: the encoder, a fine-tuned classifier, or the whole pretraining model."""

from __future__ import annotations

import re

from ecgtune.models.ecg_jepa.network import EcgJepa, EcgJepaConfig
from ecgtune.models.published import StateDictFormat

PUBLISHED = EcgJepaConfig()

_LAYER = {
    "attention_norm": "norm1",
    "feed_forward_norm": "norm2",
    "attention.qkv": "attn.qkv",
    "attention.out_proj": "attn.proj",
    "feed_forward.fc1": "mlp.fc1",
    "feed_forward.fc2": "mlp.fc2",
}


def published_name(name: str) -> str:
    """Name in the file of a tensor of `EcgJepa`."""
    found = re.fullmatch(r"layers\.(\d+)\.(.*)\.(weight|bias)", name)
    if found is not None:
        return f"encoder_blocks.blocks.{found[1]}.{_LAYER[found[2]]}.{found[3]}"
    return name.replace("projection.", "W_P.").replace("positions", "pos_embed")


FORMAT = StateDictFormat(
    architecture=EcgJepa,
    sizes=(PUBLISHED,),
    published_name=published_name,
    mark="encoder_blocks.blocks.*.attn.qkv.weight",
    containers=("encoder", "state_dict", "model_state_dict", "model"),
    prefixes=("module.", "encoder."),
    head=("fc.fc.weight", "fc.fc.bias"),
    left_out={
        "predictor.*": "used only by the pretraining objective",
        "target_encoder.*": "used only by the pretraining objective",
        "fc.bn.*": "batch norm that the network does not run",
    },
)

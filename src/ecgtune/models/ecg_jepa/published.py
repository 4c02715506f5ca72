"""Reader of the published ECG-JEPA files: the encoder, a fine-tuned classifier, or the whole pretraining model."""

from __future__ import annotations

from ecgtune.models.ecg_jepa.network import EcgJepa, EcgJepaConfig
from ecgtune.models.published import StateDictFormat, layer_name

PUBLISHED = EcgJepaConfig()

_PARTS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def published_name(name: str) -> str:
    """Name in the file of a tensor of `EcgJepa`."""
    other = name.replace("projection.", "W_P.").replace("positions", "pos_embed")
    return layer_name(name, "encoder_blocks.blocks.{}", _PARTS) or other


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

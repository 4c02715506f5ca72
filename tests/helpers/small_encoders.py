"""The published architectures in small sizes."""

from ecgtune.models.base import Encoder
from ecgtune.models.heartlang.network import HeartLang, HeartLangConfig
from ecgtune.models.merl.network import MerlResNet, MerlResNetConfig, MerlViT, MerlViTConfig
from ecgtune.models.openecg.network import OpenECG, OpenECGConfig
from ecgtune.models.st_mem.network import STMEM, STMEMConfig


def small_encoders() -> dict[str, Encoder]:
    """Encoders with random weights, by architecture."""
    encoders = [
        HeartLang(HeartLangConfig(beats=200, width=16, depth=2, heads=2, inner=8, feed_forward=24)),
        MerlResNet(MerlResNetConfig(channels=(8, 16))),
        MerlViT(MerlViTConfig(patch=20, tokens=6, width=16, depth=2, heads=2, feed_forward=24)),
        OpenECG(OpenECGConfig(width=16, heads=2, feed_forward=24, convolutional=2, attentive=2, positions=64)),
        STMEM(STMEMConfig(patch=20, patches=6, width=16, depth=2, heads=2, feed_forward=24)),
    ]
    return {encoder.architecture: encoder for encoder in encoders}

"""The published architectures in small sizes."""

from ecgtune.models.base import Encoder
from ecgtune.models.openecg.network import OpenECG, OpenECGConfig


def small_encoders() -> dict[str, Encoder]:
    """Encoders with random weights, by architecture."""
    encoders = [
        OpenECG(OpenECGConfig(width=16, heads=2, feed_forward=24, convolutional=2, attentive=2, positions=64)),
    ]
    return {encoder.architecture: encoder for encoder in encoders}

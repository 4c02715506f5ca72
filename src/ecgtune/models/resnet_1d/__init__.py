"""The residual network "resnet-1d", always from scratch."""

from ecgtune.models.registry import register_encoder
from ecgtune.models.resnet_1d.network import ResNet1d

register_encoder("resnet-1d")(ResNet1d)

"""MERL: the published residual network and vision transformer."""

from ecgtune.models.merl.network import MerlResNet, MerlViT
from ecgtune.models.merl.published import RESNET, RESNET_FORMAT, VIT, VIT_FORMAT
from ecgtune.models.registry import published_weights, register_encoder

MerlResNet.published = RESNET_FORMAT
MerlViT.published = VIT_FORMAT
register_encoder("merl-resnet18", weights=published_weights("merl-resnet18", RESNET))(MerlResNet)
register_encoder("merl-vit-tiny", weights=published_weights("merl-vit-tiny", VIT))(MerlViT)

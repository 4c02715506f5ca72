"""The network "s4d", always from scratch."""

from ecgtune.models.registry import register_encoder
from ecgtune.models.s4d.network import S4D

register_encoder("s4d")(S4D)

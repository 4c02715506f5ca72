"""The network "inception-1d", always from scratch."""

from ecgtune.models.inception_1d.network import Inception1d
from ecgtune.models.registry import register_encoder

register_encoder("inception-1d")(Inception1d)

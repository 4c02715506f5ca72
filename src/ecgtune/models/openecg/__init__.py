"""openecg: the encoder of the codec in the package of that name, and the same encoder with random weights."""

from ecgtune.models.openecg.network import OpenECG
from ecgtune.models.openecg.published import FORMAT, PUBLISHED
from ecgtune.models.registry import RandomWeights, published_weights, register_encoder, register_weights

OpenECG.published = FORMAT
register_encoder("openecg", weights=published_weights("openecg", PUBLISHED))(OpenECG)
register_weights("openecg-random", "openecg", RandomWeights(lambda: PUBLISHED))

"""HeartLang: the published encoder."""

from ecgtune.models.heartlang.network import HeartLang
from ecgtune.models.heartlang.published import FORMAT, PUBLISHED
from ecgtune.models.registry import published_weights, register_encoder

HeartLang.published = FORMAT
register_encoder("heartlang", weights=published_weights("heartlang", PUBLISHED))(HeartLang)

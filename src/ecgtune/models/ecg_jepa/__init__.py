"""ECG-JEPA: the published encoder."""

from ecgtune.models.ecg_jepa.network import EcgJepa
from ecgtune.models.ecg_jepa.published import FORMAT, PUBLISHED
from ecgtune.models.registry import published_weights, register_encoder

EcgJepa.published = FORMAT
register_encoder("ecg-jepa", weights=published_weights("ecg-jepa", PUBLISHED))(EcgJepa)

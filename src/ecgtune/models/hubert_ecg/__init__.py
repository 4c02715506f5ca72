"""HuBERT-ECG: the published weights in three sizes."""

from ecgtune.models.hubert_ecg.network import HubertEcg
from ecgtune.models.hubert_ecg.published import BASE, FORMAT, LARGE, SMALL
from ecgtune.models.registry import published_weights, register_encoder, register_weights

HubertEcg.published = FORMAT
register_encoder("hubert-ecg", weights=published_weights("hubert-ecg", BASE))(HubertEcg)
register_weights("hubert-ecg-small", "hubert-ecg", published_weights("hubert-ecg-small", SMALL))
register_weights("hubert-ecg-large", "hubert-ecg", published_weights("hubert-ecg-large", LARGE))

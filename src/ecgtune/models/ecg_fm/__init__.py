"""ECG-FM: the published weights, the bundled one-lead encoder, and the same encoder with random weights."""

from pathlib import Path

from ecgtune.models.ecg_fm.masked_teacher import MaskedTeacher
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.ecg_fm.pretraining import ContrastiveModel
from ecgtune.models.ecg_fm.published import PublishedEcgFM
from ecgtune.models.registry import BundledFolder, RandomWeights, published_weights, register_encoder, register_weights

BUNDLED = Path(__file__).parent / "bundled"

EcgFM.published = PublishedEcgFM()
EcgFM.pretraining_models = {"contrastive": ContrastiveModel, "data2vec": MaskedTeacher}
register_encoder(
    "ecg-fm",
    weights=published_weights("ecg-fm", EcgFmConfig()),
)(EcgFM)

_tiny = BundledFolder(BUNDLED / "ecg-fm-tiny")
register_weights("ecg-fm-tiny", "ecg-fm", _tiny)
register_weights("ecg-fm-tiny-random", "ecg-fm", RandomWeights(lambda: _tiny.config(EcgFM)))

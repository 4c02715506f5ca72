"""Recordings without labels in, an encoder that knows them out, through the one loop."""

from ecgtune.pretraining.contrastive import EcgFmObjective
from ecgtune.pretraining.crops import Selection, crop_samples, select
from ecgtune.pretraining.objective import PretrainingObjective
from ecgtune.pretraining.start import make_objective, random_encoder
from ecgtune.pretraining.teacher import MaskedTeacherObjective

__all__ = [
    "EcgFmObjective",
    "MaskedTeacherObjective",
    "PretrainingObjective",
    "Selection",
    "crop_samples",
    "make_objective",
    "random_encoder",
    "select",
]

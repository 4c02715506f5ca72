"""A name or a checkpoint in, an encoder with a head out, every tensor accounted for."""

from ecgtune.models.checkpoint import Checkpoint, convert, load_checkpoint, save_encoder
from ecgtune.models.classifier import Classifier, Head
from ecgtune.models.description import build_model, describe_model
from ecgtune.models.ecg_fm import EcgFM, EcgFmConfig
from ecgtune.models.encoder import Encoder
from ecgtune.models.lead_mixer import LeadMixer, fold_leads
from ecgtune.models.leads import LEAD_MODES, STANDARD_LEADS, lead_kernel
from ecgtune.models.masked_teacher import MaskedTeacher, TeacherOutput, teacher_decay
from ecgtune.models.pooling import POOLINGS, Pooling, pool
from ecgtune.models.pretraining import Draws, PretrainingModel, PretrainingOutput, gumbel_temperature, load_pretraining
from ecgtune.models.registry import encoder_input, list_models, load_model
from ecgtune.models.resnet import ResNet1d, ResNet1dConfig
from ecgtune.models.rhythm import RhythmHead
from ecgtune.models.weights import Weights

__all__ = [
    "LEAD_MODES",
    "POOLINGS",
    "STANDARD_LEADS",
    "Checkpoint",
    "Classifier",
    "Draws",
    "EcgFM",
    "EcgFmConfig",
    "Encoder",
    "Head",
    "LeadMixer",
    "MaskedTeacher",
    "Pooling",
    "PretrainingModel",
    "PretrainingOutput",
    "ResNet1d",
    "ResNet1dConfig",
    "RhythmHead",
    "TeacherOutput",
    "Weights",
    "build_model",
    "convert",
    "describe_model",
    "encoder_input",
    "fold_leads",
    "gumbel_temperature",
    "lead_kernel",
    "list_models",
    "load_checkpoint",
    "load_model",
    "load_pretraining",
    "pool",
    "save_encoder",
    "teacher_decay",
]

"""Put a method on a model, what it needs while it trains, and the audits that watch it."""

from ecgtune.methods.attach import attach, attached_prefixes, base_encoder
from ecgtune.methods.audits import ParameterCount, TrainingAudit, count_parameters
from ecgtune.methods.own_weights import own_weights
from ecgtune.methods.upkeep import Upkeep, upkeep

__all__ = [
    "ParameterCount",
    "TrainingAudit",
    "Upkeep",
    "attach",
    "attached_prefixes",
    "base_encoder",
    "count_parameters",
    "own_weights",
    "upkeep",
]

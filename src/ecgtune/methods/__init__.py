"""Put a method on a model, what it needs while it trains, and the audits that watch it."""

from ecgtune.methods.attach import attach, attached_prefixes, base_encoder, encoders_of
from ecgtune.methods.audits import ParameterCount, TrainingAudit, count_parameters
from ecgtune.methods.depth import check_depth, layer_rates
from ecgtune.methods.frozen import Above, Below, Cut, deepest_cut, head_alone, reads_features, trained_part
from ecgtune.methods.members import member_seed, unwrapped
from ecgtune.methods.own_weights import own_weights
from ecgtune.methods.upkeep import Upkeep, upkeep

__all__ = [
    "Above",
    "Below",
    "Cut",
    "ParameterCount",
    "TrainingAudit",
    "Upkeep",
    "attach",
    "attached_prefixes",
    "base_encoder",
    "check_depth",
    "count_parameters",
    "deepest_cut",
    "encoders_of",
    "head_alone",
    "layer_rates",
    "member_seed",
    "own_weights",
    "reads_features",
    "trained_part",
    "unwrapped",
    "upkeep",
]

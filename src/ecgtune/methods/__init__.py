"""Put a method on a model, and the audits that watch it train."""

from ecgtune.methods.attach import attach, attached_prefixes, base_encoder
from ecgtune.methods.audits import ParameterCount, TrainingAudit, count_parameters

__all__ = ["ParameterCount", "TrainingAudit", "attach", "attached_prefixes", "base_encoder", "count_parameters"]

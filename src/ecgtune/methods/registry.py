"""The methods as small frozen dataclasses: each says which weights train, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecgtune.config.base import choose, from_table, require, to_table
from ecgtune.methods.added_settings import Adapter, SideTuning
from ecgtune.methods.base import TARGETS, Method, TargetedMethod, check_members
from ecgtune.methods.low_rank_settings import AdaLoRA, LoRA, VeRA
from ecgtune.methods.multiplicative_settings import IA3, OFT
from ecgtune.methods.own_weights_settings import Full, LinearProbe, NormBias, TopLayers

#: Every method by the name that it has in recipes.
METHODS: dict[str, type[Method]] = {
    cls.name: cls
    for cls in (Full, LinearProbe, LoRA, Adapter, SideTuning, TopLayers, NormBias, IA3, VeRA, AdaLoRA, OFT)
}

__all__ = [
    "IA3",
    "METHODS",
    "OFT",
    "TARGETS",
    "AdaLoRA",
    "Adapter",
    "Full",
    "LinearProbe",
    "LoRA",
    "Method",
    "NormBias",
    "SideTuning",
    "TargetedMethod",
    "TopLayers",
    "VeRA",
    "check_members",
    "method_from_table",
    "method_to_table",
]


def method_from_table(table: Mapping[str, Any], where: str = "[method]") -> Method:
    """The method of a TOML table: `name` chooses the class, the rest are its settings. Raises SettingError."""
    settings = dict(table)
    require("name" in settings, f"{where} has no name; allowed: {', '.join(METHODS)}")
    name = choose(str(settings.pop("name")), METHODS, f"method in {where}:")
    return from_table(METHODS[name], settings, where)


def method_to_table(method: Method) -> dict[str, Any]:
    """The TOML table that `method_from_table` reads back into an equal method."""
    return {"name": method.name, **to_table(method)}

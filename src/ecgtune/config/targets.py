"""Roles of an encoder's modules, and the sets of them that methods act on."""

from collections.abc import Mapping

from ecgtune.config.base import choose, require

#: Layers that a method may change: linear projections and convolutions. "qkv" is a joint projection of all three;
#: "grouped_conv" are convolutions of several groups, "gate_*" the linear layers of squeeze-excitation.
PROJECTIONS = (
    *("query", "key", "value", "qkv", "attention_output", "mlp_input", "mlp_output"),
    *("conv", "grouped_conv", "gate_input", "gate_output"),
)
#: Also modules whose output a residual connection adds.
ROLES = (*PROJECTIONS, "attention_branch", "mlp_branch", "conv_branch")
#: Sets of roles by name. "all" is attention and mlp, or conv for an encoder with neither.
TARGETS: Mapping[str, tuple[str, ...]] = {
    "qkv": ("query", "key", "value", "qkv"),
    "attention": ("query", "key", "value", "qkv", "attention_output"),
    "mlp": ("mlp_input", "mlp_output"),
    "conv": ("conv",),
    "grouped_conv": ("grouped_conv",),
    "gate": ("gate_input", "gate_output"),
}
TITLES = {
    "qkv": "q, k, v",
    "attention": "attention",
    "mlp": "feed-forward",
    "conv": "convolutions",
    "grouped_conv": "grouped convolutions",
    "gate": "gates",
    "all": "all layers",
}


def check_targets(targets: str | tuple[str, ...], method: str) -> None:
    """Raise SettingError unless `targets` is a set of roles, a role, or names of one module or more."""
    if isinstance(targets, str):
        choose(targets, ("all", *TARGETS, *ROLES), f"targets of {method}:")
    require(len(targets) > 0, f"targets of {method} is empty; name at least one module")

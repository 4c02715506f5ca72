"""What every method is, and the names of the projections that methods act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ecgtune.config.base import choose, require

#: The short names of sets of projections; a method also takes a tuple of module names.
TARGETS: dict[str, tuple[str, ...]] = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "attention": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "all": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
}
_TITLES = {"qkv": "q, k, v", "attention": "attention", "all": "all linear layers"}


@dataclass(frozen=True)
class Method:
    """Base of every method. The head always trains; a subclass says what trains beside it."""

    name: ClassVar[str]
    #: Used when the training settings give no learning rate.
    learning_rate: ClassVar[float]
    #: Whether tokens of the encoder change during training; if not, they need to be computed only once.
    changes_encoder: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """A few words for tables and figures."""
        raise NotImplementedError

    @property
    def takes_members(self) -> bool:
        """Whether it can be put several times on the same frozen weights, see `methods.members`."""
        return False

    def rate_factor(self, parameter: str) -> float:
        """Factor on the learning rate of one weight, by its name in the model; above 0."""
        return 1.0


class TargetedMethod(Method):
    """Base of the methods that act on linear layers of the encoder.

    targets: "qkv", "attention" (q, k, v, out), "all" (attention and feed-forward) or a tuple of module names. It is a
    field of the subclasses, each at its own place among theirs.
    """

    targets: str | tuple[str, ...]

    @property
    def module_names(self) -> tuple[str, ...]:
        """Last parts of the names of the modules that the method acts on."""
        return TARGETS[self.targets] if isinstance(self.targets, str) else self.targets

    @property
    def places(self) -> str:
        """The targets in words."""
        return _TITLES[self.targets] if isinstance(self.targets, str) else ", ".join(self.targets)

    def _check_targets(self) -> None:
        what = type(self).__name__
        if isinstance(self.targets, str):
            choose(self.targets, TARGETS, f"targets of {what}:")
        require(len(self.targets) > 0, f"targets of {what} is empty; name at least one module")


def check_members(method: Method, members: int) -> None:
    """Raise SettingError where there are several `members` of a method that takes none."""
    check_least(members, 1, "members of the model")
    require(
        members == 1 or method.takes_members,
        f"members is {members}, but {method.title} takes none; allowed with lora (not pissa), adapter, side, vera, ia3 "
        "and oft, in their own recipes",
    )


def check_share(value: float, what: str) -> None:
    """Raise SettingError unless `value` (a dropout or another share) is at least 0 and below 1."""
    require(0 <= value < 1, f"{what} is {value}; allowed: 0 up to below 1")


def check_least(value: int, least: int, what: str) -> None:
    """Raise SettingError unless `value` is `least` or more."""
    require(value >= least, f"{what} is {value}; allowed: {least} or more")

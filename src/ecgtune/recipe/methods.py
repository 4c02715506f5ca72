"""The methods as small frozen dataclasses: each says which weights train, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ecgtune.settings import check_fields, choose, from_table, require, to_table

#: The short names of sets of projections; a method also takes a tuple of module names.
TARGETS: dict[str, tuple[str, ...]] = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "attention": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "all": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
}


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


@dataclass(frozen=True)
class Full(Method):
    """Every weight of the encoder trains."""

    name: ClassVar[str] = "full"
    learning_rate: ClassVar[float] = 3e-4

    @property
    def title(self) -> str:
        return "Full fine-tuning"


@dataclass(frozen=True)
class LinearProbe(Method):
    """The encoder is frozen; only the head trains, on tokens that are computed once."""

    name: ClassVar[str] = "probe"
    learning_rate: ClassVar[float] = 3e-3
    changes_encoder: ClassVar[bool] = False

    @property
    def title(self) -> str:
        return "Linear probe"


@dataclass(frozen=True)
class LoRA(Method):
    """Low-rank updates beside frozen projections: W x + (alpha / rank) B A x (Hu et al. 2021, eq. 3), through peft.

    rank: inner width r >= 1. alpha: scale; None means 2 x rank. dropout: on the input of A, in [0, 1).
    targets: "qkv", "attention" (q, k, v, out), "all" (attention and feed-forward) or a tuple of module names.
    rslora: scale alpha / sqrt(rank) (Kalajdzievski 2023). dora: learn magnitude and direction apart (Liu et al. 2024).
    """

    name: ClassVar[str] = "lora"
    learning_rate: ClassVar[float] = 2e-3
    rank: int = 16
    alpha: float | None = None
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all"
    rslora: bool = False
    dora: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.rank >= 1, f"rank of LoRA is {self.rank}; allowed: 1 or more")
        require(0 <= self.dropout < 1, f"dropout of LoRA is {self.dropout}; allowed: 0 up to below 1")
        require(self.alpha is None or self.alpha > 0, f"alpha of LoRA is {self.alpha}; allowed: above 0")
        if isinstance(self.targets, str):
            choose(self.targets, TARGETS, "targets of LoRA:")
        require(len(self.targets) > 0, "targets of LoRA is empty; name at least one module")

    @property
    def module_names(self) -> tuple[str, ...]:
        """Last parts of the names of the modules that get an update."""
        return TARGETS[self.targets] if isinstance(self.targets, str) else self.targets

    @property
    def title(self) -> str:
        kind = "DoRA" if self.dora else "rsLoRA" if self.rslora else "LoRA"
        where = {"qkv": "q, k, v", "attention": "attention", "all": "all linear layers"}
        return (
            f"{kind} r{self.rank}, {where[self.targets] if isinstance(self.targets, str) else ', '.join(self.targets)}"
        )


@dataclass(frozen=True)
class Adapter(Method):
    """Bottlenecks in frozen layers: y + up(gelu(down(y))), the up-projection zero at the start.

    width: inner width >= 1. placement: "both", after attention and after feed-forward (Houlsby et al. 2019, fig. 2);
    "feed-forward", after feed-forward only (Pfeiffer et al. 2021); "parallel", beside the feed-forward block and
    reading its input (He et al. 2022, table 1).
    """

    name: ClassVar[str] = "adapter"
    learning_rate: ClassVar[float] = 2e-3
    width: int = 32
    placement: Literal["both", "feed-forward", "parallel"] = "both"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.width >= 1, f"width of the adapter is {self.width}; allowed: 1 or more")
        require(0 <= self.dropout < 1, f"dropout of the adapter is {self.dropout}; allowed: 0 up to below 1")
        choose(self.placement, ("both", "feed-forward", "parallel"), "placement of the adapter:")

    @property
    def title(self) -> str:
        where = {"both": "attention and feed-forward", "feed-forward": "feed-forward", "parallel": "parallel"}
        return f"Adapter {self.width}, {where[self.placement]}"


METHODS: dict[str, type[Method]] = {cls.name: cls for cls in (Full, LinearProbe, LoRA, Adapter)}


def method_from_table(table: Mapping[str, Any], where: str = "[method]") -> Method:
    """The method of a TOML table: `name` chooses the class, the rest are its settings. Raises SettingError."""
    settings = dict(table)
    require("name" in settings, f"{where} has no name; allowed: {', '.join(METHODS)}")
    name = choose(str(settings.pop("name")), METHODS, f"method in {where}:")
    return from_table(METHODS[name], settings, where)


def method_to_table(method: Method) -> dict[str, Any]:
    """The TOML table that `method_from_table` reads back into an equal method."""
    return {"name": method.name, **to_table(method)}

"""Methods that train weights of the encoder itself, all or some, and add none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ecgtune.config.base import check_fields, require
from ecgtune.methods.base import Method, check_least


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
    """The encoder is frozen; only the head trains, on tokens that are computed once.

    layers: "last", the encoder's tokens, or "mix": a weighted mean of the tokens before the first and after every
    layer, its weights the softmax of one learned number per layer, all equal at the start (Peters et al. 2018,
    arXiv:1802.05365, eq. 1, without the common scale, which the head has).
    """

    name: ClassVar[str] = "probe"
    learning_rate: ClassVar[float] = 3e-3
    changes_encoder: ClassVar[bool] = False
    layers: Literal["last", "mix"] = "last"

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def title(self) -> str:
        return "Linear probe" if self.layers == "last" else "Linear probe, layers mixed"


@dataclass(frozen=True)
class TopLayers(Method):
    """The last layers of the transformer train, what lies below them is frozen (Lee et al. 2019, arXiv:1911.03090).

    layers: how many, 1 up to the encoder's depth. No gradient enters the layers below.
    """

    name: ClassVar[str] = "top-layers"
    learning_rate: ClassVar[float] = 5e-4
    layers: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self.layers, 1, "layers of top-layers tuning")

    @property
    def title(self) -> str:
        return "Last layer" if self.layers == 1 else f"Last {self.layers} layers"


@dataclass(frozen=True)
class NormBias(Method):
    """Norms and biases train, all matrices and kernels are frozen.

    biases: every bias (BitFit, Ben Zaken et al. 2022, section 3), but those whose gradient is zero by algebra (of the
    keys). norms: scale and shift of every normalisation (LayerNorm and GroupNorm). At least one of both.
    """

    name: ClassVar[str] = "norm-bias"
    learning_rate: ClassVar[float] = 3e-3
    biases: bool = True
    norms: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.biases or self.norms, "norm-bias tuning without biases and norms trains nothing; set one true")

    @property
    def title(self) -> str:
        return {(True, True): "Norms and biases", (True, False): "Biases", (False, True): "Norms"}[
            self.biases, self.norms
        ]

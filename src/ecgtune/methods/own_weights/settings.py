"""Methods that train weights of the encoder itself, all or some, and add none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ecgtune.config.base import check_fields, require
from ecgtune.config.space import Choice, Span
from ecgtune.errors import NoPlaceError
from ecgtune.methods.base import Method, check_least
from ecgtune.methods.registry import register_method

if TYPE_CHECKING:
    from torch import nn

    from ecgtune.models.base import Encoder


@register_method("full")
@dataclass(frozen=True)
class Full(Method):
    """Every weight of the encoder trains."""

    learning_rate: ClassVar[float] = 3e-4

    @property
    def title(self) -> str:
        return "Full fine-tuning"

    def trained_parameters(self, encoder: Encoder) -> frozenset[str]:
        return frozenset(name for name, _ in encoder.named_parameters())

    def save(self, encoder: nn.Module, folder: Path) -> None:
        from ecgtune.methods.storage import ENCODER, save_tensors

        save_tensors(encoder.state_dict(), folder / ENCODER)

    def load(self, encoder: nn.Module, folder: Path) -> None:
        from ecgtune.methods.storage import ENCODER, load_tensors

        load_tensors(encoder, folder / ENCODER, encoder.state_dict())

    @property
    def needs_encoder_weights(self) -> bool:
        return False


@register_method("top-layers")
@dataclass(frozen=True)
class TopLayers(Method):
    """The last blocks of the encoder train, and what acts behind them; the rest is frozen.

    layers: number of blocks, 1 up to the encoder's depth. No gradient enters the blocks below. Source: Lee et al. 2019,
    arXiv:1911.03090.
    """

    learning_rate: ClassVar[float] = 5e-4
    search_space: ClassVar[Mapping[str, Span]] = {"method.layers": Choice((1, 2))}
    layers: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self.layers, 1, "layers of top-layers tuning")

    @property
    def title(self) -> str:
        return "Last layer" if self.layers == 1 else f"Last {self.layers} layers"

    def trained_parameters(self, encoder: Encoder) -> frozenset[str]:
        blocks = list(encoder.blocks.values())
        require(
            self.layers <= len(blocks),
            f"layers of top-layers tuning is {self.layers}, but the encoder has {len(blocks)}; allowed: 1 to "
            f"{len(blocks)}",
        )
        chosen = {id(parameter) for block in blocks[-self.layers :] for parameter in block.parameters()}
        behind = encoder.after_blocks
        return frozenset(
            name for name, parameter in encoder.named_parameters() if id(parameter) in chosen or name.startswith(behind)
        )


@register_method("norm-bias")
@dataclass(frozen=True)
class NormBias(Method):
    """Norms and biases train, all matrices and kernels are frozen.

    biases: every bias (BitFit, Ben Zaken et al. 2022, section 3), but those whose gradient is zero by algebra (of the
    keys). norms: scale and shift of every normalisation layer. At least one of both.
    """

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

    def trained_parameters(self, encoder: Encoder) -> frozenset[str]:
        norms = {
            f"{path}.{name}"
            for path in encoder.norm_modules
            for name, _ in encoder.get_submodule(path).named_parameters()
        }
        useless = encoder.zero_gradient_parameters
        names = (name for name, _ in encoder.named_parameters())
        biases = {name for name in names if name.endswith(".bias") and not name.endswith(useless)} - norms
        chosen = frozenset((norms if self.norms else set()) | (biases if self.biases else set()))
        if not chosen:
            raise NoPlaceError(f"{encoder.architecture} has no norms or biases for {self.name}")
        return chosen

"""The method protocol: settings that put themselves on an encoder, save and load what they train, and say where a
frozen prefix ends.

Importing a method does not import torch: the functions that need it import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ecgtune.config.base import require
from ecgtune.config.space import Span
from ecgtune.config.targets import TITLES
from ecgtune.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ecgtune.models.base import Encoder
    from ecgtune.models.classifier import Classifier

#: Where a frozen prefix of the model may end: behind the pooling of the tokens ("features"), or of the tokens of all
#: depths ("pooled intermediates"), at the tokens of all depths ("intermediates"), or before a block of the encoder.
SplitKind = Literal["features", "pooled intermediates", "intermediates", "block"]


class MethodCallback:
    """Work of a method in a training beside following the gradient; one object serves one training. Default: none."""

    def penalty(self) -> Tensor | None:
        """A term of the loss beside that of the labels, per optimizer step; None without one."""
        return None

    def after_step(self, step: int, total_steps: int) -> None:
        """Called when the weights have moved and their gradients are still there; steps count from 0."""

    def on_average(self) -> None:
        """Called when averaged weights are in the model."""

    def tensors(self) -> dict[str, Tensor]:
        """State that a resumed training needs and the model does not hold."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Read back the state of `tensors`; other names are left alone."""


@dataclass(frozen=True)
class Method:
    """Base of every method: a frozen dataclass of settings that says which weights train beside the head.

    By default a method trains the encoder's own weights that `trained_parameters` names. A method that adds weights
    overrides `attach` and `check_place`. Register it with `register_method`; `ecgtune.testing.check_method` checks the
    protocol.

    Attributes
    ----------
    name : in recipes and on the command line; set by `register_method`.
    learning_rate : peak rate where the training settings give none.
    changes_encoder : whether tokens of the encoder's last block change during training.
    gradient_in_encoder : whether gradients pass through the encoder's blocks.
    adds_parameters : whether the method adds weights; by default, whether it overrides `attach`.
    search_space : settings that a sweep tries, such as {"method.rank": Choice((4, 8))}.
    """

    name: ClassVar[str] = ""
    learning_rate: ClassVar[float]
    changes_encoder: ClassVar[bool] = True
    gradient_in_encoder: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, Span]] = {}

    @property
    def title(self) -> str:
        """A few words for tables and figures."""
        return type(self).__name__

    @property
    def adds_parameters(self) -> bool:
        return type(self).attach is not Method.attach

    def rate_factor(self, parameter: str) -> float:
        """Factor on the learning rate of one weight, by its name in the model; above 0."""
        return 1.0

    def trained_parameters(self, encoder: Encoder) -> frozenset[str]:
        """Names, as in `encoder.named_parameters()`, of the encoder's own weights that train.

        Raises SettingError where the encoder has no place for the method.
        """
        return frozenset()

    def attach(self, encoder: Encoder, seed: int) -> nn.Module:
        """Put the method on a frozen encoder and return the encoder or what wraps it.

        New weights are drawn from torch's generator, which is at `seed`. The result is called like the encoder.
        Raises SettingError where the encoder has no place for the method.
        """
        for name in self.trained_parameters(encoder):
            encoder.get_parameter(name).requires_grad_(True)
        return encoder

    def check_place(self, encoder: Encoder) -> None:
        """Raise SettingError where the encoder has no place for the method. Changes nothing."""
        self.trained_parameters(encoder)

    def callback(self, model: Classifier) -> MethodCallback:
        """Work beside the gradient in a training of `model`, which has the method attached."""
        return MethodCallback()

    def save(self, encoder: nn.Module, folder: Path) -> None:
        """Write the trained weights of an encoder that has the method attached into `folder`, which exists."""
        from ecgtune.methods.storage import TRAINED, save_tensors, trainable

        tensors = trainable(encoder)
        if tensors:
            save_tensors(tensors, folder / TRAINED)

    def load(self, encoder: nn.Module, folder: Path) -> None:
        """Read back the weights of `save`. Raises RunError for a file that is missing or does not fit."""
        from ecgtune.methods.storage import TRAINED, load_tensors, trainable

        tensors = trainable(encoder)
        if tensors:
            load_tensors(encoder, folder / TRAINED, tensors)

    def merged(self, encoder: nn.Module) -> Encoder:
        """The encoder alone, with the method's weights multiplied in; `encoder` may be changed.

        Raises SettingError where that is not exact.
        """
        if self.adds_parameters:
            raise SettingError(f"{self.name} cannot be merged into the encoder's weights")
        return encoder  # pyright: ignore[reportReturnType]

    @property
    def identity_at_start(self) -> bool:
        """Whether attaching the method leaves the model's outputs as they are, but for rounding."""
        return True

    @property
    def needs_encoder_weights(self) -> bool:
        """Whether a saved run needs the encoder's weights from elsewhere."""
        return True

    def split_kind(self, pooling: str) -> SplitKind:
        """Where the frozen prefix ends at most, for a head that pools the tokens so."""
        return "block"


class PeftMethod(Method):
    """Base of the methods that peft carries out."""

    def peft_config(self, encoder: Encoder, seed: int) -> object:
        """Settings in peft's format. Raises SettingError where the encoder has no such layers."""
        raise NotImplementedError

    def check_place(self, encoder: Encoder) -> None:
        self.peft_config(encoder, 0)

    def attach(self, encoder: Encoder, seed: int) -> nn.Module:
        from ecgtune.methods.peft_encoder import wrap

        return wrap(encoder, self.peft_config(encoder, seed))

    def save(self, encoder: nn.Module, folder: Path) -> None:
        from ecgtune.methods.peft_encoder import save

        save(encoder, folder)

    def load(self, encoder: nn.Module, folder: Path) -> None:
        from ecgtune.methods.peft_encoder import load

        load(encoder, folder)

    def merged(self, encoder: nn.Module) -> Encoder:
        from ecgtune.methods.peft_encoder import merge

        return merge(encoder, self.name)


class TargetedMethod(PeftMethod):
    """Base of the methods that act on layers that the user chooses.

    targets: a set of roles or a role of `ecgtune.config.targets` ("qkv", "attention", "mlp", "conv", "all", "key",
    ...), or a tuple of roles and names of modules. It is a field of the subclasses, each at its own place among theirs.
    """

    targets: str | tuple[str, ...]

    @property
    def target_title(self) -> str:
        """The targets in words."""
        if isinstance(self.targets, tuple):
            return ", ".join(self.targets)
        return TITLES.get(self.targets, self.targets)


def check_fraction(value: float, what: str) -> None:
    """Raise SettingError unless `value` (a dropout or another fraction) is at least 0 and below 1."""
    require(0 <= value < 1, f"{what} is {value}; allowed: 0 up to below 1")


MOST = 65_536  # of ranks, widths and counts: far above any encoder's, and not yet the memory of a machine


def check_least(value: int, least: int, what: str, most: int = MOST) -> None:
    """Raise SettingError unless `value` is `least` or more, and at most `most`."""
    require(value >= least, f"{what} is {value}; allowed: {least} or more")
    require(value <= most, f"{what} is {value}; allowed: at most {most}")

"""What every encoder of this package is: signal in, tokens and their mask out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from ecgtune.config.model import LeadMode
from ecgtune.errors import DataError, SettingError
from ecgtune.models.leads import lead_kernel


class EncoderConfig(Protocol):
    """The part of an encoder's settings that data preparation and the classifier need; a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def leads(self) -> tuple[str, ...]: ...

    @property
    def sampling_rate(self) -> float: ...

    @property
    def resampling(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def samples_per_token(self) -> int: ...


class Encoder(nn.Module):
    """Base of the encoders: `encoder(signal, padding_mask=None)` gives tokens and a mask.

    Class attributes tell the methods what there is to adapt: the names of linear layers in attention and feed-forward
    blocks (empty when there are none), and the endings of parameters whose gradient is zero by mathematics.
    `first_kernel` names the convolution whose input channels are the leads.
    """

    architecture: ClassVar[str]
    first_kernel: ClassVar[str]
    attention_projections: ClassVar[tuple[str, ...]] = ()
    feed_forward_projections: ClassVar[tuple[str, ...]] = ()
    zero_gradient_parameters: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def width(self) -> int:
        return self.config.width

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads of the signal, in the order of its channels."""
        return self.config.leads

    @property
    def sampling_rate(self) -> float:
        """Hz."""
        return self.config.sampling_rate

    @property
    def resampling(self) -> str:
        """How signals of another rate reach `sampling_rate`: "linear" or "polyphase"."""
        return self.config.resampling

    @property
    def transformer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that turn tokens into tokens, first to last; empty where the encoder is no transformer."""
        return ()

    def layer_tokens(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[tuple[Tensor, ...], Tensor]:
        """Tokens before the first and after each of `transformer_layers`, and their mask; arguments as in `forward`.

        (tokens, ..., tokens), mask: one more than there are layers, each (batch, tokens, width), the last one and the
        mask those of `forward`. Raises SettingError where there are no such layers.
        """
        raise SettingError(f"{type(self).__name__} has no transformer layers to read; use an encoder of ECG-FM's kind")

    @property
    def settled_layers(self) -> int | None:
        """How many of `transformer_layers`, from the first, give the same tokens in every epoch of a training.

        In them and in what lies before no weight trains and nothing is drawn at random. None where that is not even
        true of the tokens before the first layer.
        """
        return None

    def tokens_before(self, layer: int, signal: Tensor) -> Tensor:
        """The tokens (batch, tokens, width) that enter layer number `layer`, 0 up to the number of layers (what leaves
        the last one), without dropout; signal as in `forward`. Raises SettingError where there are no such layers.
        """
        raise SettingError(f"{type(self).__name__} has no transformer layers to read; use an encoder of ECG-FM's kind")

    def tokens_after(self, layer: int, tokens: Tensor) -> Tensor:
        """From what `tokens_before(layer, ...)` gave to the tokens of `forward`; raises what that raises."""
        raise SettingError(f"{type(self).__name__} has no transformer layers to read; use an encoder of ECG-FM's kind")

    def set_checkpointing(self, on: bool) -> None:
        """Whether training keeps only what enters each layer and computes the rest anew for the gradient (Chen et al.
        2016, arXiv:1604.06174). Raises SettingError where there are no layers.
        """
        raise SettingError(f"{type(self).__name__} has no transformer layers to recompute; leave checkpointing out")

    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth in training mode (Huang et al. 2016, arXiv:1603.09382): skip blocks, record by record.

        rate: probability for the blocks of the last layer, 0 (off) up to below 1; of L layers, layer l has rate * l / L
        (their eq. 4). Raises SettingError where there are no layers to skip.
        """
        raise SettingError(f"{type(self).__name__} has no transformer layers to skip; leave drop_path out")

    def forward(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode normalised windows.

        Parameters
        ----------
        signal : (batch, leads, samples) float, leads in the order of `self.leads`, at `self.sampling_rate` Hz.
        padding_mask : (batch, samples) or (batch, leads, samples) bool, True where a sample is padding; padding
            stands at the end of a record.

        Returns
        -------
        tokens (batch, tokens, width) and a bool mask (batch, tokens), True where valid. Tokens whose mask is False
        carry no meaning.

        Raises DataError for another number of leads, or a record too short for one token.
        """
        raise NotImplementedError

    def select_leads(self, leads: Sequence[str], mode: LeadMode = "place") -> Self:
        """An encoder for signals that hold only `leads`, sharing no weights with this one; see `lead_kernel`."""
        weights = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}
        weights[self.first_kernel] = lead_kernel(weights[self.first_kernel], self.leads, leads, mode)
        return self.from_weights(replace(self.config, leads=tuple(leads)), weights)

    @classmethod
    def from_weights(cls, config: EncoderConfig, weights: dict[str, Tensor]) -> Self:
        """An encoder that holds exactly `weights` (the tensors themselves, not copies).

        Raises torch's RuntimeError when a name or shape does not match.
        """
        with torch.device("meta"):  # no random draws and no memory for weights that are replaced at once
            encoder = cls(config)
        encoder.load_state_dict(weights, strict=True, assign=True)
        return encoder

    def _check_signal(self, signal: Tensor) -> None:
        if signal.dim() != 3 or signal.shape[1] != len(self.leads):
            raise DataError(
                f"the signal has shape {tuple(signal.shape)}; allowed: (batch, {len(self.leads)}, samples) "
                f"with the leads {', '.join(self.leads)}"
            )
        if signal.shape[2] < self.config.samples_per_token:
            raise DataError(f"{signal.shape[2]} samples are too few; allowed: {self.config.samples_per_token} or more")

    def _valid_samples(self, padding_mask: Tensor) -> Tensor:
        """Number of samples that are not padding, per record: (batch,) int64."""
        if padding_mask.dim() == 3:
            if not bool((padding_mask == padding_mask[:, :1]).all()):
                raise DataError("padding_mask differs between the leads of one record; pad all leads alike")
            padding_mask = padding_mask[:, 0]
        valid = (~padding_mask.bool()).sum(dim=1)
        stride = self.config.samples_per_token
        if not bool((valid >= stride).all()):
            raise DataError(f"a record has fewer than {stride} samples that are not padding; leave it out")
        return valid

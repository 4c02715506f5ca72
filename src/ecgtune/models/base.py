"""The encoder contract: normalised signals in, tokens and their mask out, through an ordered list of named blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ecgtune.config.base import choose
from ecgtune.config.targets import PROJECTIONS, ROLES, TARGETS
from ecgtune.errors import DataError, LeadsError, SettingError
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.layers import draws, is_fixed, running_statistics_kept, without_values
from ecgtune.models.leads import ChannelMode, combine_leads, read_leads, select_leads
from ecgtune.models.tensors import load_into, parameter_limit
from ecgtune.models.weights import Weights

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _BatchNorm, nn.modules.instancenorm._InstanceNorm)


class EncoderConfig(Protocol):
    """Settings of an encoder: a frozen dataclass that has `leads` among its fields."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def leads(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Checkpoint:
    """Encoder of a file, its origin, linear head (weight, bias) and names of its outputs, pretraining objective and
    weights that only the objective uses, where the file has them."""

    encoder: Encoder
    weights: Weights
    head: dict[str, Tensor] | None = None
    labels: tuple[str, ...] | None = None
    objective: str | None = None
    objective_tensors: Mapping[str, Tensor] = field(default_factory=dict)


class PublishedFormat(Protocol):
    """Reader of the checkpoint files that the authors of an architecture publish."""

    def matches(self, content: Any) -> bool:
        """Whether the content of a file looks like such a checkpoint."""
        ...

    def read(self, content: Any, path: Path, *, heads: int | None, sizes: EncoderConfig | None) -> Checkpoint:
        """The encoder of a file; every tensor accounted for.

        heads: number of attention heads, where the user gives it. sizes: that the file of a named model must have;
        otherwise found from the tensors. Raises CheckpointError, or AuditError that names the first misfit.
        """
        ...


class Encoder(nn.Module):
    """Base of all encoders: `encoder(signal, padding_mask=None)` gives tokens and their mask.

    A subclass sets `config_type`, `roles` and `lead_weight`, and implements `input_spec`, `head_width`, `blocks`,
    `embed` and, where they differ from the defaults, `run_block`, `to_tokens`, `finish` and `finish_pooled`. Register
    it with `register_encoder`; `ecgtune.testing.check_encoder` checks the contract.

    Attributes
    ----------
    architecture, version : name in the registry and format of the weights; a saved folder states both.
    config_type : dataclass of the sizes.
    published : reader of published checkpoint files, None without one.
    roles : role (one of `ROLES`) to patterns of module names, such as {"query": ("layers.*.attention.q_proj",)}.
        Projections are linear layers, "conv" are convolutions; a "..._branch" is the module whose output a residual
        connection adds.
    lead_weight : name of the parameter whose second axis are the leads (first convolution), or the leads times the
        samples of a patch (linear patch projection); None where leads cannot be adapted so.
    readable_leads : leads of which the weights take any part (`leads.read_leads`); empty for other encoders.
    channel_axis : axis of the channels of the features between blocks: -1 of (batch, tokens, width), 1 of a
        convolutional network's (batch, channels, samples).
    after_blocks, zero_gradient_parameters : beginnings of the names of parameters that act behind the last block, and
        endings of those whose gradient is zero by algebra.
    pretraining_models : name of a pretraining objective to the module that takes an encoder, and the sizes of the
        objective, and has the encoder as `encoder`; `models.masked_signal` has modules for all encoders.
    own_objective : objective by which a pretraining continues from weights that state none.
    as_published : field of the sizes, bool, by which the encoder computes as its authors' code does, where that has a
        mistake that changes results; "" for one without.
    pooling : that the weights expect: "mean", "class_token" (the first token) or "none" (one token).
    no_graph : why no exported file can hold the encoder; "" where one can.
    """

    architecture: ClassVar[str] = ""
    version: ClassVar[int] = 1
    config_type: ClassVar[type]
    published: ClassVar[PublishedFormat | None] = None
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    lead_weight: ClassVar[str | None] = None
    readable_leads: ClassVar[tuple[str, ...]] = ()
    channel_axis: ClassVar[Literal[-1, 1]] = -1
    after_blocks: ClassVar[tuple[str, ...]] = ()
    zero_gradient_parameters: tuple[str, ...] = ()
    pretraining_models: ClassVar[Mapping[str, type[nn.Module]]] = {}
    own_objective: ClassVar[str] = "data2vec"
    as_published: ClassVar[str] = ""
    pooling: ClassVar[Literal["mean", "class_token", "none"]] = "mean"
    no_graph: ClassVar[str] = ""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self._gradient_checkpointing = False

    # What a subclass implements.

    @property
    def input_spec(self) -> InputSpec:
        """Signals that the encoder takes."""
        raise NotImplementedError

    @property
    def head_width(self) -> int:
        """Width of the tokens that a head reads."""
        raise NotImplementedError

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        """Stages in the order of computation, by their names in `named_modules()`; by default those in `layers`."""
        return {f"layers.{index}": layer for index, layer in enumerate(cast(nn.ModuleList, self.layers))}

    @property
    def block_widths(self) -> tuple[int, ...]:
        """Width of the tokens before the first and after each block: one more than there are blocks."""
        return (self.head_width,) * (len(self.blocks) + 1)

    @property
    def token_rows(self) -> int:
        """Rows of tokens, one behind another; 0 where tokens are no equal parts of the window."""
        return 1

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Features that enter the first block, and the mask of the tokens (None: all are valid)."""
        raise NotImplementedError

    def run_block(self, index: int, block: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
        """Features through block number `index`."""
        return block(features)

    def to_tokens(self, features: Tensor) -> Tensor:
        """Features of any depth as (batch, tokens, width)."""
        return features if self.channel_axis == -1 else features.transpose(1, 2)

    def finish(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """Features behind the last block to the tokens that a head reads."""
        return self.to_tokens(features)

    def finish_pooled(self, pooled: Tensor) -> Tensor:
        """Pooled tokens (..., width) to what a head reads, of the same shape; by default nothing changes."""
        return pooled

    # What methods, training and export use.

    def forward(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Same as `forward_features`."""
        return self.forward_features(signal, padding_mask)

    def forward_features(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode normalised windows.

        Parameters
        ----------
        signal : (batch, leads, samples) float, as `input_spec` says.
        padding_mask : (batch, samples) or (batch, leads, samples) bool, True where a sample is padding; padding is at
            the end of a record.

        Returns
        -------
        tokens (batch, tokens, width) and a bool mask (batch, tokens), True where valid. Tokens whose mask is False
        carry no meaning.

        Raises DataError for another number of leads or a length that is not allowed.
        """
        features, mask = self.embed(signal, padding_mask)
        tokens = self.forward_from(0, features, mask)
        return tokens, _full_mask(tokens, mask)

    def forward_intermediates(
        self, signal: Tensor, depths: Sequence[int] | None = None, padding_mask: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Tokens at several depths, and the mask of the last ones.

        depths: 0 (before the first block) to the number of blocks (the tokens of `forward_features`), rising; None for
        all of them. Other parameters and errors as in `forward_features`.
        """
        count = len(self.blocks)
        wanted = range(count + 1) if depths is None else depths
        features, mask = self.embed(signal, padding_mask)
        found = [self.to_tokens(features)] if 0 in wanted and count else []
        for index, block in enumerate(self.blocks.values()):
            features = self._through(index, block, features, mask)
            if index + 1 in wanted and index + 1 < count:
                found.append(self.to_tokens(features))
        tokens = self.finish(features, mask)
        return (*found, tokens) if count in wanted else tuple(found), _full_mask(tokens, mask)

    def features_before(self, depth: int, signal: Tensor) -> Tensor:
        """Features that enter block number `depth`; the number of blocks stands for behind the last one."""
        features, mask = self.embed(signal)
        for index, block in list(enumerate(self.blocks.values()))[:depth]:
            features = self._through(index, block, features, mask)
        return features

    def forward_from(self, depth: int, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of `features_before(depth, ...)` to the tokens of `forward_features`."""
        for index, block in list(enumerate(self.blocks.values()))[depth:]:
            features = self._through(index, block, features, mask)
        return self.finish(features, mask)

    def frozen_depth(self) -> int | None:
        """Number of leading blocks that compute the same in every epoch: nothing trains, nothing is drawn at random.

        None where that does not hold for `embed` either.
        """
        blocks = list(self.blocks.values())
        if self._embed_trains():
            return None
        in_blocks = {id(module) for block in blocks for module in block.modules()}
        if any(draws(module) for module in self.modules() if id(module) not in in_blocks and module is not self):
            return None
        return sum(1 for _ in takewhile(is_fixed, blocks))

    def _embed_trains(self) -> bool:
        inside = {id(p) for block in self.blocks.values() for p in block.parameters()}
        outside = ((name, p) for name, p in self.named_parameters() if id(p) not in inside)
        return any(p.requires_grad and not name.startswith(self.after_blocks) for name, p in outside)

    def trains_around(self, modules: Sequence[nn.Module]) -> dict[nn.Module, bool]:
        """Whether a weight trains in the block of each module, in `embed`, or, of one behind the blocks, anywhere."""
        if not modules:
            return {}
        found = dict.fromkeys(modules, self._embed_trains())
        parts = list(self.blocks.values())
        behind = [module for name, module in self.named_modules() if f"{name}.".startswith(self.after_blocks)]
        for part, inside in [*((self, module.modules()) for module in behind), *((b, b.modules()) for b in parts)]:
            trains = any(p.requires_grad for p in part.parameters())
            found.update({module: trains for module in inside if module in found})
        return found

    def target_modules(self, kind: str) -> tuple[str, ...]:
        """Names of the modules that a method may act on.

        kind: a set of `TARGETS`, "all" (attention and feed-forward projections; of an encoder without any, its
        convolutions), or one role. Raises SettingError where the encoder has none of them.
        """
        choose(kind, ("all", *TARGETS, *ROLES), "targets")
        if kind == "all":
            wanted = (*TARGETS["attention"], *TARGETS["mlp"])
            found = self.modules_of(*wanted) or self.modules_of(*TARGETS["conv"])
        else:
            found = self.modules_of(*TARGETS.get(kind, (kind,)))
        if not found:
            here = [name for name in ("all", *TARGETS) if self.modules_of(*TARGETS.get(name, PROJECTIONS))]
            name = self.architecture or type(self).__name__
            raise SettingError(f"{name} has no {kind} modules; allowed targets: {', '.join(here) or 'none'}")
        return found

    def modules_of(self, *roles: str) -> tuple[str, ...]:
        """Names of the modules with these roles, in the order of the encoder; empty without any."""
        patterns = [pattern for role in roles for pattern in self.roles.get(role, ())]
        return tuple(name for name, _ in self.named_modules() if any(fnmatchcase(name, p) for p in patterns))

    @property
    def norm_modules(self) -> tuple[str, ...]:
        """Names of the normalisation layers."""
        return tuple(name for name, module in self.named_modules() if isinstance(module, NORMS))

    def adapt_leads(self, leads: Sequence[str], mode: ChannelMode = "place") -> Self:
        """An encoder for signals that hold `leads`, sharing no weights with this one.

        mode: "place" keeps the input channels of `leads`: the same tokens as with zeros in all other channels. "copy"
        (one lead) is the same as the lead in every channel. A one-lead encoder takes any one lead; one with
        `readable_leads` reads those that are recorded or can be derived.

        Raises SettingError for a lead that the encoder does not have, one that is given twice, "copy" with several
        leads, or an encoder whose leads cannot be adapted.
        """
        available = self.input_spec.leads
        if self.readable_leads:
            if mode == "copy":
                raise SettingError(f"{self.architecture} reads one lead as it is; leave lead mode 'copy' out")
            read_leads(self.readable_leads, leads)
            return self._rebuilt(leads, dict(self.state_dict()))
        if tuple(leads) == available and mode == "place":
            return self._with_leads(available, lambda weight: weight)
        return self._with_leads(leads, lambda weight: select_leads(weight, available, leads, mode))

    def fold_leads(self, matrix: Tensor, leads: Sequence[str]) -> Self:
        """An encoder for signals of `leads` that gives what this one gives for `matrix @ signal`.

        matrix: (channels of this encoder, leads). Raises SettingError for an encoder whose leads cannot be adapted.
        """
        return self._with_leads(leads, lambda weight: combine_leads(weight, matrix.detach()))

    def set_gradient_checkpointing(self, on: bool) -> None:
        """Keep only what enters each block in training, and compute the rest again for the gradient.

        Source: Chen et al. 2016, arXiv:1604.06174. Raises SettingError for an encoder without blocks.
        """
        self._check_blocks("gradient_checkpointing")
        self._gradient_checkpointing = on

    def set_drop_path(self, rate: float) -> None:
        """Skip residual branches at random in training mode, record by record (stochastic depth).

        rate: probability for the last block, 0 (off) up to below 1; block l of L has rate * l / L (Huang et al. 2016,
        arXiv:1603.09382, eq. 4). Raises SettingError where blocks have no attribute `drop_path`.
        """
        self._check_blocks("drop_path")
        blocks = list(self.blocks.values())
        if not all(hasattr(block, "drop_path") for block in blocks):
            raise SettingError(f"drop_path is {rate}, but {self.architecture} has no branches to skip; leave it out")
        for number, block in enumerate(blocks, 1):
            setattr(block, "drop_path", rate * number / len(blocks))  # noqa: B010, no attribute of every module

    @classmethod
    def from_weights(cls, config: EncoderConfig, weights: Mapping[str, Tensor]) -> Self:
        """An encoder that holds exactly `weights` (the tensors themselves, not copies).

        Raises torch's RuntimeError when a name, shape or kind of number does not match.
        """
        with without_values(), parameter_limit(weights.values()):
            encoder = cls(config)
        if encoder._non_persistent_buffers():  # their values are in no file, so they are computed
            with torch.random.fork_rng(devices=[]):
                encoder = cls(config)
        load_into(encoder, weights)
        return encoder

    def valid_tokens(self, padding_mask: Tensor, samples_per_token: int, *, partial: bool = False) -> Tensor:
        """Padding per sample to validity per token, (batch, tokens) bool, for tokens of `samples_per_token` samples.

        partial: whether a token that is padding in part counts as valid. Raises DataError where the leads of a record
        are padded differently, or a record has no valid token.
        """
        if padding_mask.dim() == 3:
            if not bool((padding_mask == padding_mask[:, :1]).all()):
                raise DataError("padding_mask differs between the leads of one record; pad all leads alike")
            padding_mask = padding_mask[:, 0]
        valid = (~padding_mask.bool()).sum(dim=1)
        least = 1 if partial else samples_per_token
        if not bool((valid >= least).all()):
            raise DataError(f"a record has fewer than {least} samples that are not padding; leave it out")
        samples = padding_mask.shape[-1]
        if partial:
            valid, tokens = -(-valid // samples_per_token), -(-samples // samples_per_token)
        else:
            valid, tokens = valid // samples_per_token, samples // samples_per_token
        return torch.arange(tokens, device=valid.device) < valid[:, None]

    def _through(self, index: int, block: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
        if self._gradient_checkpointing and self.training and torch.is_grad_enabled():
            # Dropout is drawn again from the same state of the generator.
            def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
                return nullcontext(), running_statistics_kept(block)

            run = checkpoint(self.run_block, index, block, features, mask, use_reentrant=False, context_fn=contexts)
            return cast(Tensor, run)
        return self.run_block(index, block, features, mask)

    def _with_leads(self, leads: Sequence[str], change: Callable[[Tensor], Tensor]) -> Self:
        if self.lead_weight is None:
            raise LeadsError(
                f"{self.architecture} reads {', '.join(self.input_spec.leads)} and cannot be cut to other leads; give"
                " those (--leads)"
            )
        return self._rebuilt(
            leads, {**self.state_dict(), self.lead_weight: change(self.state_dict()[self.lead_weight])}
        )

    def _rebuilt(self, leads: Sequence[str], weights: Mapping[str, Tensor]) -> Self:
        weights = {name: tensor.detach().clone() for name, tensor in weights.items()}
        config = replace(self.config, leads=tuple(leads))  # pyright: ignore[reportCallIssue, reportArgumentType]
        return self.from_weights(config, weights)

    def _check_blocks(self, setting: str) -> None:
        if not self.blocks:
            raise SettingError(f"{self.architecture} has no blocks, so {setting} cannot act; leave it out")

    def _non_persistent_buffers(self) -> bool:
        return len(list(self.buffers())) > sum(name in self.state_dict() for name, _ in self.named_buffers())


def _full_mask(tokens: Tensor, mask: Tensor | None) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if mask is None else mask

"""Proof that a training trains what it says: counted shares, gradients where they belong, an output that moves.

The third audit, of the checkpoint's tensors, is in `ecgtune.models.checkpoint`. None can be turned off.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ecgtune.errors import AuditError
from ecgtune.methods.attach import attached_prefixes, base_encoder
from ecgtune.methods.frozen import Cut, trained_part
from ecgtune.methods.own_weights import own_weights
from ecgtune.models import Classifier
from ecgtune.recipe import LinearProbe, Method

#: Backward passes within which every trainable tensor must have had a gradient. Two, not one: the up-projection of
#: LoRA and adapters is zero at the start, so what lies before it gets its first gradient after the first step.
STEPS = 2
#: Windows that the output check looks at; the check costs two forward passes of this many.
PROBED_WINDOWS = 4


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of weights: trainable in encoder, method and head; `total` is all of them, frozen ones included."""

    encoder: int
    method: int
    head: int
    total: int

    @property
    def trainable(self) -> int:
        return self.encoder + self.method + self.head

    @property
    def share(self) -> float:
        """Trainable part of all weights, 0 to 1."""
        return self.trainable / self.total

    def sentence(self) -> str:
        return (
            f"{self.trainable:,} of {self.total:,} weights train ({100 * self.share:.2f} %): "
            f"{self.encoder:,} encoder, {self.method:,} method, {self.head:,} head"
        )


def count_parameters(model: Classifier, method: Method) -> ParameterCount:
    """Count what trains, and hold it against what `method` says should. Raises AuditError when they disagree."""
    prefixes = attached_prefixes(model)
    counts = {"encoder": 0, "method": 0, "head": 0}
    total = 0
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        if parameter.requires_grad:
            counts[_part(name, prefixes)] += parameter.numel()
    count = ParameterCount(**counts, total=total)
    if count.head == 0:
        raise AuditError("count audit: the head is frozen, so nothing can learn the labels; unfreeze model.head")
    asked = own_weights(base_encoder(model), method)
    own = {n: p for n, p in model.encoder.named_parameters() if _part(f"encoder.{n}", prefixes) == "encoder"}
    frozen = [name for name in own if name in asked and not own[name].requires_grad]
    if frozen:
        raise AuditError(
            f"count audit: {type(method).__name__} trains weights of the encoder, but {_some(frozen)} frozen; "
            "unfreeze them or choose another method"
        )
    loose = [name for name in own if name not in asked and own[name].requires_grad]
    if loose:
        rest = "the rest of the encoder" if asked else "the encoder"
        raise AuditError(f"count audit: {type(method).__name__} must leave {rest} frozen, but {_some(loose)} trainable")
    if not asked and not count.method and not isinstance(method, LinearProbe):
        raise AuditError(
            f"count audit: {type(method).__name__} added no trainable weight; attach it with methods.attach"
        )
    return count


class TrainingAudit:
    """Watches the first steps of a training, on the real batches, optimizer and precision.

    Call `before_step` with the windows of the step, or what stands for them at the cut, `after_backward` when its
    gradients are complete and `after_step` when the weights have moved, until `finished`. Each raises AuditError: a
    frozen tensor with a gradient, a trainable one without (after two passes), or an output that the step did not move.
    """

    def __init__(self, model: Classifier, method: Method, cut: Cut | None = None) -> None:
        self._model = model
        self._method = method
        self._trained = trained_part(model, cut)
        self._steps = 0
        self._silent = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        self._tensors = len(self._silent)
        # A key's bias shifts all scores of a query alike and softmax takes no notice: its gradient is zero by algebra.
        self._exempt: tuple[str, ...] = getattr(base_encoder(model), "zero_gradient_parameters", ())
        self._before: Tensor | None = None
        self._probed: Tensor | None = None

    @property
    def finished(self) -> bool:
        return self._steps >= STEPS

    def before_step(self, inputs: Tensor) -> None:
        if self._steps == 0:
            self._probed = inputs[:PROBED_WINDOWS].detach().to(torch.float32, copy=True)  # it is looked at in float32
            self._before = self._output()

    def after_backward(self) -> None:
        for name, parameter in self._model.named_parameters():
            gradient = parameter.grad
            if gradient is None:
                continue
            if not parameter.requires_grad:
                raise AuditError(f"gradient audit: {name} is frozen but has a gradient; it would be trained unseen")
            if name in self._silent and bool(gradient.detach().any()):
                self._silent.discard(name)
        silent = [name for name in sorted(self._silent) if not name.endswith(self._exempt or ("\0",))]
        if self._steps == STEPS - 1 and silent:
            raise AuditError(
                f"gradient audit: {_some(silent)} trainable but got no gradient in {STEPS} backward passes; "
                "the encoder does not call these modules, so they cannot learn"
            )

    def after_step(self) -> None:
        self._steps += 1
        if self._before is not None:
            moved = not torch.equal(self._before, self._output())
            self._before = None
            if not moved:
                what = "logits" if isinstance(self._method, LinearProbe) else "tokens"
                raise AuditError(
                    f"gradient audit: one step of {type(self._method).__name__} left the {what} as they were; "
                    "raise the learning rate, or check that the method's modules are called"
                )

    def sentence(self) -> str:
        rest = " (the rest are key biases, whose gradient is zero by algebra)" if self._silent else ""
        return (
            f"{self._tensors - len(self._silent)} of {self._tensors} trainable tensors got a gradient within {STEPS} "
            f"steps{rest}, no frozen one did, and the first step moved the output"
        )

    def _output(self) -> Tensor:
        assert self._probed is not None
        training = self._model.training
        self._model.eval()
        with torch.no_grad():
            # What the head answers would move with any method; tokens move only if the method itself does something.
            if self._method.changes_encoder:
                output, _ = self._trained.encode(self._probed)
            else:
                output = self._trained(self._probed)
        self._model.train(training)
        return output


def _part(name: str, prefixes: tuple[str, ...]) -> str:
    if name.startswith("head."):
        return "head"
    return "method" if any(prefix in name for prefix in prefixes) else "encoder"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more} {'are' if len(names) > 1 else 'is'}"

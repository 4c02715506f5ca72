"""Proof that a training trains what it says: counted fractions, gradients where they belong, an output that moves.

The third audit, of the checkpoint's tensors, is in `ecgtune.models.checkpoint`. None can be turned off.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ecgtune.errors import AuditError
from ecgtune.methods.base import Method
from ecgtune.methods.split import SplitPoint, trained_part
from ecgtune.models.classifier import Classifier
from ecgtune.models.leads import MIXER_PREFIX
from ecgtune.utils.formatting import counted

#: Backward passes within which every trainable tensor must have had a gradient. Two, not one: the up-projection of
#: LoRA and adapters is zero at the start, so what lies before it gets its first gradient after the first step.
STEPS = 2
#: And within which it must have had one that is not all zeros: in bf16 the parts of a balanced batch can cancel.
LATEST = 10
#: Windows that the output check looks at; the check costs three forward passes of this many.
PROBED_WINDOWS = 4
#: Largest difference between outputs with and without gradients, relative to the largest value.
ROUNDING = 1e-5


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of weights: trainable in encoder, method, head and lead mixer; `total` is all, frozen ones included."""

    encoder: int
    method: int
    head: int
    total: int
    leads: int = 0

    @property
    def trainable(self) -> int:
        return self.encoder + self.method + self.head + self.leads

    @property
    def fraction(self) -> float:
        """Trainable fraction of all weights."""
        return self.trainable / self.total

    def sentence(self) -> str:
        return (
            f"{self.trainable:,} of {self.total:,} weights train ({100 * self.fraction:.2f} %): "
            f"{self.encoder:,} encoder, {self.method:,} method, {self.head:,} head"
            + (f", {self.leads:,} lead mixer" if self.leads else "")
        )


def count_parameters(model: Classifier, method: Method) -> ParameterCount:
    """Count what trains, and hold it against what `method` says should. Raises AuditError when they disagree."""
    counts = {"encoder": 0, "method": 0, "head": 0, "leads": 0}
    total = 0
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        if parameter.requires_grad:
            counts[_part(name, model)] += parameter.numel()
    count = ParameterCount(**counts, total=total)
    if count.head == 0:
        raise AuditError("count audit: the head is frozen and cannot train; unfreeze model.head")
    if model.lead_mixer is not None and count.leads == 0:
        raise AuditError("count audit: the lead mixer is frozen, so it cannot train; unfreeze model.lead_mixer")
    asked = method.trained_parameters(model.base_encoder)
    own = {name: p for name, p in model.encoder.named_parameters() if name not in model.added_parameters}
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
    if method.adds_parameters and not asked and not count.method:
        raise AuditError(
            f"count audit: {type(method).__name__} added no trainable weight; attach it with methods.attach"
        )
    return count


class TrainingAudit:
    """Watches the first steps of a training, on the real batches, optimizer and precision.

    Call `before_step` with the windows of the step, or their values at the split point, `after_backward` when its
    gradients are complete and `after_step` when the weights have moved, until `finished`. Each raises AuditError: a
    frozen tensor with a gradient, a trainable one without (after two passes; after ten, or the last, one of zeros alone
    counts as none), an output that the step did not move, or one in which evaluation without gradients leaves the
    method out.
    """

    def __init__(self, model: Classifier, method: Method, split: SplitPoint | None = None) -> None:
        self._model = model
        self._method = method
        self._trained = trained_part(model, split)
        self._steps = 0
        self._silent = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        self._tensors = len(self._silent)
        self._exempt: tuple[str, ...] = model.base_encoder.zero_gradient_parameters
        self._before: dict[str, Tensor] = {}
        self._probed: Tensor | None = None
        self._mixed: Tensor | None = None

    @property
    def finished(self) -> bool:
        return self._steps >= STEPS and not self._owing()

    def before_step(self, inputs: Tensor) -> None:
        if self._steps == 0:
            self._probed = inputs[:PROBED_WINDOWS].detach().to(torch.float32, copy=True)  # it is looked at in float32
            if self._model.mixes_leads:
                with torch.no_grad():
                    self._mixed = self._model.mixed(self._probed)
            self._before = self._outputs()

    def after_backward(self) -> None:
        for name, parameter in self._model.named_parameters():
            gradient = parameter.grad
            if gradient is None:
                continue
            if not parameter.requires_grad:
                raise AuditError(f"gradient audit: {name} is frozen but has a gradient")
            if name in self._silent and bool(gradient.detach().any()):
                self._silent.discard(name)
        gradients = {name: parameter.grad for name, parameter in self._model.named_parameters()}
        uncalled = [name for name in self._owing() if gradients[name] is None]
        if self._steps >= STEPS - 1 and uncalled:
            raise AuditError(
                f"gradient audit: {_some(uncalled)} trainable but got no gradient in {self._steps + 1} backward "
                "passes; the encoder does not call these modules, so they cannot train"
            )

    def after_step(self, *, last: bool = False) -> None:
        """last: no step of the training follows."""
        self._steps += 1
        still_zero = self._owing()
        if still_zero and (last or self._steps >= LATEST):
            raise AuditError(
                f"gradient audit: {_some(still_zero)} trainable but got only zero gradients in {self._steps} "
                "backward passes; the loss does not depend on them, so they cannot train"
            )
        if self._before:
            before, now, with_gradients = self._before, self._outputs(), self._outputs(gradients=True)
            still = [what for what, output in before.items() if torch.equal(output, now[what])]
            self._before = {}
            bypassed = [w for w, output in now.items() if not _agree(output, with_gradients[w], before[w])]
            if bypassed:
                raise AuditError(
                    f"gradient audit: without gradients, as in predictions, the {bypassed[0]} are not those that "
                    f"{type(self._method).__name__} trains; a fused kernel bypasses its modules, so call each of them"
                )
            if still:
                raise AuditError(
                    f"gradient audit: one step of {type(self._method).__name__} left the {still[0]} as they were; "
                    "raise the learning rate, or check that the method's modules are called"
                )

    def sentence(self) -> str:
        rest = " (the rest are key biases, whose gradient is zero)" if self._silent else ""
        return (
            f"{self._tensors - len(self._silent)} of {counted(self._tensors, 'trainable tensor')} got a gradient "
            f"within {counted(self._steps, 'step')}{rest}, no frozen one did, and the first step moved the output"
        )

    def _owing(self) -> list[str]:
        """Trainable tensors that have had no gradient other than zero, and should."""
        return [name for name in sorted(self._silent) if not name.endswith(self._exempt)]

    def _outputs(self, *, gradients: bool = False) -> dict[str, Tensor]:
        """What has to move in a step, in evaluation mode, by what an error calls it."""
        assert self._probed is not None
        training = self._model.training
        self._model.eval()
        # What the head answers would move with any method; tokens move only if the method itself does something.
        tokens = self._method.changes_encoder
        with torch.set_grad_enabled(gradients):
            if self._mixed is not None:
                # From the leads as they were mixed at the start: the mixer must not move tokens in the method's place.
                encoded = self._model.encoder(self._mixed)
                output = encoded[0] if tokens else self._model.classify(self._model.pool(*encoded))
            elif tokens:
                output, _ = self._trained.encode(self._probed)
            else:
                output = self._trained(self._probed)
            outputs = {"tokens" if tokens else "logits": output}
            if self._mixed is not None:
                outputs["mixed leads"] = self._model.mixed(self._probed)
        self._model.train(training)
        return {what: output.detach() for what, output in outputs.items()}


def _agree(output: Tensor, other: Tensor, before: Tensor) -> bool:
    """Whether two outputs differ by rounding alone, or by a small part of what the step moved."""
    gap, moved = float((output - other).abs().max()), float((output - before).abs().max())
    return gap <= max(ROUNDING * max(1.0, float(output.abs().max())), 0.1 * moved)


def _part(name: str, model: Classifier) -> str:
    if name.startswith("head."):
        return "head"
    if name.startswith(MIXER_PREFIX):
        return "leads"
    return "method" if name.removeprefix("encoder.") in model.added_parameters else "encoder"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more} {'are' if len(names) > 1 else 'is'}"


def forward_cost(model: Classifier, samples: int) -> float:
    """Floating-point operations of a forward pass of one window of `samples` at the rate of the model."""
    from torch.utils.flop_counter import FlopCounterMode

    training, device = model.training, next(model.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, len(model.leads), samples, device=device))
    model.train(training)
    return max(1.0, counter.get_total_flops())

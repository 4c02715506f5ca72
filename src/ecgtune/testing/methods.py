"""`check_method`: the protocol of `ecgtune.methods.base.Method` on an encoder, check by check."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ecgtune.errors import NoPlaceError, SettingError
from ecgtune.methods.attach import attach
from ecgtune.methods.audits import TrainingAudit, count_parameters
from ecgtune.methods.base import Method
from ecgtune.methods.registry import METHODS, find_method, method_from_table, method_to_table
from ecgtune.methods.split import FrozenPrefix, TrainableSuffix, split_point
from ecgtune.methods.storage import load_weights, one_thread, save_weights
from ecgtune.models.base import Encoder
from ecgtune.models.classifier import Classifier, Head, LoadedFrom
from ecgtune.models.weights import Weights
from ecgtune.testing.checks import expect, expect_close, failed_checks, raise_failures
from ecgtune.testing.encoders import example_encoder, example_signal
from ecgtune.text import reason_of
from ecgtune.training.precision import autocast
from ecgtune.utils.files import temporary_folder

STEPS = 4


@dataclass
class Subject:
    """A method and a way to make the same untouched classifier again and again."""

    method: Method
    make: Callable[[], Classifier]
    _trained: Classifier | None = None

    def attached(self, seed: int = 0) -> Classifier:
        return attach(self.make(), self.method, seed=seed).eval()

    def trained(self) -> Classifier:
        """The classifier after a few steps."""
        if self._trained is None:
            self._trained = self.attached()
            train(self._trained, self.method)
        return copy.deepcopy(self._trained).eval()


def check_method(
    method: str | type[Method] | Method,
    encoder: str | type[Encoder] | Encoder | Sequence[str | type[Encoder] | Encoder] = "ecg-fm-tiny",
) -> None:
    """Check that a method keeps its protocol on an encoder, or on each of several.

    method: a name, a registered class (both with default settings), or a method. encoder: as of `check_encoder`.

    Raises ConformanceError with one line per finding, which names the checks and encoders that have it, and
    NoPlaceError where an encoder has no place for the method.
    """
    settings = find_method(method)() if isinstance(method, str) else method() if isinstance(method, type) else method
    bases = [example_encoder(each) for each in ([encoder] if isinstance(encoder, (str, type, Encoder)) else encoder)]
    with one_thread():
        failures = {base.architecture: _failures(settings, base) for base in bases}
    raise_failures(f"{settings.name} on {', '.join(failures)}", failures)


def _failures(settings: Method, base: Encoder) -> dict[str, str]:
    """What the checks find on one encoder. Raises NoPlaceError."""

    def make() -> Classifier:
        origin = Weights("random", base.architecture, seed=0)
        return Classifier(copy.deepcopy(base), Head(), ("0", "1"), origin, LoadedFrom(base.architecture), seed=0)

    try:
        attach(make(), settings)
    except NoPlaceError:
        raise
    except Exception as error:  # all checks would fail in the same way
        return {"attach": reason_of(error)}
    subject = Subject(settings, make)
    return failed_checks(METHOD_CHECKS, lambda: subject)


def train(model: Classifier, method: Method, steps: int = STEPS) -> TrainingAudit:
    """A few steps on noise, with everything that a real training does for the method."""
    signal = example_signal(model.base_encoder, 8, seed=1)
    label = torch.arange(8) % 2
    audit, callback = TrainingAudit(model, method), method.callback(model)
    groups = [
        {"params": [parameter], "lr": 1e-2 * method.rate_factor(name)}
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    optimizer = torch.optim.Adam(groups)
    for step in range(steps):
        model.train()
        torch.manual_seed(step)
        audit.before_step(signal)
        penalty = callback.penalty()
        loss = F.cross_entropy(model(signal), label) + (0.0 if penalty is None else penalty)
        optimizer.zero_grad()
        loss.backward()
        audit.after_backward()
        optimizer.step()
        audit.after_step(last=step + 1 == steps)
        callback.after_step(step, steps)
    return audit


def _settings(subject: Subject) -> None:
    METHODS.check(subject.method, subject.method.name)
    expect(subject.method.title.strip(), "title is empty")
    again = method_from_table(method_to_table(subject.method))
    expect(again == subject.method, f"settings differ after a way through a recipe: {again}")


def _identity_at_start(subject: Subject) -> None:
    if not subject.method.identity_at_start:
        return
    plain = subject.make().eval()
    signal = example_signal(plain.base_encoder)
    expect_close(subject.attached()(signal), plain(signal), "logits before and after attaching", 1e-3)


def _gradients_where_they_belong(subject: Subject) -> None:
    model = subject.attached()
    count = count_parameters(model, subject.method)
    expect(count.head > 0, "the head does not train")
    audit = train(model, subject.method)
    expect(audit.finished, f"the gradient audit is not finished after {STEPS} steps")


def _frozen_stays(subject: Subject) -> None:
    model = subject.attached()
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    free = {name.rpartition(".")[0] for name in trainable}
    frozen = {
        name: tensor.clone()
        for name, tensor in model.state_dict().items()
        if name not in trainable and name.rpartition(".")[0] not in free
    }
    train(model, subject.method)
    now = model.state_dict()
    moved = [name for name, tensor in frozen.items() if not torch.equal(now[name], tensor)]
    expect(not moved, f"frozen tensors moved: {', '.join(moved[:3])}")


def _evaluation_is_the_method(subject: Subject) -> None:
    """Fused kernels of inference must not bypass wrapped layers."""
    model = subject.trained()
    signal = example_signal(model.base_encoder)
    with torch.no_grad():
        fused = model(signal)
    expect_close(fused, model(signal).detach(), "logits with and without gradients", 1e-4)


def _prefix_equals_whole(subject: Subject) -> None:
    model = subject.trained()
    signal = example_signal(model.base_encoder)
    split = split_point(model, subject.method)
    if split is not None:
        found = TrainableSuffix(model, split)(FrozenPrefix(model, split)(signal))
        expect_close(found, model(signal), f"logits through the split '{split}'", 1e-4)


def _saving(subject: Subject) -> None:
    model = subject.trained()
    signal = example_signal(model.base_encoder)
    with temporary_folder() as place:
        save_weights(model, Path(place))
        loaded = subject.attached()
        load_weights(loaded, Path(place))
    same = torch.equal(_logits(loaded, signal), _logits(model, signal))
    expect(same, "a saved model gives other logits after loading")


def _determinism(subject: Subject) -> None:
    signal = example_signal(subject.make().base_encoder)
    again = Subject(subject.method, subject.make)
    first, second = (_logits(one.trained(), signal) for one in (subject, again))
    expect(torch.equal(first, second), "two trainings from one seed differ")


def _batch_independence(subject: Subject) -> None:
    model = subject.trained()
    signal = example_signal(model.base_encoder, 3)
    apart = torch.cat([_logits(model, window[None]) for window in signal])
    expect_close(apart, _logits(model, signal), "logits one by one and in a batch", 1e-4)


def _number_formats(subject: Subject) -> None:
    model = subject.trained()
    with autocast(torch.device("cpu"), "bf16"):
        logits = model(example_signal(model.base_encoder))
    expect(bool(torch.isfinite(logits).all()), "logits in bfloat16 are not finite")


def _merging(subject: Subject) -> None:
    model = subject.trained()
    signal = example_signal(model.base_encoder)
    expected = _logits(model, signal)
    try:
        merged = subject.method.merged(model.encoder)
    except SettingError:
        return
    model.encoder = merged
    expect_close(_logits(model.eval(), signal), expected, "logits after merging", 1e-3)


def _callback_state(subject: Subject) -> None:
    model = subject.trained()
    callback = subject.method.callback(model)
    stored = {name: tensor.clone() for name, tensor in callback.tensors().items()}
    callback.restore(stored)
    now = callback.tensors()
    expect(now.keys() == stored.keys(), "the callback's state has other names after restoring")
    expect(all(torch.equal(now[name], stored[name]) for name in stored), "the callback's state differs after restoring")


def _refusal_without_place(subject: Subject) -> None:
    model = subject.attached()
    try:
        attach(model, subject.method)
    except SettingError:
        return
    expect(False, "a second method can be attached")


def _logits(model: Classifier, signal: Tensor) -> Tensor:
    with torch.no_grad():
        return model(signal)


#: All checks, each takes a `Subject`.
METHOD_CHECKS = (
    _settings,
    _identity_at_start,
    _gradients_where_they_belong,
    _frozen_stays,
    _evaluation_is_the_method,
    _prefix_equals_whole,
    _saving,
    _determinism,
    _batch_independence,
    _number_formats,
    _merging,
    _callback_state,
    _refusal_without_place,
)

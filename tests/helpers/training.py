"""Real trainings of a tiny encoder, each a fraction of a second."""

import json
import math
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from ecgtune.methods.attach import attach
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.split import reads_features, split_point
from ecgtune.training import loop as training_loop
from ecgtune.training.batches import TrainingInputs, Windows
from ecgtune.training.callbacks import Callback
from ecgtune.training.classification import Classification
from ecgtune.training.inference import logits_of, precompute
from ecgtune.training.loop import train
from ecgtune.training.run_folder import RunFolder
from helpers.models import tiny_classifier
from helpers.settings import loop


@contextmanager
def stopped_in_the_second_epoch():
    """A training in the body is interrupted before the second epoch is in its log."""
    write = training_loop.write_text

    def stop(path, text):
        if path.name == "log.jsonl" and text.count("\n") == 2:
            raise KeyboardInterrupt
        write(path, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_loop, "write_text", stop)
        with pytest.raises(KeyboardInterrupt):
            yield


SETTINGS = loop(epochs=3, batch_size=8, learning_rate=3e-3, device="cpu", precision="fp32")


def windows(count: int, seed: int) -> Windows:
    """Two kinds of noise that differ in how fast they vary; easy, but not at once."""
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, count)
    noise = generator.standard_normal((count, 1, 160))
    smooth = (noise + np.roll(noise, 1, -1) + np.roll(noise, 2, -1)) / math.sqrt(3)
    signal = np.where(label[:, None, None] == 1, smooth, noise)
    return Windows(signal.astype(np.float32), label.astype(np.int64))


TRAINING, VALIDATION = windows(44, seed=1), windows(30, seed=2)


PLAIN = LoRA(rank=2)


class Interrupted(Callback):
    """Stops the training after a number of steps, as a user or a dying machine would."""

    def __init__(self, after: int | None = None):
        self.left = after

    def on_step_end(self, step):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt


def run(
    folder,
    method=PLAIN,
    settings=SETTINGS,
    *,
    seed=0,
    stop_after=None,
    training=TRAINING,
    augment=None,
    head=None,
):
    """Train a fresh model; returns what a user gets: result, logits on validation, log."""
    model = attach(tiny_classifier(head=head), method, seed=seed)
    validation = VALIDATION
    if reads_features(model, method):
        split = split_point(model, method)
        training, validation = (precompute(model, windows, split=split) for windows in (training, validation))
    run_folder = RunFolder(folder)
    objective = Classification(model, method, TrainingInputs(training, validation, augment), *settings)
    result = train(objective, *settings, seed=seed, folder=run_folder, callbacks=[Interrupted(stop_after)])
    return result, logits_of(model, VALIDATION.inputs), numbers(run_folder)


@cache
def whole(method=PLAIN, settings=SETTINGS, head=None):
    """`run` that nothing stops, once for all tests of a process that compare with it."""
    with TemporaryDirectory() as folder:
        return run(Path(folder), method, settings, head=head)


def check_resume(folder, method=PLAIN, settings=SETTINGS, *, stop_after=9, expected=None, **options) -> None:
    """Stop a training after a number of steps, resume it, and expect the bits of one that was never stopped."""
    result, logits, log = expected or whole(method, settings, **options)
    with pytest.raises(KeyboardInterrupt):
        run(folder, method, settings, stop_after=stop_after, **options)
    resumed, resumed_logits, resumed_log = run(folder, method, settings, **options)
    assert np.array_equal(resumed_logits, logits)
    assert resumed_log == log
    assert (resumed.best_epoch, resumed.audit) == (result.best_epoch, result.audit)


def numbers(folder: RunFolder) -> list[dict]:
    rows = [json.loads(line) for line in folder.log.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]

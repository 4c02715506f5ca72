"""The one loop, on real trainings of a tiny encoder."""

import math
import os
import shutil
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch

from ecgtune.config.augmentation import Augmentation
from ecgtune.data.augmentation import WindowAugmentation
from ecgtune.errors import AuditError, DivergedError, RunError, SettingError
from ecgtune.evaluation.metrics import auroc
from ecgtune.methods.adalora.settings import AdaLoRA
from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.training.batches import TrainingInputs, Windows
from ecgtune.training.classification import Classification
from ecgtune.training.inference import probability_of
from ecgtune.training.loop import train
from ecgtune.training.run_folder import RunFolder
from helpers.methods import METHODS, MIXED, slow
from helpers.models import tiny_classifier
from helpers.settings import loop
from helpers.training import SETTINGS, TRAINING, VALIDATION, check_resume, numbers, run, whole, windows

COMMON = [Full(), LoRA(rank=2)]
#: One method for each way of keeping what was trained.
KINDS = [m for m in METHODS if isinstance(m, (Full, LinearProbe, Adapter, SideTuning, AdaLoRA)) and m != MIXED]


@pytest.mark.parametrize("method", [KINDS[0], *slow(*KINDS[1:])], ids=str)
def test_same_seed_same_numbers_and_another_seed_others(method, tmp_path):
    _, first, log = whole(method)
    _, second, again = run(tmp_path / "b", method)
    _, other, _ = run(tmp_path / "c", method, seed=1)
    assert np.array_equal(first, second)
    assert log == again
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("method", "stop_after"),
    [
        *product(KINDS, [9]),
        *product([AdaLoRA(rank=1, start_rank=3, dropout=0.2)], [0, 6, 17]),
        *slow(*product(KINDS, [0, 1, 6, 17]), *product([method for method in METHODS if method not in KINDS], [9])),
    ],
    ids=str,
)
def test_stopped_anywhere_and_resumed_ends_on_the_same_bits(method, stop_after, tmp_path):
    check_resume(tmp_path, method, stop_after=stop_after)


def test_saves_inside_an_epoch_resume_on_the_same_bits(tmp_path):
    often = loop(SETTINGS, save_minutes=1e-9)
    _, logits, log = whole()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", settings=often, stop_after=9)
    state = torch.load(RunFolder(tmp_path / "stopped").state, weights_only=True)["state"]
    assert (state["epoch"], state["step"]) == (1, 3)
    _, resumed_logits, resumed_log = run(tmp_path / "stopped", settings=often)
    assert np.array_equal(resumed_logits, logits)
    assert resumed_log == log


def test_a_state_of_another_training_is_refused_and_can_be_removed(tmp_path):
    """tests/hostile has what a state may hold; here is what the message tells to do."""
    _, logits, log = whole()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_after=9)
    state = RunFolder(tmp_path).state
    content = torch.load(state, weights_only=True)
    torch.save(content | {"weights": {}}, state)
    with pytest.raises(RunError, match=r"tensors missing.*; remove .*last and resume, which trains from the first"):
        run(tmp_path)
    shutil.rmtree(state.parent)
    _, resumed_logits, resumed_log = run(tmp_path)
    assert np.array_equal(resumed_logits, logits)
    assert resumed_log == log


@pytest.mark.parametrize(
    "method", [Full(), LoRA(rank=2), *slow(*(m for m in METHODS if m not in (Full(), LoRA(rank=2))))], ids=str
)
def test_it_learns(method, tmp_path):
    result, logits, _ = run(tmp_path, method, loop(SETTINGS, epochs=8), training=windows(200, seed=1))
    assert result.log[-1]["train_loss"] < result.log[0]["train_loss"]
    assert auroc(VALIDATION.label, probability_of(logits)[:, 1]) > 0.7


def follow(monkeypatch, curve: list[float]) -> None:
    """Make validation AUROC the given curve: what a user's data could do, at will."""
    values = iter(curve)
    monkeypatch.setattr("ecgtune.training.classification.auroc", lambda label, probability: next(values))


# Not AdaLoRA: when it gives ranks up depends on how long the training is meant to be.
@pytest.mark.parametrize("method", [Full(), *slow(*(m for m in KINDS[1:] if not isinstance(m, AdaLoRA)))], ids=str)
def test_best_epoch_is_a_true_copy(method, tmp_path, monkeypatch):
    constant = loop(SETTINGS, schedule="constant")
    follow(monkeypatch, [0.6, 0.9])
    _, after_two, _ = run(tmp_path / "two", method, loop(constant, epochs=2))
    follow(monkeypatch, [0.6, 0.9, 0.9, 0.5, 0.8])
    result, logits, _ = run(tmp_path / "five", method, loop(constant, epochs=5))
    assert result.best_epoch == 2
    assert np.array_equal(logits, after_two)


@pytest.mark.parametrize("best", ["auroc", "loss", "last"])
def test_best_says_which_epoch_is_kept(best, tmp_path, monkeypatch):
    constant = loop(SETTINGS, schedule="constant", learning_rate=0.05)  # high: the loss goes up and down
    follow(monkeypatch, curve := [0.6, 0.9, 0.7, 0.8])
    result, logits, log = run(tmp_path / "whole", settings=loop(constant, epochs=4, checkpoint_metric=best))
    losses = [row["val_loss"] for row in log]
    assert np.argmin(losses) not in (1, 3)  # else this test could not tell the three apart
    kept = {"auroc": int(np.argmax(curve)), "loss": int(np.argmin(losses)), "last": 3}[best] + 1
    assert result.best_epoch == kept
    follow(monkeypatch, curve)
    _, until_then, _ = run(tmp_path / "part", settings=loop(constant, epochs=kept, checkpoint_metric="last"))
    assert np.array_equal(logits, until_then)


def test_patience_stops_early(tmp_path, monkeypatch):
    follow(monkeypatch, [0.5, 0.7, 0.6, 0.8, 0.8, 0.7, 0.9])
    result, _, log = run(tmp_path, settings=loop(SETTINGS, epochs=7, patience=2))
    assert (result.best_epoch, result.epochs, result.stopped_early) == (4, 6, True)
    assert len(log) == 6


@pytest.mark.parametrize("pieces", [3, *slow(2, 8)])
def test_accumulation_equals_the_whole_batch(pieces, tmp_path):
    settings = loop(SETTINGS, optimizer="adam", weight_decay=0.0, class_weights="balanced")
    _, whole, log = run(tmp_path / "whole", Full(), settings)
    _, pieced, pieced_log = run(tmp_path / "pieces", Full(), loop(settings, gradient_accumulation_steps=pieces))
    np.testing.assert_allclose(pieced, whole, rtol=0, atol=1e-3)
    np.testing.assert_allclose([row["train_loss"] for row in pieced_log], [row["train_loss"] for row in log], rtol=1e-4)


def test_one_step_is_torch_adam_on_the_weighted_mean(tmp_path):
    """Against a step written out by hand: same loss, same weights."""
    settings = loop(
        epochs=2, batch_size=44, learning_rate=1e-3, optimizer="adam", weight_decay=0.0, schedule="constant",
        max_grad_norm=0, class_weights="balanced", device="cpu", precision="fp32",
    )  # fmt: skip
    result, _, _ = run(tmp_path, Full(), settings)

    model = attach(tiny_classifier(), Full()).train()
    counts = np.bincount(TRAINING.label)
    weight = torch.tensor(44 / (2 * counts), dtype=torch.float32)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for row in result.log:
        loss = torch.nn.CrossEntropyLoss(weight)(
            model(torch.from_numpy(TRAINING.inputs)), torch.from_numpy(TRAINING.label)
        )
        assert row["train_loss"] == pytest.approx(loss.item(), abs=2e-5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_lora_plus_is_torch_adam_with_two_rates(tmp_path):
    """Against steps written out by hand, warm-up and cosine included."""
    method = LoRA(rank=2, lora_plus_ratio=5.0)
    settings = loop(
        epochs=4,
        batch_size=44,
        learning_rate=1e-3,
        optimizer="adam",
        weight_decay=0.0,
        max_grad_norm=0,
        warmup=0.3,
        device="cpu",
        precision="fp32",
    )
    result, _, _ = run(tmp_path, method, settings)

    model = attach(tiny_classifier(), method).train()
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    fast = [p for name, p in trainable if "lora_B" in name]
    slow = [p for name, p in trainable if "lora_B" not in name]
    assert len(fast) == 12
    optimizer = torch.optim.Adam([{"params": slow}, {"params": fast}])
    for row, factor in zip(result.log, [0.5, 1.0, 0.75, 0.25], strict=True):
        assert row["learning_rate"] == pytest.approx(1e-3 * factor)
        optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = 1e-3 * factor, 5e-3 * factor
        loss = torch.nn.functional.cross_entropy(
            model(torch.from_numpy(TRAINING.inputs)), torch.from_numpy(TRAINING.label)
        )
        assert row["train_loss"] == pytest.approx(loss.item(), abs=1e-5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Watched(Classification):
    """Counts the singular values that are left after every step."""

    def after_step(self, context):
        super().after_step(context)
        values = [p for name, p in self.model.named_parameters() if "lora_E" in name]
        self.alive = [*getattr(self, "alive", []), sum(int((value != 0).sum()) for value in values)]


def test_adalora_ends_with_the_ranks_that_were_asked_for(tmp_path):
    method = AdaLoRA(rank=1, start_rank=3)
    objective = Watched(attach(tiny_classifier(), method), method, TrainingInputs(TRAINING, VALIDATION), *SETTINGS)
    train(objective, *SETTINGS, seed=0, folder=RunFolder(tmp_path))
    assert len(objective.alive) == 18
    assert objective.alive[:2] == [36, 36]  # of 12 projections; the first tenth of the steps cuts nothing
    assert objective.alive == sorted(objective.alive, reverse=True)
    assert objective.alive[-6:] == [12] * 6  # the last 30 % of the steps change nothing


def test_adaloras_penalty_is_in_the_loss_with_its_weight(tmp_path):
    first = {}
    for weight in (0.0, 0.5):
        slow = loop(
            SETTINGS, gradient_accumulation_steps=3, learning_rate=1e-6
        )  # so that the matrices stay what they are
        result, _, _ = run(tmp_path / str(weight), AdaLoRA(orthogonality=weight), slow)
        first[weight] = result.log[0]["train_loss"]
    weights = dict(attach(tiny_classifier(), AdaLoRA()).encoder.named_parameters())
    products = [p.T @ p for name, p in weights.items() if "lora_B" in name]
    products += [p @ p.T for name, p in weights.items() if "lora_A" in name]
    expected = 0.5 * sum(((product - torch.eye(4)) ** 2).sum().item() for product in products) / 12
    assert first[0.5] - first[0.0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "method",
    [LoRA(rank=2), *slow(*(m for m in METHODS if m.changes_encoder and m not in COMMON))],
    ids=str,
)
def test_bf16_learns_and_keeps_float32_weights(method, tmp_path):
    result, logits, _ = run(tmp_path, method, loop(SETTINGS, precision="bf16"))
    assert all(math.isfinite(row["train_loss"]) for row in result.log)
    assert not np.array_equal(logits, whole(method)[1])
    state = torch.load(RunFolder(tmp_path).state, weights_only=True)
    trained = {name: tensor for name, tensor in state["weights"].items() if not name.startswith("callback.kept.")}
    assert {tensor.dtype for tensor in trained.values()} == {torch.float32}


def test_saved_state_holds_only_what_trains(tmp_path):
    run(tmp_path / "probe", LinearProbe())
    state = torch.load(RunFolder(tmp_path / "probe").state, weights_only=True)
    assert set(state["weights"]) == {"head.0.weight", "head.0.bias"}


def test_a_loss_that_is_not_a_number_is_told(tmp_path):
    broken = Windows(TRAINING.inputs * np.float32(np.nan), TRAINING.label)
    with pytest.raises((RunError, AuditError)):
        run(tmp_path, Full(), training=broken)


class Breaking(Classification):
    """Loss or weights stop being numbers in step `at` of the training."""

    at, what = 8, "loss"

    def loss(self, trained, batch):
        terms = super().loss(trained, batch)
        self.passed = getattr(self, "passed", -1) + 1
        return terms | {"loss": terms["loss"] * math.nan} if (self.what, self.passed) == ("loss", self.at) else terms

    def after_step(self, context):
        super().after_step(context)
        if (self.what, context.step) == ("weights", self.at):
            with torch.no_grad():
                next(p for p in self.model.parameters() if p.requires_grad).fill_(math.nan)


@pytest.mark.parametrize("ema", [0.9, *slow(None)])
@pytest.mark.parametrize(
    ("what", "at", "said"),
    [
        ("loss", 0, "training loss is not a number in epoch 1, step 1 of the epoch"),
        ("loss", 8, "training loss is not a number in epoch 2, step 3 of the epoch"),
        ("weights", 8, "training loss is not a number in epoch 2, step 4 of the epoch"),
        ("weights", 11, "weights are not numbers in epoch 2"),  # the last step of an epoch
    ],
)
def test_what_is_not_a_number_stops_at_once_and_is_never_saved(what, at, said, ema, tmp_path):
    settings = loop(SETTINGS, save_minutes=1e-9, ema=ema)
    objective = Breaking(attach(tiny_classifier(), Full()), Full(), TrainingInputs(TRAINING, VALIDATION), *settings)
    objective.at, objective.what = at, what
    folder = RunFolder(tmp_path)
    with pytest.raises(DivergedError, match=said):
        train(objective, *settings, seed=0, folder=folder)
    assert folder.state.exists() == (at > 0)
    if at:
        state = torch.load(folder.state, weights_only=True)
        assert (state["state"]["epoch"], state["state"]["step"]) == (1, at - 6)  # of 6 steps an epoch
        for tensors in (state["weights"], state["average"]):
            assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_too_few_steps_for_the_audits(tmp_path):
    with pytest.raises(
        SettingError, match=r"batches of 64 for 1 epoch make 1 step, .* epochs 2 \(--epochs\) or more or batch_size \d+"
    ):
        run(tmp_path, settings=loop(SETTINGS, epochs=1, batch_size=64))


def test_audits_run_inside_the_loop(tmp_path, monkeypatch):
    model = attach(tiny_classifier(), LoRA(rank=2))
    for layer in model.encoder.get_base_model().layers:
        monkeypatch.setattr(layer.feed_forward, "forward", lambda tokens: tokens)
    with pytest.raises(AuditError, match="gradient audit"):
        train(
            Classification(model, LoRA(rank=2), TrainingInputs(TRAINING, VALIDATION), *SETTINGS), *SETTINGS,
            seed=0, folder=RunFolder(tmp_path),
        )  # fmt: skip


TWO_PROCESSES = """
import atexit
import os
import sys
from pathlib import Path
import torch.distributed

@atexit.register
def parted():
    if not torch.distributed.is_initialized():
        Path(sys.argv[1] + "-parted-" + os.environ["RANK"]).touch()

sys.path.insert(0, sys.argv[2])
from test_loop import everything
everything(Path(sys.argv[1]), pieces=1)
try:
    everything(Path(sys.argv[1] + "-stopped"), pieces=1, stop_after=9)
except KeyboardInterrupt:
    pass
"""


def everything(folder, pieces: int, stop_after: int | None = None) -> list[dict]:
    """The log of a training with all that several processes have to agree on; it saves after every step."""
    settings = loop(SETTINGS, optimizer="adam", weight_decay=0.0,
        gradient_accumulation_steps=pieces, ema=0.9, label_smoothing=0.1,
        save_minutes=1e-9,
    )  # fmt: skip
    augment = WindowAugmentation(
        Augmentation(shift=0.1, crop=0.9, noise=0.1),
        windows=len(TRAINING),
        leads=1,
        sampling_rate=100.0,
        normalise=True,
    )
    return run(folder, Full(), settings, augment=augment, stop_after=stop_after)[2]


@pytest.mark.slow
def test_two_processes_end_where_one_with_two_pieces_does(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(TWO_PROCESSES)
    here = os.path.dirname(__file__)
    paths = os.pathsep.join([here, os.path.dirname(here), os.environ.get("PYTHONPATH", "")])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        [*launch, str(tmp_path / "two"), here],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in tmp_path.glob("*-parted-*")) == ["two-parted-0", "two-parted-1"]
    two = numbers(RunFolder(tmp_path / "two"))
    resumed = everything(tmp_path / "two-stopped", pieces=2)  # two processes stopped inside an epoch; one resumes
    for ours, theirs, later in zip(everything(tmp_path / "one", pieces=2), two, resumed, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)
        assert later == pytest.approx(ours, rel=1e-4)

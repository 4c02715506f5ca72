"""The one loop. Every method, encoder and device goes through `train`."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.functional import cross_entropy

from ecgtune.errors import RunError, SettingError
from ecgtune.evaluation import auroc
from ecgtune.files import replace_folder, write_atomically, write_text
from ecgtune.methods import TrainingAudit
from ecgtune.models import Classifier
from ecgtune.recipe import Method, Training
from ecgtune.training.batches import Windows, class_weight, epoch_order
from ecgtune.training.inference import choose_device, logits_of, probability_of
from ecgtune.training.memory import MemoryMeter
from ecgtune.training.progress import ProgressBar
from ecgtune.training.run_folder import RunFolder, log_text
from ecgtune.training.schedule import learning_rate_factor, make_optimizer
from ecgtune.training.weights import load_state, load_weights, save_weights, trained_tensors


@dataclass
class State:
    """Where a training stands: all that, with the weights and the optimizer, decides every later number."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    weight_sum: float = 0.0
    correct: int = 0
    best_epoch: int = 0
    best_auroc: float = -math.inf
    audit: str = ""
    seconds: float = 0.0
    peak_memory: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """What a finished training reports. `log` is the content of log.jsonl; `best_epoch` counts from 1."""

    epochs: int
    best_epoch: int
    stopped_early: bool
    learning_rate: float
    seconds: float
    seconds_per_epoch: float
    peak_memory_bytes: int
    device: str
    audit: str
    log: list[dict[str, Any]]


def count_steps(windows: int, settings: Training) -> int:
    """Optimizer steps of a whole training on `windows` windows. Raises SettingError when the audits need more."""
    steps = math.ceil(windows / settings.batch_size) * settings.epochs
    if steps < 2:
        raise SettingError("the training has one step, too few for its audits; use more epochs or a smaller batch_size")
    return steps


def train(
    model: Classifier,
    method: Method,
    training: Windows,
    validation: Windows,
    settings: Training,
    *,
    seed: int,
    folder: RunFolder,
    progress: ProgressBar,
) -> Trained:
    """Train what `method` left trainable and leave the best epoch's weights in `model` and in `folder.best`.

    `training` and `validation` hold what the trained module reads: windows `(n, leads, samples)` for the model, or
    pooled tokens `(n, width)` for the head of a method that leaves the encoder as it is. The best epoch is the one
    with the highest validation AUROC. A folder with a saved state is continued, and ends on the same numbers, to the
    bit, as a training that was never stopped (same machine, same threads).

    Raises AuditError (see `methods.audits`), RunError when the loss is not a number, SettingError when there are fewer
    than two steps.
    """
    accelerator = Accelerator(cpu=choose_device(settings.device).type == "cpu")
    device = accelerator.device
    model.to(device)
    trained: nn.Module = accelerator.prepare(model if method.changes_encoder else model.head)
    learning_rate = settings.learning_rate or method.learning_rate
    optimizer = accelerator.prepare(
        make_optimizer([p for p in model.parameters() if p.requires_grad], learning_rate, settings)
    )
    weights = class_weight(training.label, len(model.classes), settings.class_weights)
    weight = torch.from_numpy(weights).to(device)
    total_steps = count_steps(len(training), settings)
    steps = total_steps // settings.epochs

    state = _restore(folder.state, model, optimizer)
    meter = MemoryMeter(device, state.peak_memory)
    audit = TrainingAudit(model, method)
    saved = started = time.monotonic()

    def save() -> None:
        nonlocal started, saved
        now = time.monotonic()
        state.seconds, started, saved = state.seconds + now - started, now, now
        state.peak_memory = meter.peak
        if accelerator.is_main_process:
            _save(folder.state, model, optimizer, state)

    progress.advance((state.epoch * steps + state.step) * settings.batch_size)
    stopped_early = _out_of_patience(state, settings)
    while state.epoch < settings.epochs and not stopped_early:
        epoch_started = time.monotonic()
        order = epoch_order(seed, state.epoch, len(training))
        trained.train()
        while state.step < steps:
            step = state.epoch * steps + state.step
            rows = order[state.step * settings.batch_size : (state.step + 1) * settings.batch_size]
            factor = learning_rate_factor(step, total_steps, settings)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * factor
            # Dropout is drawn from the step's own seed, so a resumed training needs no generator state.
            torch.manual_seed((seed * 1_000_003 + step) * 64 + accelerator.process_index)
            batch_weight = float(weights[training.label[rows]].sum())
            pieces = np.array_split(np.sort(rows), settings.accumulate * accelerator.num_processes)
            for number, piece in enumerate(pieces[accelerator.process_index :: accelerator.num_processes]):
                if len(piece) == 0 and accelerator.num_processes == 1:
                    continue
                # Each process must run each backward pass, so one without windows runs another's at weight zero.
                share, piece = (1.0, piece) if len(piece) else (0.0, rows[:1])
                inputs = torch.from_numpy(training.inputs[piece]).to(device)
                label = torch.from_numpy(training.label[piece]).to(device)
                if number == 0 and not state.audit:
                    audit.before_step(inputs)
                with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                    logits = trained(inputs)
                loss = share * cross_entropy(logits.float(), label, weight=weight, reduction="sum")
                meter.read()
                # Divided by the weight of the whole batch, pieces add up to the gradient of the undivided batch.
                accelerator.backward(loss * (accelerator.num_processes / batch_weight))
                state.loss_sum += float(loss.detach())
                state.correct += int(share) * int((logits.detach().argmax(1) == label).sum())
            state.weight_sum += batch_weight
            if not state.audit:
                audit.after_backward()
            if settings.clip:
                accelerator.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], settings.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if not state.audit:
                audit.after_step()
                state.audit = audit.sentence() if audit.finished else ""
            state.step += 1
            progress.advance(settings.batch_size)
            if time.monotonic() - saved > 60 * settings.save_minutes and state.step < steps:
                save()

        if accelerator.num_processes > 1:
            sums = torch.tensor([state.loss_sum, state.correct], dtype=torch.float64, device=device)
            loss_sum, correct = accelerator.reduce(sums, "sum").tolist()  # type: ignore[union-attr]
            state.loss_sum, state.correct = loss_sum, int(correct)
        if not math.isfinite(state.loss_sum):
            raise RunError(
                f"the training loss is not a number in epoch {state.epoch + 1}; "
                f"lower learning_rate (now {learning_rate:g}) or set clip"
            )
        logits = logits_of(trained, validation.inputs, precision=settings.precision)
        row = _log_row(state, training, validation, logits, learning_rate * factor, time.monotonic() - epoch_started)
        state.log.append(row)
        state.epoch, state.step = state.epoch + 1, 0
        state.loss_sum, state.weight_sum, state.correct = 0.0, 0.0, 0
        if row["val_auroc"] > state.best_auroc:
            state.best_auroc, state.best_epoch = row["val_auroc"], state.epoch
            if accelerator.is_main_process:
                replace_folder(folder.best, lambda partial: save_weights(model, method, partial))
        save()
        if accelerator.is_main_process:
            write_text(folder.log, log_text(state.log))
        progress.note(_epoch_line(folder, row, settings.epochs))
        stopped_early = _out_of_patience(state, settings)

    progress.advance((settings.epochs - state.epoch) * steps * settings.batch_size)
    if accelerator.is_main_process:
        write_text(folder.log, log_text(state.log))  # again: a stop between save and log must not cost a line
    accelerator.wait_for_everyone()
    load_weights(model, method, folder.best)
    return Trained(
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        stopped_early=stopped_early,
        learning_rate=learning_rate,
        seconds=state.seconds,
        seconds_per_epoch=float(np.median([row["seconds"] for row in state.log])),
        peak_memory_bytes=state.peak_memory,
        device=str(device),
        audit=state.audit,
        log=state.log,
    )


def _out_of_patience(state: State, settings: Training) -> bool:
    return settings.patience is not None and 0 < state.best_epoch <= state.epoch - settings.patience


def _log_row(
    state: State, training: Windows, validation: Windows, logits: np.ndarray, learning_rate: float, seconds: float
) -> dict[str, Any]:
    probability = probability_of(logits)
    truth = probability[np.arange(len(validation)), validation.label]
    return {
        "epoch": state.epoch + 1,
        "train_loss": state.loss_sum / state.weight_sum,
        "train_accuracy": state.correct / len(training),
        "val_loss": float(-np.log(np.maximum(truth, 1e-12)).mean()),
        "val_accuracy": float((probability.argmax(1) == validation.label).mean()),
        "val_auroc": auroc(validation.label, probability[:, 1]),
        "learning_rate": learning_rate,
        "seconds": seconds,
    }


def _epoch_line(folder: RunFolder, row: dict[str, Any], epochs: int) -> str:
    return (
        f"{folder.title}: epoch {row['epoch']}/{epochs}, loss {row['train_loss']:.4f}, "
        f"validation loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.4f}, "
        f"AUROC {row['val_auroc']:.4f}, {row['seconds']:.1f} s"
    )


def _save(path: Path, model: Classifier, optimizer: Any, state: State) -> None:
    content = {"weights": trained_tensors(model), "optimizer": optimizer.state_dict(), "state": asdict(state)}
    write_atomically(path, lambda partial: torch.save(content, partial))


def _restore(path: Path, model: Classifier, optimizer: Any) -> State:
    if not path.exists():
        return State()
    content = load_state(path)
    model.load_state_dict(content["weights"], strict=False)
    optimizer.load_state_dict(content["optimizer"])
    return State(**content["state"])

"""Training loop of fine-tuning and pretraining, for all methods, encoders and devices."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.errors import DivergedError, SettingError
from ecgtune.training.averaging import WeightAverage
from ecgtune.training.batches import epoch_order
from ecgtune.training.callbacks import Callback
from ecgtune.training.inference import choose_device
from ecgtune.training.memory import MemoryMeter, release_freed_memory, retain_freed_memory
from ecgtune.training.objective import Objective, StepContext
from ecgtune.training.precision import LossScale, autocast, choose_precision
from ecgtune.training.processes import destroy_process_group_at_exit
from ecgtune.training.run_folder import RunFolder, log_text
from ecgtune.training.schedule import learning_rate_factor, make_optimizer, parameter_groups
from ecgtune.training.state import misfit, read_state
from ecgtune.utils.files import replace_folder, write_atomically, write_text


@dataclass
class State:
    """Progress of a training; with the weights and the optimizer it determines all later results.

    `sums`, `weight_sum` and `skipped` belong to the current epoch: summed loss terms, summed weight, and the number of
    steps that overflowed in fp16 and were repeated at a lower loss scale.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    weight_sum: float = 0.0
    skipped: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    audit: str = ""
    seconds: float = 0.0
    peak_memory: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingResult:
    """Result of a finished training.

    `log` is the content of log.jsonl. `best_epoch` counts from 1. `precision` is the resolved number format.
    """

    epochs: int
    best_epoch: int
    stopped_early: bool
    learning_rate: float
    seconds: float
    seconds_per_epoch: float
    peak_memory_bytes: int
    device: str
    precision: str
    audit: str
    log: list[dict[str, Any]]


def count_steps(items: int, settings: Optimisation) -> int:
    """Return the number of optimizer steps on `items` items. Raises SettingError for fewer than the audits need."""
    steps = math.ceil(items / settings.batch_size) * settings.epochs
    if steps < 2:
        raise SettingError("the training has one step, too few for its audits; use more epochs or a smaller batch_size")
    return steps


def train(
    objective: Objective,
    settings: Optimisation,
    trainer: TrainerSettings,
    *,
    seed: int,
    folder: RunFolder,
    callbacks: Sequence[Callback] = (),
) -> TrainingResult:
    """Train `objective.model`; at the end it and `folder.best` have the weights of the best epoch.

    A saved state in the folder is resumed, with results identical to the bit to those of an uninterrupted training
    (same machine, same number of threads).

    A loss that is not finite ends the training in that step; weights that are not finite are never saved. In fp16 a
    step whose gradients overflow does not change the weights; it is repeated with the same random draws at half the
    loss scale and counted in the log, so every window is used in every epoch.

    Raises DivergedError if loss or weights are not finite or gradients overflow at every loss scale, SettingError for
    fewer than two steps, and the errors of the objective; an epoch that the objective rejects is in the log.
    """
    accelerator = Accelerator(cpu=choose_device(trainer.device).type == "cpu")
    destroy_process_group_at_exit()
    device = accelerator.device
    if device.type == "cpu":
        retain_freed_memory()
    model = objective.model.to(device)
    trained: nn.Module = accelerator.prepare(objective.trained)
    learning_rate = objective.learning_rate
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = parameter_groups(model, objective.rate_factor)
    optimizer = accelerator.prepare(
        make_optimizer(groups.values(), learning_rate, settings, betas=objective.betas, epsilon=objective.epsilon)
    )
    total_steps = count_steps(objective.items, settings)
    steps = total_steps // settings.epochs

    average = WeightAverage(model, settings.ema or None, objective.on_average)
    scale = LossScale(device, trainer.precision)
    state = _restore(folder.state, objective, optimizer, average, scale, epochs=settings.epochs, steps=steps)
    meter = MemoryMeter(device, state.peak_memory)
    saved = started = time.monotonic()

    def save() -> None:
        nonlocal started, saved
        now = time.monotonic()
        state.seconds, started, saved = state.seconds + now - started, now, now
        state.peak_memory = meter.peak
        if accelerator.is_main_process:
            _save(folder.state, objective, optimizer, average, scale, state)

    for callback in callbacks:
        callback.on_train_begin(state.epoch * steps + state.step, total_steps)
    stopped_early = _stops_early(state, settings)
    while state.epoch < settings.epochs and not stopped_early:
        epoch_started = time.monotonic()
        order = epoch_order(seed, state.epoch, objective.items)
        trained.train()
        context, factor = StepContext(seed, state.epoch, state.epoch * steps, total_steps), 0.0
        while state.step < steps:
            step = state.epoch * steps + state.step
            context = StepContext(seed, state.epoch, step, total_steps)
            rows = order[state.step * settings.batch_size : (state.step + 1) * settings.batch_size]
            factor = learning_rate_factor(step, total_steps, settings)
            for group, own_factor in zip(optimizer.param_groups, groups, strict=True):
                group["lr"] = learning_rate * factor * own_factor
            # Dropout has a seed per step, so a resumed training needs no generator state.
            torch.manual_seed((seed * 1_000_003 + step) * 64 + accelerator.process_index)
            batch_weight = objective.weight(rows, context)
            sums: dict[str, float] = {}
            terms: dict[str, Tensor] = {}
            pieces = np.array_split(np.sort(rows), trainer.gradient_accumulation_steps * accelerator.num_processes)
            piece_terms: list[Tensor] = []
            for number, piece in enumerate(pieces[accelerator.process_index :: accelerator.num_processes]):
                if len(piece) == 0 and accelerator.num_processes == 1:
                    continue
                # Every process must run every backward pass; one without items repeats an item with weight 0.
                share, piece = (1.0, piece) if len(piece) else (0.0, rows[:1])
                batch = objective.batch(piece, context, device)
                if number == 0:
                    objective.before_step(batch)
                with autocast(device, trainer.precision):
                    terms = objective.loss(trained, batch)
                meter.read()
                # Divided by the weight of the whole batch, so that the gradients of the pieces add up to that of it.
                loss = share * terms["loss"] * (accelerator.num_processes / batch_weight)
                accelerator.backward(scale.scaled(loss))
                piece_terms.append(share * torch.stack([term.detach().float() for term in terms.values()]))
            for name, *values in zip(terms, *_to_numbers(accelerator, piece_terms), strict=True):
                sums[name] = sum(values)
            if not scale.unscale(optimizer, parameters):
                scale.step(optimizer)  # skips the optimizer step and halves the scale
                optimizer.zero_grad(set_to_none=True)
                state.skipped += 1
                if scale.exhausted:
                    raise _diverged(
                        "gradient overflows in fp16 (smaller range than bf16 and fp32) at every loss scale",
                        state,
                        learning_rate,
                    )
                continue
            if not math.isfinite(sums["loss"]):  # checked before the optimizer step
                raise _diverged("training loss is not a number", state, learning_rate)
            state.sums = {name: state.sums.get(name, 0.0) + value for name, value in sums.items()}
            state.weight_sum += batch_weight
            objective.after_backward()
            if settings.max_grad_norm:
                accelerator.clip_grad_norm_(parameters, settings.max_grad_norm)
            scale.step(optimizer)
            objective.after_step(context)
            average.update(step)
            optimizer.zero_grad(set_to_none=True)
            state.audit = objective.audit
            state.step += 1
            for callback in callbacks:
                callback.on_step_end(step)
            if time.monotonic() - saved > 60 * trainer.save_minutes and state.step < steps and _finite(objective):
                save()  # if not finite, the loss of the next step is neither, in every process

        if not _finite(objective):
            raise _diverged("weights are not numbers", state, learning_rate)
        with average.in_place():
            row = {
                "epoch": state.epoch + 1,
                **objective.evaluate(trained, state.sums, state.weight_sum, context),
                "learning_rate": learning_rate * factor,
                **({"skipped": state.skipped} if trainer.precision == "fp16" else {}),
                "seconds": time.monotonic() - epoch_started,
            }
            state.log.append(row)
            if accelerator.is_main_process:
                write_text(folder.log, log_text(state.log))  # before the check, so that a rejected epoch is in the log
            objective.check(row)
            score = objective.score(row)
            if score > state.best_score:
                state.best_score, state.best_epoch = score, state.epoch + 1
                if accelerator.is_main_process:
                    replace_folder(folder.best, objective.save)
        state.epoch, state.step = state.epoch + 1, 0
        state.sums, state.weight_sum, state.skipped = {}, 0.0, 0
        save()
        repeated = f"{row['skipped']} steps repeated, " if row.get("skipped") else ""
        line = f"epoch {row['epoch']}/{settings.epochs}, {objective.sentence(row)}, {repeated}{row['seconds']:.1f} s"
        for callback in callbacks:
            callback.on_epoch_end(row, line)
        stopped_early = _stops_early(state, settings)

    for callback in callbacks:
        callback.on_train_end((settings.epochs - state.epoch) * steps)
    if accelerator.is_main_process:
        write_text(folder.log, log_text(state.log))  # a resumed training may not have written it
    accelerator.wait_for_everyone()
    objective.load(folder.best)
    if device.type == "cpu":
        release_freed_memory()
    return TrainingResult(
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        stopped_early=stopped_early,
        learning_rate=learning_rate,
        seconds=state.seconds,
        seconds_per_epoch=float(np.median([row["seconds"] for row in state.log])),
        peak_memory_bytes=state.peak_memory,
        device=str(device),
        precision=choose_precision(device, trainer.precision),
        audit=state.audit,
        log=state.log,
    )


def _to_numbers(accelerator: Accelerator, piece_terms: list[Tensor]) -> list[list[float]]:
    """Return the loss terms (terms,) of each piece as numbers; with several processes, one sum over all pieces.

    All terms are transferred at once, because every transfer synchronises with the device. Processes sum in every step,
    so that all of them see a loss that is not finite, and saved sums are complete.
    """
    values = torch.stack(piece_terms)
    if accelerator.num_processes == 1:
        return values.tolist()
    return [accelerator.reduce(values.double().sum(dim=0), "sum").tolist()]  # type: ignore[union-attr]


def _finite(objective: Objective) -> bool:
    """Whether all tensors that a step can change are finite."""
    return all(bool(tensor.isfinite().all()) for tensor in objective.tensors().values())


def _diverged(problem: str, state: State, learning_rate: float) -> DivergedError:
    return DivergedError(
        f"the {problem} in epoch {state.epoch + 1}, step {state.step + 1} of the epoch; "
        f"lower learning_rate (now {learning_rate:g}) or set max_grad_norm"
    )


def _stops_early(state: State, settings: Optimisation) -> bool:
    return settings.patience is not None and 0 < state.best_epoch <= state.epoch - settings.patience


def _save(
    path: Path, objective: Objective, optimizer: Any, average: WeightAverage, scale: LossScale, state: State
) -> None:
    content = {
        "weights": objective.tensors(),
        "average": average.tensors(),
        "optimizer": optimizer.state_dict(),
        "scale": scale.state(),
        "state": asdict(state),
    }

    def write(partial: Path) -> None:
        with partial.open("wb") as file:  # of a path, torch hides the reason of a failure, and puts the name inside
            torch.save(content, file)

    write_atomically(path, write)


def _restore(
    path: Path,
    objective: Objective,
    optimizer: Any,
    average: WeightAverage,
    scale: LossScale,
    *,
    epochs: int,
    steps: int,
) -> State:
    if not path.exists():
        return State()
    content = read_state(
        path,
        weights=objective.tensors(),
        average=average.tensors(),
        optimizer=optimizer,
        scale=scale.state(),
        epochs=epochs,
        steps=steps,
    )
    objective.restore(content["weights"])
    left = sorted(content["weights"].keys() - objective.tensors().keys())
    if left:
        raise misfit(path, f"{len(left)} tensors are unexpected, such as {left[0]!r}")
    average.restore(content["average"])
    optimizer.load_state_dict(content["optimizer"])
    scale.restore(content["scale"])
    state = State(**content["state"])
    objective.audit = state.audit
    return state

"""Training loop of fine-tuning and pretraining, for all methods, encoders and devices."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
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
from ecgtune.training.processes import end_cleanly
from ecgtune.training.run_folder import RunFolder, log_text
from ecgtune.training.schedule import learning_rate_factor, make_optimizer, parameter_groups
from ecgtune.training.state import Course, misfit, restore_state, save_state
from ecgtune.utils.files import replace_folder, write_text
from ecgtune.utils.formatting import counted


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

    @property
    def facts(self) -> dict[str, Any]:
        """Entries of metrics.json that every training has."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("audit", "log")}


def count_steps(items: int, settings: Optimisation) -> int:
    """Return the number of optimizer steps on `items` items. Raises SettingError for fewer than the audits need."""
    steps = math.ceil(items / settings.batch_size) * settings.epochs
    if steps < 2:
        smaller = f" or batch_size {-(-items // 2)} (--batch-size) or less" if items > 1 else ""
        raise SettingError(
            f"{counted(items, 'training item')} in batches of {settings.batch_size} for 1 epoch make 1 step, but the "
            f"audits compare 2; use epochs 2 (--epochs) or more{smaller}"
        )
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
    return _Training(objective, settings, trainer, seed, folder, callbacks).run()


class _Training:
    """One call of `train`: what it trains, how far it is, and the steps and epochs that are left."""

    def __init__(
        self,
        objective: Objective,
        settings: Optimisation,
        trainer: TrainerSettings,
        seed: int,
        folder: RunFolder,
        callbacks: Sequence[Callback],
    ) -> None:
        self.objective, self.settings, self.trainer, self.seed = objective, settings, trainer, seed
        self.folder, self.callbacks = folder, callbacks
        self.accelerator = Accelerator(cpu=choose_device(trainer.device).type == "cpu")
        end_cleanly()
        self.device = self.accelerator.device
        if self.device.type == "cpu":
            retain_freed_memory()
        model = objective.model.to(self.device)
        self.trained: nn.Module = self.accelerator.prepare(objective.trained)
        self.learning_rate = objective.learning_rate
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        groups = parameter_groups(model, objective.rate_factor)
        self.rate_factors = list(groups)
        self.optimizer = self.accelerator.prepare(
            make_optimizer(
                groups.values(), self.learning_rate, settings, betas=objective.betas, epsilon=objective.epsilon
            )
        )
        self._set_rates(1.0)
        self.total_steps = count_steps(objective.items, settings)
        self.steps = self.total_steps // settings.epochs  # of an epoch
        self.average = WeightAverage(model, settings.ema or None, objective.on_average)
        self.scale = LossScale(self.device, trainer.precision)
        # With weight decay as L2, Adam's gradients are larger than those that are clipped.
        clipped = settings.optimizer == "adamw" or settings.weight_decay == 0
        most_gradient = (settings.max_grad_norm or math.inf) if clipped else math.inf
        course = Course(settings.epochs, self.steps, most_gradient, self._weight_of)
        self.state = restore_state(folder.state, objective, self.optimizer, self.average, self.scale, course)
        self.meter = MemoryMeter(self.device, self.state.peak_memory)
        self.saved = time.monotonic()

    def run(self) -> TrainingResult:
        """Run the epochs that are left and load the best one."""
        state = self.state
        for callback in self.callbacks:
            callback.on_train_begin(state.epoch * self.steps + state.step, self.total_steps)
        while state.epoch < self.settings.epochs and not self._stops_early and not self._ended:
            started = time.monotonic()
            context, rate = self._train_epoch()
            row = self._finish_epoch(context, rate, started)
            repeated = f"{counted(row['skipped'], 'step')} repeated, " if row.get("skipped") else ""
            line = f"epoch {row['epoch']}/{self.settings.epochs}, {self.objective.sentence(row)}, {repeated}"
            for callback in self.callbacks:
                callback.on_epoch_end(row, f"{line}{row['seconds']:.1f} s")
        for callback in self.callbacks:
            callback.on_train_end((self.settings.epochs - state.epoch) * self.steps)
        if self.accelerator.is_main_process:
            write_text(self.folder.log, log_text(state.log))  # a resumed training may not have written it
        self.accelerator.wait_for_everyone()
        self.objective.load(self.folder.best)
        if self.device.type == "cpu":
            release_freed_memory()
        return TrainingResult(
            epochs=state.epoch,
            best_epoch=state.best_epoch,
            stopped_early=self._stops_early or state.epoch < self.settings.epochs,
            learning_rate=self.learning_rate,
            seconds=state.seconds,
            seconds_per_epoch=float(np.median([row["seconds"] for row in state.log])),
            peak_memory_bytes=state.peak_memory,
            device=str(self.device),
            precision=choose_precision(self.device, self.trainer.precision),
            audit=state.audit,
            log=state.log,
        )

    def _train_epoch(self) -> tuple[StepContext, float]:
        """Run the steps of an epoch that are left; return the context and the learning rate of the last one."""
        state = self.state
        order = epoch_order(self.seed, state.epoch, self.objective.items)
        self.trained.train()
        context, factor = StepContext(self.seed, state.epoch, state.epoch * self.steps, self.total_steps), 0.0
        while state.step < self.steps and not (state.step and self._ended):
            step = state.epoch * self.steps + state.step
            context = StepContext(self.seed, state.epoch, step, self.total_steps)
            factor = learning_rate_factor(step, self.total_steps, self.settings)
            self._set_rates(factor)
            if not self._step(self._rows(order, state.step), context):
                continue
            for callback in self.callbacks:
                callback.on_step_end(step)
            due = time.monotonic() - self.saved > 60 * self.trainer.save_minutes
            if due and state.step < self.steps and self._finite:
                self._save()  # if not finite, the loss of the next step is neither, in every process
        return context, self.learning_rate * factor

    def _set_rates(self, factor: float) -> None:
        """Give each group of parameters its learning rate; factor: of the schedule, 1 for the highest."""
        for group, own_factor in zip(self.optimizer.param_groups, self.rate_factors, strict=True):
            group["lr"] = self.learning_rate * factor * own_factor

    def _rows(self, order: np.ndarray, step: int) -> np.ndarray:
        """Return the items of a step of the epoch, which has its items in this order."""
        return order[step * self.settings.batch_size : (step + 1) * self.settings.batch_size]

    def _weight_of(self, epoch: int, steps: int) -> float:
        """Return the summed weight of the first `steps` steps of an epoch."""
        order = epoch_order(self.seed, epoch, self.objective.items)
        contexts = [StepContext(self.seed, epoch, epoch * self.steps + step, self.total_steps) for step in range(steps)]
        return sum(self.objective.weight(self._rows(order, step), each) for step, each in enumerate(contexts))

    def _step(self, rows: np.ndarray, context: StepContext) -> bool:
        """Run one optimizer step on `rows`; return False if gradients overflowed, so that it has to be repeated."""
        objective, state, scale = self.objective, self.state, self.scale
        # Dropout has a seed per step, so a resumed training needs no generator state.
        torch.manual_seed((self.seed * 1_000_003 + context.step) * 64 + self.accelerator.process_index)
        weight = objective.weight(rows, context)
        sums = self._backward(rows, context, weight)
        if not scale.unscale(self.optimizer, self.parameters):
            scale.step(self.optimizer)  # skips the optimizer step and halves the scale
            self.optimizer.zero_grad(set_to_none=True)
            state.skipped += 1
            if scale.exhausted:
                raise self._diverged(
                    "gradient overflows in fp16 (smaller range than bf16 and fp32) at every loss scale"
                )
            return False
        if not math.isfinite(sums["loss"]):  # checked before the optimizer step
            raise self._diverged("training loss is not a number")
        if state.sums and state.sums.keys() != sums.keys():
            raise misfit(self.folder.state, f"its sums must be of {', '.join(sums)}")
        state.sums = {name: state.sums.get(name, 0.0) + value for name, value in sums.items()}
        state.weight_sum += weight
        objective.after_backward()
        if self.settings.max_grad_norm:
            self.accelerator.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        scale.step(self.optimizer)
        objective.after_step(context)
        self.average.update(context.step)
        self.optimizer.zero_grad(set_to_none=True)
        state.audit = objective.audit
        state.step += 1
        return True

    def _backward(self, rows: np.ndarray, context: StepContext, weight: float) -> dict[str, float]:
        """Compute the gradients of a batch of summed `weight`, in pieces; return the sums of its loss terms."""
        processes = self.accelerator.num_processes
        terms: dict[str, Tensor] = {}
        piece_terms: list[Tensor] = []
        pieces = np.array_split(np.sort(rows), self.trainer.gradient_accumulation_steps * processes)
        for number, piece in enumerate(pieces[self.accelerator.process_index :: processes]):
            if len(piece) == 0 and processes == 1:
                continue
            # Every process must run every backward pass; one without items repeats an item with weight 0.
            counted, piece = (1.0, piece) if len(piece) else (0.0, rows[:1])
            batch = self.objective.batch(piece, context, self.device)
            if number == 0:
                self.objective.before_step(batch)
            with autocast(self.device, self.trainer.precision):
                terms = self.objective.loss(self.trained, batch)
            self.meter.read()
            # Divided by the weight of the whole batch, so that the gradients of the pieces add up to that of it.
            loss = counted * terms["loss"] * (processes / weight)
            self.accelerator.backward(self.scale.scaled(loss))
            piece_terms.append(counted * torch.stack([term.detach().float() for term in terms.values()]))
        totals = zip(terms, *_to_numbers(self.accelerator, piece_terms), strict=True)
        return {name: sum(values) for name, *values in totals}

    def _finish_epoch(self, context: StepContext, rate: float, started: float) -> dict[str, Any]:
        """Validate the epoch, keep its weights if they are the best, save the state; return the row of the log."""
        objective, state = self.objective, self.state
        if not self._finite:
            raise self._diverged("weights are not numbers")
        with self.average.in_place():
            row = {
                "epoch": state.epoch + 1,
                **objective.evaluate(self.trained, state.sums, state.weight_sum, context),
                "learning_rate": rate,
                **({"skipped": state.skipped} if self.trainer.precision == "fp16" else {}),
                "seconds": time.monotonic() - started,
            }
            state.log.append(row)
            if self.accelerator.is_main_process:  # before the check, so that a rejected epoch is in the log
                write_text(self.folder.log, log_text(state.log))
            objective.check(row)
            score = objective.score(row)
            if score > state.best_score:
                state.best_score, state.best_epoch = score, state.epoch + 1
                if self.accelerator.is_main_process:
                    replace_folder(self.folder.best, objective.save)
        state.epoch, state.step = state.epoch + 1, 0
        state.sums, state.weight_sum, state.skipped = {}, 0.0, 0
        self._save()
        return row

    def _save(self) -> None:
        now = time.monotonic()
        self.state.seconds, self.saved = self.state.seconds + now - self.saved, now
        self.state.peak_memory = self.meter.peak
        if self.accelerator.is_main_process:
            save_state(self.folder.state, self.objective, self.optimizer, self.average, self.scale, self.state)

    @property
    def _finite(self) -> bool:
        """Whether all tensors that a step can change are finite."""
        return all(bool(tensor.isfinite().all()) for tensor in self.objective.tensors().values())

    @property
    def _stops_early(self) -> bool:
        patience, state = self.settings.patience, self.state
        return patience is not None and 0 < state.best_epoch <= state.epoch - patience

    @property
    def _ended(self) -> bool:
        """Whether a callback ends the training, which has two steps or more, as the audits need."""
        steps = self.state.epoch * self.steps + self.state.step
        return steps >= 2 and any(callback.ends_training for callback in self.callbacks)

    def _diverged(self, problem: str) -> DivergedError:
        return DivergedError(
            f"the {problem} in epoch {self.state.epoch + 1}, step {self.state.step + 1} of the epoch; "
            f"lower learning_rate (now {self.learning_rate:g}) or set max_grad_norm"
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

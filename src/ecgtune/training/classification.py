"""Fine-tuning objective: a loss on labelled windows, AUROC on validation, audits in the first steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.evaluation.macro import macro_auroc
from ecgtune.evaluation.metrics import auroc
from ecgtune.methods.audits import TrainingAudit
from ecgtune.methods.base import Method
from ecgtune.methods.depth import check_depth, layer_rates
from ecgtune.methods.split import trained_part
from ecgtune.methods.storage import load_weights, save_weights, trained_tensors
from ecgtune.models.classifier import Classifier
from ecgtune.models.layered import LayeredEncoder
from ecgtune.training.batches import TrainingInputs, tensor_of
from ecgtune.training.inference import logits_of, probability_of
from ecgtune.training.losses import criterion
from ecgtune.training.objective import Objective, StepContext
from ecgtune.training.schedule import peak_rate


class Classification(Objective):
    """Train the trainable weights of `model`, to which `method` is attached, on labelled windows.

    The windows hold signals `(windows, leads, samples)` for the whole model, or the output of `precompute` for its
    trainable suffix. `settings.checkpoint_metric` selects the best epoch; its AUROC is that of
    the validation windows, a macro mean for more than two classes or labels. A step may raise AuditError, see
    `methods.audits`.
    """

    def __init__(
        self,
        model: Classifier,
        method: Method,
        inputs: TrainingInputs,
        settings: Optimisation,
        trainer: TrainerSettings,
    ) -> None:
        training = inputs.training
        self.model: Classifier = model  # pyright: ignore[reportIncompatibleVariableOverride]  # not reassigned
        check_depth(
            model,
            method,
            layer_decay=settings.layer_decay,
            drop_path=settings.drop_path,
            layer_drop=settings.layer_drop,
            checkpointing=trainer.gradient_checkpointing,
        )
        encoder = model.base_encoder
        if settings.drop_path > 0:
            encoder.set_drop_path(settings.drop_path)
        if settings.layer_drop > 0:
            cast(LayeredEncoder, encoder).set_layer_drop(settings.layer_drop)
        if trainer.gradient_checkpointing:
            encoder.set_gradient_checkpointing(True)
        self.trained = trained_part(model, training.split)
        self.items = len(training) // inputs.copies
        self._copies = inputs.copies
        self.learning_rate = peak_rate(settings, encoder.head_width) or method.learning_rate
        self._method, self._best = method, settings.checkpoint_metric
        self._training, self._validation = training, inputs.validation
        self._augment = inputs.augment
        self._precision, self._batch = trainer.precision, trainer.inference_batch(settings.batch_size)
        self._criterion = criterion(training.label, model.classes, settings)
        self._audits = TrainingAudit(model, method, training.split)
        self._callback = method.callback(model)
        self._head_rate = settings.head_rate_factor
        self._layer_rates = layer_rates(model, method, settings.layer_decay)

    def weight(self, rows: np.ndarray, context: StepContext) -> float:
        return self._criterion.total(self._training.label[rows])

    def batch(self, rows: np.ndarray, context: StepContext, device: torch.device) -> tuple[Tensor, Tensor]:
        inputs = self._training.inputs[rows + context.epoch % self._copies * self.items]
        if self._augment is not None:
            inputs = self._augment(inputs, rows, context.seed, context.epoch)
        return tensor_of(inputs).to(device), torch.from_numpy(self._training.label[rows]).to(device)

    def loss(self, trained: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        inputs, label = batch
        logits = trained(inputs)
        loss = self._criterion(logits.float(), label)
        penalty = self._callback.penalty()
        if penalty is not None:
            # The loop divides by the weight of the whole batch.
            loss = loss + penalty * self._criterion.weight_sum(label)
        correct, known = self._criterion.correct(logits.detach(), label), (label >= 0).sum()
        return {"loss": loss, "correct": correct, "predictions": known}

    def rate_factor(self, parameter: str) -> float:
        if parameter.startswith("head."):
            return self._head_rate
        return self._method.rate_factor(parameter) * self._layer_rates.get(parameter, 1.0)

    def before_step(self, batch: tuple[Tensor, Tensor]) -> None:
        if not self.audit:
            self._audits.before_step(batch[0])

    def after_backward(self) -> None:
        if not self.audit:
            self._audits.after_backward()

    def after_step(self, context: StepContext) -> None:
        if not self.audit:
            self._audits.after_step(last=context.step + 1 == context.total_steps)
            self.audit = self._audits.sentence() if self._audits.finished else ""
        self._callback.after_step(context.step, context.total_steps)

    def on_average(self) -> None:
        self._callback.on_average()

    def evaluate(
        self, trained: nn.Module, sums: Mapping[str, float], weight: float, context: StepContext
    ) -> dict[str, Any]:
        label, task = self._validation.label, self._criterion.task
        logits = logits_of(trained, self._validation.inputs, batch_size=self._batch, precision=self._precision)
        probability = probability_of(logits, task)
        likelihood, correct = _likelihood(label, probability)
        return {
            "train_loss": sums["loss"] / weight,
            "train_accuracy": sums["correct"] / sums["predictions"],
            "val_loss": float(-np.log(np.maximum(likelihood, 1e-12)).mean()),
            "val_accuracy": float(correct.mean()),
            "val_auroc": auroc(label, probability[:, 1]) if task == "binary" else macro_auroc(label, probability),
        }

    def score(self, row: Mapping[str, Any]) -> float:
        return {"auroc": row["val_auroc"], "loss": -row["val_loss"], "last": float(row["epoch"])}[self._best]

    def sentence(self, row: Mapping[str, Any]) -> str:
        return (
            f"loss {row['train_loss']:.4f}, validation loss {row['val_loss']:.4f}, "
            f"accuracy {row['val_accuracy']:.4f}, AUROC {row['val_auroc']:.4f}"
        )

    def tensors(self) -> dict[str, Tensor]:
        return trained_tensors(self.model) | self._callback.tensors()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        super().restore(tensors)
        self._callback.restore(tensors)

    def save(self, folder: Path) -> None:
        save_weights(self.model, folder)

    def load(self, folder: Path) -> None:
        load_weights(self.model, folder)


def _likelihood(label: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of the true class and whether it was predicted: `(windows,)`, or `(known labels,)`."""
    if label.ndim == 1:
        return probability[np.arange(len(label)), label], probability.argmax(1) == label
    known = label >= 0
    truth, probability = label[known] == 1, probability[known]
    return np.where(truth, probability, 1 - probability), (probability >= 0.5) == truth

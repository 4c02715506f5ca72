"""Contrastive pretraining as an objective of the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ecgtune.data.sampling import generator
from ecgtune.errors import RunError
from ecgtune.models.base import Encoder
from ecgtune.models.contrastive import ContrastiveOutput, Draws, gumbel_temperature
from ecgtune.pretraining.crops import Selection
from ecgtune.pretraining.draws import gumbel_noise, kept_leads, negatives, span_masks
from ecgtune.pretraining.objective import Batch, PretrainingObjective
from ecgtune.recipes.pretraining import ContrastiveTask


class ContrastiveObjective(PretrainingObjective[ContrastiveTask]):
    """Objective of `models.contrastive`. An item is two adjacent windows of a recording, the positive pair of CMSC."""

    segments = 2
    betas: ClassVar[tuple[float, float]] = (0.9, 0.98)  # as published
    epsilon: ClassVar[float] = 1e-6

    def make_module(self, encoder: Encoder, selection: Selection) -> nn.Module:
        task = self._task
        return encoder.pretraining_models[task.name](
            encoder,
            groups=task.groups,
            codes=task.codes,
            code_width=task.code_width,
            final_width=task.final_width,
            feature_grad_mult=task.feature_grad_mult,
        )

    def draw(self, windows: int, key: tuple[int, ...], *, training: bool, device: torch.device) -> Draws:
        task, rng = self._task, generator(*key)
        masked = span_masks(rng, windows, self._shape.places, task.masked, task.mask_span)
        count = int(masked[0].sum())
        leads = kept_leads(rng, windows, len(self._recordings.leads), task.lead_dropout) if training else None
        noise = (windows * count * task.groups, task.codes)
        return Draws(
            masked=torch.from_numpy(masked).to(device),
            negatives=torch.from_numpy(negatives(rng, windows, count, task.negatives)).to(device),
            kept_leads=None if leads is None else torch.from_numpy(leads).to(device),
            gumbel=gumbel_noise(int(rng.integers(1 << 62)), noise, device) if training else None,
        )

    def loss(self, trained: nn.Module, batch: Batch) -> dict[str, Tensor]:
        windows, device = len(batch.signal), batch.signal.device
        recording = torch.arange(windows, device=device) // self.segments
        segment = torch.arange(windows, device=device) % self.segments
        output: ContrastiveOutput = trained(
            batch.signal, batch.draws, recording, segment, temperature=gumbel_temperature(batch.step)
        )
        items = windows / self.segments
        terms = {name: getattr(output, name) for name in ("loss", "contrastive", "diversity", "feature_penalty")}
        return {
            **{name: term.float() * (items / output.sample_size) for name, term in terms.items()},
            "segments": output.segments.float() * (items / output.sample_size),
            "code_perplexity": output.code_perplexity.float() * items,
            **{
                f"code_perplexity_{group}": perplexity.float() * items
                for group, perplexity in enumerate(output.group_perplexity, start=1)
            },
            "probability_perplexity": output.probability_perplexity.float() * items,
            "masked_accuracy": torch.tensor(output.correct / output.sample_size * items, device=device),
        }

    def check_collapse(self, row: Mapping[str, Any]) -> None:
        groups = range(1, self._task.groups + 1)
        worst = min(groups, key=lambda group: row[f"train_code_perplexity_{group}"])
        lowest = row[f"train_code_perplexity_{worst}"]
        if lowest < self._task.least_perplexity:
            raise RunError(
                f"the codes have collapsed: group {worst} of {len(groups)} has a perplexity of {lowest:.2f}, so all "
                f"tokens have the same of its {self._task.codes} codes; lower learning_rate or lengthen warmup"
            )

    def sentence(self, row: Mapping[str, Any]) -> str:
        return (
            f"loss {row['train_loss']:.4f}, validation loss {row['val_loss']:.4f}, masked accuracy "
            f"{row['train_masked_accuracy']:.3f}, code perplexity {row['train_code_perplexity']:.1f}"
        )

"""Contrastive pretraining of ECG-FM."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.errors import DataError
from ecgtune.models.contrastive import (
    DIVERSITY_WEIGHT,
    FEATURE_PENALTY_WEIGHT,
    MAX_TEMPERATURE,
    ContrastiveOutput,
    Draws,
    GumbelQuantizer,
    contrastive_logits,
    segment_loss,
)
from ecgtune.models.ecg_fm.network import EcgFM


class ContrastiveModel(nn.Module):
    """An encoder with the modules that only pretraining needs, named as in the published files."""

    def __init__(
        self,
        encoder: EcgFM,
        *,
        groups: int = 2,
        codes: int = 320,
        code_width: int = 256,
        final_width: int = 256,
        feature_grad_mult: float | None = None,
    ) -> None:
        super().__init__()
        config = encoder.config
        if feature_grad_mult is not None:
            encoder.feature_grad_mult = feature_grad_mult  # not saved with the encoder
        self.encoder = encoder
        self.mask_emb = nn.Parameter(torch.rand(config.width))
        self.quantizer = GumbelQuantizer(config.conv_channels, code_width, groups, codes)
        self.project_q = nn.Linear(code_width, final_width)
        self.final_proj = nn.Linear(config.width, final_width)

    def forward(
        self, signal: Tensor, draws: Draws, patient: Tensor, segment: Tensor, *, temperature: float = MAX_TEMPERATURE
    ) -> ContrastiveOutput:
        """Compute the loss of one batch.

        Parameters
        ----------
        signal : (batch, leads, samples), normalised 5 s segments, two adjacent ones of each recording.
        patient, segment : (batch,) integers; segments 0 and 1 of a patient are a positive pair.
        temperature : of the quantiser, `gumbel_temperature(step)`.
        """
        counts = draws.masked.sum(dim=1)
        if not bool((counts == counts[0]).all()) or int(counts[0]) < 2:
            raise DataError("every record needs the same number of masked tokens, 2 or more (one target, one negative)")
        if draws.kept_leads is not None:
            signal = signal * draws.kept_leads[..., None].to(signal.dtype)

        stem = self.encoder.stem_features(signal)
        mean_square_feature = stem.pow(2).mean()
        normed = self.encoder.stem_norm(stem)
        tokens = torch.where(draws.masked[..., None], self.mask_emb, self.encoder.projection(normed))
        features = self.encoder.contextualise(tokens, None)

        batch = signal.shape[0]
        quantised, probability_perplexity, group_perplexity = self.quantizer(
            normed[draws.masked].view(batch, -1, normed.shape[-1]), draws.gumbel, temperature
        )
        target = self.project_q(quantised)
        prediction = self.final_proj(features[draws.masked].view(batch, -1, features.shape[-1]))
        logits = contrastive_logits(prediction, target, draws.negatives)

        size = draws.masked.sum()
        ranked = logits.flatten(1).T  # (masked tokens of the batch, candidates), the target first
        contrastive = F.cross_entropy(ranked, ranked.new_zeros(len(ranked), dtype=torch.long), reduction="sum")
        codes = self.quantizer.groups * self.quantizer.codes
        probability_perplexity = probability_perplexity.sum()
        diversity = DIVERSITY_WEIGHT * size * (codes - probability_perplexity) / codes
        feature_penalty = FEATURE_PENALTY_WEIGHT * size * mean_square_feature
        segments = size * segment_loss(features.mean(dim=1), patient, segment)
        best, worst = ranked.argmax(dim=1) == 0, ranked.argmin(dim=1) == 0
        return ContrastiveOutput(
            loss=contrastive + diversity + feature_penalty + segments,
            contrastive=contrastive,
            diversity=diversity,
            feature_penalty=feature_penalty,
            segments=segments,
            logits=logits,
            features=features,
            mean_square_feature=mean_square_feature,
            probability_perplexity=probability_perplexity,
            code_perplexity=group_perplexity.sum(),
            group_perplexity=group_perplexity,
            correct=int((best & ~worst).sum()),  # not correct if all candidates have equal logits
            sample_size=int(size),
        )

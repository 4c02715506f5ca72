"""ECG-FM's own pretraining objective: wav2vec 2.0's contrastive task and CMSC's between segments of one patient.

Baevski et al. 2020 (arXiv:2006.11477) for the masked contrastive task over quantised targets, Kiyasseh et al. 2021
(arXiv:2005.13249) for CMSC, Oh et al. 2022 (arXiv:2203.06889) for the two together. Every random draw is an argument,
so that the maths is a pure function of weights, signal and draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.errors import AuditError, DataError
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.models.ecg_fm.published import read_file

MAX_TEMPERATURE, MIN_TEMPERATURE, TEMPERATURE_DECAY = 2.0, 0.5, 0.999995
CONTRASTIVE_TEMPERATURE = 0.1
DIVERSITY_WEIGHT, FEATURE_PENALTY_WEIGHT = 0.1, 10.0
LOG_FLOOR = 1e-7  # keeps the logarithm of an unused code finite
NORM_FLOOR = 1e-8


def gumbel_temperature(step: int) -> float:
    """Temperature of the quantiser after `step` updates: max(2 * 0.999995^step, 0.5)."""
    return max(MAX_TEMPERATURE * TEMPERATURE_DECAY**step, MIN_TEMPERATURE)


@dataclass(frozen=True)
class Draws:
    """The random draws of one step.

    masked : (batch, tokens) bool, the tokens to predict; every record has the same number of them.
    negatives : (batch, masked tokens * negatives) int64, for each masked token in order its distractors, as indices
        into the masked tokens of the whole batch, record after record.
    kept_leads : (batch, leads) bool, False where a lead is set to zero; None keeps all.
    gumbel : (batch * masked tokens * groups, codes) Gumbel noise for choosing codes; None takes the likeliest code,
        as in evaluation.
    """

    masked: Tensor
    negatives: Tensor
    kept_leads: Tensor | None = None
    gumbel: Tensor | None = None


@dataclass(frozen=True)
class PretrainingOutput:
    """The loss and its parts, each summed over the masked tokens (`sample_size` of them).

    `logits` (1 + negatives, batch, masked tokens): similarity to the true target (row 0) and to the distractors.
    `features` (batch, tokens, width): the encoder's output. `correct` of `sample_size` tokens found their target.
    Perplexities are summed over the quantiser's groups; `group_perplexity` (groups,) is the codes' in each, 1 to codes.
    """

    loss: Tensor
    contrastive: Tensor
    diversity: Tensor
    feature_penalty: Tensor
    segments: Tensor
    logits: Tensor
    features: Tensor
    mean_square_feature: Tensor
    probability_perplexity: Tensor
    code_perplexity: Tensor
    group_perplexity: Tensor
    correct: int
    sample_size: int


class GumbelQuantizer(nn.Module):
    """Product quantiser: each of `groups` picks one of `codes` vectors; the pick is straight-through Gumbel-softmax."""

    def __init__(self, inputs: int, width: int, groups: int = 2, codes: int = 320) -> None:
        super().__init__()
        self.groups, self.codes = groups, codes
        self.vars = nn.Parameter(torch.rand(1, groups * codes, width // groups))
        self.weight_proj = nn.Linear(inputs, groups * codes)
        nn.init.normal_(self.weight_proj.weight)
        nn.init.zeros_(self.weight_proj.bias)

    def forward(self, features: Tensor, gumbel: Tensor | None, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, tokens, inputs) -> quantised (batch, tokens, width), perplexity of the probabilities, of the codes.

        Perplexities (groups,) are at most `codes`, when all codes of the group are used alike.
        """
        batch, tokens, _ = features.shape
        scores = self.weight_proj(features).view(batch * tokens, self.groups, self.codes)
        chosen = F.one_hot(scores.argmax(dim=-1), self.codes).to(scores.dtype)
        code_perplexity = _perplexity(chosen.mean(dim=0))
        probability_perplexity = _perplexity(scores.softmax(dim=-1).mean(dim=0))
        if gumbel is not None:
            soft = ((scores + gumbel.view_as(scores)) / temperature).softmax(dim=-1)
            hard = F.one_hot(soft.argmax(dim=-1), self.codes).to(soft.dtype)
            chosen = hard - soft.detach() + soft
        codebook = self.vars.view(self.groups, self.codes, -1)
        quantised = torch.einsum("ngc,gcd->ngd", chosen, codebook)
        return quantised.reshape(batch, tokens, -1), probability_perplexity, code_perplexity


class PretrainingModel(nn.Module):
    """An encoder with what only pretraining needs; those parts carry the names that official files give them."""

    def __init__(
        self, encoder: EcgFM, *, groups: int = 2, codes: int = 320, code_width: int = 256, final_width: int = 256
    ) -> None:
        super().__init__()
        config = encoder.config
        self.encoder = encoder
        self.mask_emb = nn.Parameter(torch.rand(config.width))
        self.quantizer = GumbelQuantizer(config.conv_channels, code_width, groups, codes)
        self.project_q = nn.Linear(code_width, final_width)
        self.final_proj = nn.Linear(config.width, final_width)

    def forward(
        self, signal: Tensor, draws: Draws, patient: Tensor, segment: Tensor, *, temperature: float = MAX_TEMPERATURE
    ) -> PretrainingOutput:
        """Loss of one batch.

        Parameters
        ----------
        signal : (batch, leads, samples), normalised 5 s segments, two adjacent ones of each recording.
        patient, segment : (batch,) integers; segments 0 and 1 of one patient are to be alike.
        temperature : of the quantiser, `gumbel_temperature(step)`.
        """
        counts = draws.masked.sum(dim=1)
        if not bool((counts == counts[0]).all()) or int(counts[0]) < 2:
            raise DataError(
                "every record needs the same number of masked tokens, at least 2 (one target, one negative)"
            )
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
        return PretrainingOutput(
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
            correct=int((best & ~worst).sum()),  # all candidates alike is no success
            sample_size=int(size),
        )


def contrastive_logits(prediction: Tensor, target: Tensor, negatives: Tensor) -> Tensor:
    """Cosine similarity / 0.1 of each prediction to its target (row 0) and its distractors.

    prediction, target (batch, tokens, width); negatives as in `Draws`. Returns (1 + negatives, batch, tokens). A
    distractor that equals the target is no distractor: its logit is minus infinity.
    """
    batch, tokens, width = target.shape
    distractors = target.reshape(-1, width)[negatives.flatten()].view(batch, tokens, -1, width).permute(2, 0, 1, 3)
    same = (distractors == target).all(dim=-1)
    candidates = torch.cat([target[None], distractors])
    logits = F.cosine_similarity(prediction[None], candidates, dim=-1) / CONTRASTIVE_TEMPERATURE
    same = torch.cat([torch.zeros_like(same[:1]), same])
    return logits.masked_fill(same, float("-inf"))


def segment_loss(pooled: Tensor, patient: Tensor, segment: Tensor) -> Tensor:
    """CMSC: segment 0 of a patient is to be nearer to segment 1 of the same patient than to another's, and back.

    pooled (batch, width). Norms carry no gradient, as in the original.
    """
    unit = pooled / pooled.detach().norm(dim=-1, keepdim=True).clamp_min(NORM_FLOOR)
    first, second = segment == 0, segment == 1
    scores = unit[first] @ unit[second].T / CONTRASTIVE_TEMPERATURE
    same = patient[first][:, None] == patient[second][None, :]
    if not bool(same.any()):
        raise DataError("no patient has both segments 0 and 1 in this batch; draw adjacent segments of one recording")
    forward, backward = -scores.log_softmax(dim=1), -scores.T.log_softmax(dim=1)
    return (forward[same].mean() + backward[same.T].mean()) / 2


def load_pretraining(path: str | Path, *, heads: int | None = None) -> PretrainingModel:
    """The whole pretraining model of an official pretrained `.pt` file, every tensor used.

    `heads` as in `load_checkpoint`. Raises CheckpointError for a file that cannot be read, AuditError for one that
    lacks a tensor, such as a fine-tuned file.
    """
    official, tensors = read_file(Path(path), heads)
    extra = {name: tensors[name].detach().clone() for name, _ in official.left_out}
    missing = sorted({"mask_emb", "quantizer.vars", "quantizer.weight_proj.weight", "project_q.weight"} - set(extra))
    if missing:
        raise AuditError(f"weights audit: {path} has no {missing[0]!r}: it is not a pretrained file; take that one")
    groups_and_codes, code_part = extra["quantizer.vars"].shape[1:]
    final_width, code_width = extra["project_q.weight"].shape
    groups = code_width // code_part
    model = PretrainingModel(
        EcgFM.from_weights(official.config, official.encoder),
        groups=groups,
        codes=groups_and_codes // groups,
        code_width=code_width,
        final_width=final_width,
    )
    weights = {f"encoder.{name}": tensor for name, tensor in official.encoder.items()} | extra
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise AuditError(
            f"weights audit: {path} does not fit the pretraining model: {' '.join(str(error).split())}"
        ) from error
    return model


def _perplexity(probabilities: Tensor) -> Tensor:
    """exp of the entropy of each group's code probabilities: (groups, codes) -> (groups,)."""
    return torch.exp(-(probabilities * torch.log(probabilities + LOG_FLOOR)).sum(dim=-1))

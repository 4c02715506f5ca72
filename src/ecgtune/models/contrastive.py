"""Masked contrastive pretraining: quantised targets, contrastive loss (wav2vec 2.0), and CMSC between segments.

Baevski et al. 2020 (arXiv:2006.11477) for the contrastive task, Kiyasseh et al. 2021 (arXiv:2005.13249) for CMSC, Oh
et al. 2022 (arXiv:2203.06889) for their sum. Random draws are arguments: the maths is a pure function of weights,
signal and draws. An architecture adds its own module (`Encoder.pretraining_models`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.errors import DataError

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
class ContrastiveOutput:
    """The loss and its parts, each summed over the masked tokens (`sample_size` of them).

    `logits` (1 + negatives, batch, masked tokens): similarity to the true target (row 0) and to the distractors.
    `features` (batch, tokens, width): the encoder's output. `correct` of `sample_size` targets have the highest score.
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


def _perplexity(probabilities: Tensor) -> Tensor:
    """exp of the entropy of each group's code probabilities: (groups, codes) -> (groups,)."""
    return torch.exp(-(probabilities * torch.log(probabilities + LOG_FLOOR)).sum(dim=-1))

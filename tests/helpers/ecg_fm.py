"""Attention maps and the contrastive model of a published ECG-FM file, for comparison with the original."""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ecgtune.models.checkpoint import read_published_file
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.models.ecg_fm.pretraining import ContrastiveModel
from ecgtune.models.ecg_fm.published import read_official
from ecgtune.models.post_norm import PostNormLayer


def attention_maps(encoder: EcgFM, signal: Tensor, padding_mask: Tensor | None = None) -> Tensor:
    """Attention of each layer, averaged over heads: (batch, depth, tokens, tokens), rows sum to 1."""
    tokens, mask = encoder.embed(signal, padding_mask)
    maps = []
    for index, layer in enumerate(encoder.layers):
        attention = cast(PostNormLayer, layer).attention
        query, key = (attention._split(project(tokens)) for project in (attention.q_proj, attention.k_proj))
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        maps.append(scores.softmax(dim=-1).mean(dim=1))
        tokens = encoder.run_block(index, layer, tokens, mask)
    return torch.stack(maps, dim=1)


def load_pretraining(path: Path) -> ContrastiveModel:
    """The contrastive model with every tensor of a published pretrained file."""
    content = read_published_file(path)
    official = read_official(content["model"], content["cfg"]["model"], str(path))
    extra = {name: content["model"][name].detach().clone() for name, _ in official.left_out}
    groups_and_codes, code_part = extra["quantizer.vars"].shape[1:]
    final_width, code_width = extra["project_q.weight"].shape
    groups = code_width // code_part
    model = ContrastiveModel(
        EcgFM.from_weights(official.config, official.encoder),
        groups=groups,
        codes=groups_and_codes // groups,
        code_width=code_width,
        final_width=final_width,
    )
    weights = {f"encoder.{name}": tensor for name, tensor in official.encoder.items()} | extra
    model.load_state_dict(weights, strict=True)
    return model

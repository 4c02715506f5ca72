"""Small files in the layout of the published ECG-FM, attention maps and the contrastive model of such a file."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ecgtune.models.checkpoint import read_published_file
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.ecg_fm.pretraining import ContrastiveModel
from ecgtune.models.ecg_fm.published import official_names, read_official
from ecgtune.models.post_norm import PostNormLayer

SMALL = EcgFmConfig(
    width=16, depth=2, heads=4, feed_forward=24, conv_channels=8, conv_layers=3, pos_taps=6, pos_groups=4
)


def official_content(kind: str = "pretrained", naming: str = "new", labels: int = 3) -> dict[str, Any]:
    """What an official file of this small size holds; `naming` is that of the weight norm ("old" or "new")."""
    torch.manual_seed(5)
    ours = EcgFM(SMALL).state_dict()
    prefix = "encoder." if kind == "finetuned" else ""
    tensors = {prefix + theirs: ours[name] for theirs, name in official_names(SMALL).items()}
    if kind == "finetuned":
        tensors |= {"proj.weight": torch.randn(labels, SMALL.width), "proj.bias": torch.randn(labels)}
    else:
        tensors |= {
            "mask_emb": torch.rand(SMALL.width),
            "quantizer.vars": torch.rand(1, 10, 4),
            "quantizer.weight_proj.weight": torch.randn(10, SMALL.conv_channels),
            "quantizer.weight_proj.bias": torch.zeros(10),
            "project_q.weight": torch.randn(6, 8),
            "project_q.bias": torch.zeros(6),
            "final_proj.weight": torch.randn(6, SMALL.width),
            "final_proj.bias": torch.zeros(6),
        }
    if naming == "old":
        tensors = {
            name.replace("parametrizations.weight.original0", "weight_g").replace(
                "parametrizations.weight.original1", "weight_v"
            ): tensor
            for name, tensor in tensors.items()
        }
    settings = {
        "encoder_layers": SMALL.depth,
        "encoder_embed_dim": SMALL.width,
        "encoder_attention_heads": SMALL.heads,
        "conv_feature_layers": "__import__('os').abort()",  # an expression in a string, which nobody evaluates
    }
    return {"args": None, "cfg": {"model": settings}, "model": tensors, "extra_state": {}}


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

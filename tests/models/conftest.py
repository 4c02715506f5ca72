"""Small checkpoints in the official layout, for tests that must run without the reference folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.ecg_fm.published import official_names

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


@pytest.fixture
def small_config() -> EcgFmConfig:
    """The sizes that `official_file` writes."""
    return SMALL


@pytest.fixture
def official_file(tmp_path: Path) -> Callable[..., Path]:
    """Write an official-layout file: `official_file(kind, naming, change)`; `change` edits the content in place."""

    def write(
        kind: str = "pretrained", naming: str = "new", change: Callable[[dict[str, Any]], object] = lambda content: None
    ) -> Path:
        content = official_content(kind, naming)
        change(content)
        path = tmp_path / f"{kind}.pt"
        torch.save(content, path)
        return path

    return write

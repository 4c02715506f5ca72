"""`ecgtune convert`."""

from __future__ import annotations

from pathlib import Path

from ecgtune.cli.inputs import check_exists
from ecgtune.cli.output import say


def convert(checkpoint: Path, out: Path, /, *, heads: int | None = None) -> None:
    """Convert a published checkpoint file to safetensors.

    The file is read without running anything in it; OUT holds the weights and model.json.

    Parameters
    ----------
    checkpoint
        The published file, such as a .pt file of ECG-FM.
    out
        A new folder.
    heads
        Attention heads of a model of unpublished size.
    """
    check_exists(checkpoint)
    from ecgtune.models.checkpoint import convert as convert_checkpoint

    convert_checkpoint(checkpoint, out, heads=heads)
    say(f"converted: {out}")

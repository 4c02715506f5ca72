"""Settings of a training that depend on the depth of an encoder's blocks."""

from __future__ import annotations

from ecgtune.errors import SettingError
from ecgtune.methods.base import Method
from ecgtune.models.classifier import Classifier
from ecgtune.models.layered import LayeredEncoder


def check_depth(
    model: Classifier,
    method: Method,
    *,
    layer_decay: float = 1.0,
    drop_path: float = 0.0,
    layer_drop: float = 0.0,
    checkpointing: bool = False,
) -> None:
    """Raise SettingError where a setting that goes by depth is on but could not act on `method`."""
    encoder = model.base_encoder
    skipped = {"drop_path": drop_path, "layer_drop": layer_drop}
    asked = {"layer_decay": (layer_decay, 1.0), **{name: (rate, 0.0) for name, rate in skipped.items()}}
    asked["gradient_checkpointing"] = (checkpointing, False)
    for name, (value, off) in asked.items():
        if value != off and not encoder.blocks:
            raise SettingError(f"{name} is {value}, but {encoder.architecture} has no blocks; leave it out")
    if layer_decay != 1 and not method.trained_parameters(encoder):
        raise SettingError(
            f"layer_decay is {layer_decay}, but {method.name} leaves the encoder's own weights as they are; "
            "leave it out, or use full, top-layers or norm-bias"
        )
    if checkpointing and not method.gradient_in_encoder:
        raise SettingError(
            f"gradient_checkpointing is on, but {method.name} keeps no activations of the encoder; leave it out"
        )
    for name, rate in skipped.items():
        if rate > 0 and not method.gradient_in_encoder:
            raise SettingError(f"{name} is {rate}, but {method.name} does not train the encoder; leave it out")
    if layer_drop > 0 and not isinstance(encoder, LayeredEncoder):
        raise SettingError(
            f"layer_drop is {layer_drop}, but {encoder.architecture} has no layers of one width; use drop_path"
        )


def layer_rates(model: Classifier, method: Method, decay: float) -> dict[str, float]:
    """Factors on the learning rates of the encoder's own weights that `method` trains, by their names in `model`.

    decay ** d with d = 0 in the last block and behind it, 1 in the block below, and the number of blocks before the
    first (layer-wise decay: Clark et al. 2020, arXiv:2003.10555; Bao et al. 2021, arXiv:2106.08254).
    """
    encoder = model.base_encoder
    blocks = list(encoder.blocks.values())
    depth = {id(p): len(blocks) - 1 - n for n, block in enumerate(blocks) for p in block.parameters()}
    trained = method.trained_parameters(encoder)
    rates = {}
    for name, parameter in encoder.named_parameters():
        if name in trained:
            behind = name.startswith(encoder.after_blocks)
            rates[f"encoder.{name}"] = decay ** (0 if behind else depth.get(id(parameter), len(blocks)))
    return rates

"""Published encoders against `shared/reference/encoders`: weights from a seed, files made of them, stored outputs."""

import functools
import json
import re
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecgtune.models.base import Encoder
from ecgtune.models.classifier import Classifier
from ecgtune.models.ecg_jepa.network import EcgJepa, EcgJepaConfig
from ecgtune.models.ecgfounder.network import ECGFounder, ECGFounderConfig
from ecgtune.models.heartlang.network import HeartLang, HeartLangConfig
from ecgtune.models.hubert_ecg.network import HubertEcg, HubertEcgConfig
from ecgtune.models.merl.network import MerlResNet, MerlResNetConfig, MerlViT, MerlViTConfig
from ecgtune.models.openecg.network import OpenECG, OpenECGConfig
from ecgtune.models.st_mem.network import STMEM, STMEMConfig

SEED = 7
#: Encoders of published architectures in small sizes, by architecture.
TINY: dict[str, Callable[[], Encoder]] = {
    "ecgfounder": lambda: ECGFounder(
        ECGFounderConfig(leads=("I", "II"), stem=8, widths=(8, 16), blocks=(1, 2), group=4)
    ),
    "ecg-jepa": lambda: EcgJepa(
        EcgJepaConfig(leads=("I", "II"), width=16, depth=2, heads=2, feed_forward=24, patch=10, patches=6)
    ),
    "hubert-ecg": lambda: HubertEcg(
        HubertEcgConfig(
            leads=("I", "II"), width=16, depth=2, heads=2, feed_forward=24, conv_channels=8, pos_taps=4, pos_groups=2
        )
    ),
    "openecg": lambda: OpenECG(
        OpenECGConfig(leads=("I",), width=16, heads=2, feed_forward=24, convolutional=4, attentive=2, positions=128)
    ),
    "merl-resnet18": lambda: MerlResNet(MerlResNetConfig(leads=("I", "II"), channels=(8, 16))),
    "merl-vit-tiny": lambda: MerlViT(
        MerlViTConfig(leads=("I", "II"), patch=100, tokens=10, width=16, depth=2, heads=2, feed_forward=24)
    ),
    "st-mem": lambda: STMEM(
        STMEMConfig(leads=("I", "II"), patch=50, patches=10, width=16, depth=2, heads=2, feed_forward=24)
    ),
    "heartlang": lambda: HeartLang(
        HeartLangConfig(leads=("I", "II"), beats=60, width=16, depth=2, heads=2, inner=8, feed_forward=24)
    ),
}
#: Largest absolute differences; of larger values relative to the largest.
LOGITS, TOKENS, GRADIENTS, STATISTICS = 1e-5, 2e-5, 1e-4, 1e-5


@functools.cache
def seeded_weights(shared: Path, folder: str, entry: str, seed: int = SEED) -> dict[str, Tensor]:
    """The reference weights of an entry of `state_dict_keys.json`, whose norm is that of the maker's."""
    encoders = shared / "reference" / "encoders"
    recipe = runpy.run_path(str(encoders / "weights_recipe_v2.py"))
    shapes = json.loads((encoders / folder / "state_dict_keys.json").read_text())[entry]
    shapes = {name: shape for name, shape in shapes.items() if f"encoder.{name}" not in shapes}  # no second names
    arrays = recipe["reference_weights"](shapes, seed, recipe["GAINS"].get(folder))
    weights = {name: torch.from_numpy(np.asarray(arrays[name])) for name in shapes}
    norm = sum(float(t.double().square().sum()) for t in weights.values()) ** 0.5
    stored = json.loads((encoders / "weights_l2_norms.json").read_text())[f"{folder}/{entry}/seed{seed}"]
    assert abs(norm - stored) <= 1e-6 * stored
    return weights


def seeded_file(
    path: Path, shared: Path, folder: str, entry: str, container: str = "state_dict", **beside: Any
) -> Path:
    """A file as the authors publish it: the reference weights in their container, beside a training's state."""
    weights = seeded_weights(shared, folder, entry)
    moments = {number: {"step": 3, "exp_avg": tensor[:1].clone()} for number, tensor in enumerate(weights.values())
               if tensor.dim()}  # fmt: skip
    torch.save({container: weights, "optimizer": {"state": moments}, "step": 3, **beside}, path)
    return path


def stored(shared: Path, folder: str) -> dict[str, np.ndarray]:
    """The arrays of `outputs.npz`."""
    with np.load(shared / "reference" / "encoders" / folder / "outputs.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def compare(arrays: Mapping[str, np.ndarray], prefix: str, computed: Mapping[str, Tensor]) -> None:
    """Every stored array whose name begins with `prefix` was computed and agrees, slices and statistics too."""
    wanted = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    assert wanted, prefix
    for name, array in wanted.items():
        kind, stage, index = re.fullmatch(r"(stats\.|shape\.)?([^\[]*)(\[.*\])?", name).groups()
        assert stage in computed, f"nothing computed for {prefix}{name}"
        values = computed[stage].detach().numpy()
        if kind == "shape.":
            np.testing.assert_array_equal(values.shape, array, err_msg=name)
            continue
        if kind == "stats.":
            exact = values.astype(np.float64)
            found = [exact.mean(), np.abs(exact).mean(), np.linalg.norm(exact), exact.min(), exact.max()]
            size = max(1.0, float(np.abs(array[[1, 3, 4]]).max()))
            limit = STATISTICS * np.array([size, size, max(1.0, array[2]), size, size])
            np.testing.assert_array_less(np.abs(np.array(found) - array), limit, err_msg=name)
            continue
        values = values if index is None else values[eval(f"np.s_{index}")]
        assert values.shape == array.shape, name
        tolerance = (
            LOGITS if stage in ("logits", "pooled", "features") else TOKENS * max(1.0, float(np.abs(array).max()))
        )
        np.testing.assert_allclose(values, array, rtol=0, atol=tolerance, err_msg=name)


def outputs(
    model: Classifier, signal: Tensor, stages: Mapping[str, nn.Module], padding_mask: Tensor | None = None
) -> dict[str, Tensor]:
    """Tokens, pooled features, logits, and the outputs of modules by the names of their stages."""
    found: dict[str, Tensor] = {}

    def keep(stage: str):
        return lambda module, inputs, output: found.__setitem__(stage, output)

    hooks = [module.register_forward_hook(keep(stage)) for stage, module in stages.items()]
    with torch.no_grad():
        tokens, mask = model.encode(signal, padding_mask)
        pooled = model.finish_pooled(model.pool(tokens, mask))
        logits = model.head(pooled)
    for hook in hooks:
        hook.remove()
    return found | {"mask": mask, "tokens": tokens, "pooled": pooled, "features": pooled, "logits": logits}


def compare_gradients(
    model: Classifier, signal: Tensor, norms: Mapping[str, float | None], names: Mapping[str, str], loss: float
) -> None:
    """Norms of the gradients of the sum of squared logits; `names` gives the published name of each tensor.

    A published tensor without a name here has no gradient in the authors' code.
    """
    model.requires_grad_(True)
    total = model(signal).square().sum()
    total.backward()
    np.testing.assert_allclose(total.item(), loss, rtol=GRADIENTS)
    own = {names[name]: p.grad for name, p in model.named_parameters() if name in names}
    largest = max(norm for norm in norms.values() if norm is not None)
    for name, norm in norms.items():
        if norm is None:
            assert name not in own, name
            continue
        found = float(own[name].double().norm())
        # Of a gradient that is zero by algebra the authors' code has rounding alone.
        assert abs(found - norm) <= GRADIENTS * norm + 1e-7 * largest, (name, found, norm)

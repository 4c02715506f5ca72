"""LoRA's layer as one product beside peft's own, in training steps of whole encoders on this machine.

    python benchmarks/lora_layer.py

times forward and backward of both, interleaved, in bf16 and float32, and writes medians and ratios to
benchmarks/results/lora_layer.json. `methods/low_rank_product.py` is there because of it.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from ecgtune import LoRA, load_model
from ecgtune.methods.lora.layers import LowRankLinear
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parent / "results" / "lora_layer.json"
ROUNDS = 12
#: name -> encoder, rank, signal (batch, leads, samples)
SIZES = {
    "ecg-fm-tiny, r4, 64 windows of 6 s": ("ecg-fm-tiny", 4, (64, 1, 600)),
    "ECG-FM, 4 of 12 layers, r16, 8 windows of 5 s": (EcgFmConfig(depth=4), 16, (8, 12, 2500)),
}


def encoders(model: str | EcgFmConfig, rank: int) -> dict[str, nn.Module]:
    """The same LoRA on the same kind of encoder, carried out by peft and by us."""
    made: dict[str, nn.Module] = {}
    for name, custom in (("peft", {}), ("one product", {nn.Linear: LowRankLinear})):
        encoder = load_model(model).encoder if isinstance(model, str) else EcgFM(model)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(LoRA().module_names))
        config._register_custom_module(custom)
        made[name] = get_peft_model(encoder, config)  # type: ignore[arg-type]
        for module in made[name].modules():
            if isinstance(module, BaseTunerLayer):
                module.cast_input_dtype_enabled = False  # type: ignore[assignment]  # as `peft_configs.wrap` does
    return made


def timed(ways: Mapping[str, nn.Module], shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, float]:
    """Median milliseconds of forward plus backward of each encoder, in turn."""
    signal = torch.randn(shape)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, encoder in ways.items():
            started = time.perf_counter()
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                tokens, _ = encoder(signal)
            tokens.float().square().mean().backward()
            taken[name].append(1e3 * (time.perf_counter() - started))
    return {name: float(np.median(times[2:])) for name, times in taken.items()}


def beside_peft(sizes: Mapping[str, tuple], made: Callable[..., Mapping[str, nn.Module]], ours: str) -> list[dict]:
    """A row per size and format: medians of "peft" and `ours`, and their ratio. made: the encoders of a size."""
    rows = []
    for what, (model, setting, shape) in sizes.items():
        for dtype in (torch.bfloat16, torch.float32):
            medians = timed(made(model, setting), shape, dtype)
            ratio = medians["peft"] / medians[ours]
            rows.append({"size": what, "dtype": str(dtype).removeprefix("torch."), **medians, "peft_over_ours": ratio})
            print(f"{what}, {rows[-1]['dtype']}: {ours}, peft's time over ours {ratio:.2f}")
    return rows


def main() -> None:
    rows = beside_peft(SIZES, encoders, "one product")
    write_json(
        RESULT, {"command": "python benchmarks/lora_layer.py", "date": now(), "machine": machine(), "rows": rows}
    )


if __name__ == "__main__":
    main()

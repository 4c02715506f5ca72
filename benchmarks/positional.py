"""What a frozen positional convolution costs by its spectrum, beside torch's convolution with its weight norm.

    python benchmarks/positional.py

times forward passes of both, in turn, in bf16 and float32, and writes processor time and ratios to
benchmarks/results/positional.json. `models/spectrum.py` is there because of it, and its limit in `models/ecg_fm.py`.
"""

import argparse
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch

from ecgtune.models.ecg_fm.network import PositionalConv
from ecgtune.models.ecg_fm.spectrum import FrozenSpectrum
from ecgtune.training.memory import keep_freed_memory
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parent / "results" / "positional.json"
#: name -> width, taps, groups, tokens (batch, tokens)
SIZES = {
    "ECG-FM, 16 windows of 5 s": (768, 128, 16, (16, 156)),
    "ecg-fm-tiny, 64 windows of 6 s": (192, 32, 16, (64, 75)),
}


def milliseconds(width: int, taps: int, groups: int, shape: tuple[int, int], dtype: torch.dtype, rounds: int) -> dict:
    """Median processor time of a forward pass by each way; the first round is not counted."""
    torch.manual_seed(0)
    conv = PositionalConv(width, taps, groups).requires_grad_(False).conv
    spectrum = FrozenSpectrum(conv, shape[1])
    signal = torch.randn(shape[0], width, shape[1]).to(dtype)
    ways = {"convolution": lambda: conv(signal), "spectrum": lambda: spectrum(signal).to(dtype)}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            started = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                way()
            taken[name].append(1e3 * (time.process_time() - started))
    return {name: float(np.median(times[1:])) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--result", type=Path, default=RESULT)
    asked = parser.parse_args()
    keep_freed_memory()
    rows = []
    for name, (width, taps, groups, shape) in SIZES.items():
        for dtype in (torch.bfloat16, torch.float32):
            medians = milliseconds(width, taps, groups, shape, dtype, asked.rounds)
            ratio = medians["convolution"] / medians["spectrum"]
            rows.append({"size": name, "taps": taps, "dtype": str(dtype).removeprefix("torch."), **medians})
            print(f"{name}, {rows[-1]['dtype']}: the spectrum is {ratio:.2f} times as fast")
    command = shlex.join(["python", "benchmarks/positional.py", *sys.argv[1:]])
    write_json(asked.result, {"command": command, "date": now(), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()

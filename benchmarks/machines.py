"""Kinds of processors, the number formats for which they have instructions, and result files."""

import os
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ecgtune.training.precision import choose_precision
from ecgtune.utils.files import write_json
from ecgtune.utils.formatting import counted
from ecgtune.workflows.environment import machine, now

RESULTS = Path(__file__).parent / "results"
#: Variables that limit libraries to AVX2 instructions. Set all three to measure as on an AVX2 processor.
EMULATION = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
CPU = torch.device("cpu")


def emulated() -> dict[str, str]:
    """Return the variables of `EMULATION` that are set."""
    return {name: os.environ[name] for name in EMULATION if name in os.environ}


def kind(device: torch.device = CPU) -> str:
    """Return the kind of the processor, such as "avx512-bf16"; emulated AVX2 is "avx2"."""
    if device.type != "cpu":
        return f"{device.type}-{torch.cuda.get_device_name(device).split()[-1].lower()}"
    if emulated():
        return "avx2"
    found = torch.cpu.get_capabilities()
    levels = {"amx": "amx_bf16", "avx512-bf16": "avx512_bf16", "avx512": "avx512_f", "avx2": "avx2"}
    return next((name for name, flag in levels.items() if found.get(flag)), platform.machine())


def lacks(precision: str, device: torch.device = CPU) -> str | None:
    """Return the reason if `device` has no instructions for products in `precision`, else None."""
    if precision == "fp32":
        return None
    if precision == "int8":
        if device.type != "cpu":
            return "int8 predictions run on CPUs only"
        fast = not emulated() and torch.cpu._is_vnni_supported()
        return None if fast else "no VNNI instructions for int8 products"
    fast = not (device.type == "cpu" and emulated()) and choose_precision(device, "auto") == "bf16"
    return None if fast else "no instructions for bf16 products"


def result_file(name: str, device: torch.device = CPU) -> Path:
    """Return the result file of benchmark `name` on this kind of processor."""
    return RESULTS / f"{name}-{kind(device)}.json"


def write_result(file: Path, facts: Mapping[str, Any], device: torch.device = CPU) -> dict[str, Any]:
    """Write and return `facts` with command, date, machine and kind of processor."""
    origin = {"command": command(), "date": now(), "machine": machine(), "kind": kind(device), "emulated": emulated()}
    result = {**origin, **facts}
    write_json(file, result)
    return result


def command() -> str:
    """Return the command line of the running script."""
    script, root = Path(sys.argv[0]).resolve(), RESULTS.parents[1]
    name = script.relative_to(root).as_posix() if script.is_relative_to(root) else script.name
    set_before = [f"{name}={value}" for name, value in emulated().items()]
    return shlex.join([*set_before, "python", name, *sys.argv[1:]])


def described(result: Mapping[str, Any]) -> str:
    """Return machine and date of a result: "AMD EPYC, 2 threads, 2026-11-23"."""
    found = result["machine"]
    cuda = str(result.get("kind", "")).startswith("cuda")
    name = found["accelerator"] if cuda else f"{found['processor']}, {counted(found['threads'], 'thread')}"
    limited = f" limited to {result['kind'].upper()} instructions (emulated)" if result.get("emulated") else ""
    return f"{name}{limited}, {result['date'][:10]}"

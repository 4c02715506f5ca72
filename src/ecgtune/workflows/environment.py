"""What a result was made on."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ecgtune.training.run_folder import RESULT_FORMAT
from ecgtune.utils.machine import processor_name

if TYPE_CHECKING:
    from ecgtune.runtime.predictor import Predictor

LIBRARIES = ("ecgtune", "torch", "peft", "accelerate", "numpy", "scipy")


def machine(*optional: str) -> dict[str, Any]:
    """Processor, accelerator, memory, processes, threads of each and library versions, as plain values.

    optional: libraries of an extra whose version is included; None where they are not installed.
    """
    import torch

    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "processes": _processes(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES} | {name: _installed(name) for name in optional},
    }


def command_line() -> str:
    """The command that is running, as it could be typed again; "python" inside a Python session.

    Under torchrun, with the processes that it started on this machine.
    """
    program = Path(sys.argv[0])
    if program.name not in ("ecgtune", "__main__.py") and program.parts[-2:] != ("cli", "main.py"):
        return "python"
    typed = shlex.join(["ecgtune", *sys.argv[1:]])
    here = os.environ.get("LOCAL_WORLD_SIZE", "1") if _processes() > 1 else "1"
    return typed if here == "1" else f"torchrun --nproc-per-node {here} -m ecgtune.cli.main {typed.partition(' ')[2]}"


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def opening(run: Predictor) -> dict[str, Any]:
    """The first entries of a result about a run: format, time, command, machine and the run."""
    return {
        "format": RESULT_FORMAT,
        "created": now(),
        "command": command_line(),
        "machine": machine(),
        "run": run.summary(),
        "task": run.task,
    }


def _processes() -> int:
    """How many torchrun started, on all machines; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

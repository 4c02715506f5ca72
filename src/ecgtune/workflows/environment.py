"""What a result was made on."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import psutil
import torch

LIBRARIES = ("ecgtune", "torch", "peft", "accelerate", "numpy", "scipy")


def machine() -> dict[str, Any]:
    """Processor, accelerator, memory, threads and library versions, as plain values."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def command_line() -> str:
    """The command that is running, as it could be typed again; "python" inside a Python session."""
    program = os.path.basename(sys.argv[0])
    return shlex.join(["ecgtune", *sys.argv[1:]]) if program in ("ecgtune", "__main__.py") else "python"


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()

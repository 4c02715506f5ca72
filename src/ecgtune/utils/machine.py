"""The processor of this machine, as results state it, and the memory of this process."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """Name of the processor, and whether it multiplies eight-bit numbers exactly in one instruction (VNNI)."""
    name, flags = _cpuinfo()
    vnni = any(flag in flags for flag in ("avx512_vnni", "avx_vnni", "asimddp"))
    return f"{name} ({'with' if vnni else 'without'} 8-bit dot products)" if flags else name


def processor_name() -> str:
    """Name of the processor."""
    return _cpuinfo()[0]


def status_bytes(name: str) -> int:
    """Return a field of /proc/self/status (Linux) in bytes, such as "VmRSS"."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def _cpuinfo() -> tuple[str, frozenset[str]]:
    """Name and instruction sets of the first core; of another system than Linux the name alone."""
    facts: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                facts.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    name = facts.get("model name") or platform.processor() or platform.machine()
    return name, frozenset((facts.get("flags") or facts.get("Features") or "").split())

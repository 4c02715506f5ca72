"""The processor of this machine, as results state it."""

from __future__ import annotations

import platform


def processor() -> str:
    """Name of the processor, and whether it multiplies eight-bit numbers exactly in one instruction (VNNI)."""
    name, flags = _cpuinfo()
    vnni = any(flag in flags for flag in ("avx512_vnni", "avx_vnni", "asimddp"))
    return f"{name} ({'with' if vnni else 'without'} 8-bit dot products)" if flags else name


def processor_name() -> str:
    """Name of the processor."""
    return _cpuinfo()[0]


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

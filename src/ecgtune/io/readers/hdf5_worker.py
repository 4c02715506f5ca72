"""Read HDF5 files in a process of its own, started by `hdf5_files`. It imports nothing of ecgtune.

A request is a line of JSON, `[path, max_values, seconds]`; the process is ended after that processor time. The response
is a line of JSON, `{"refused": reason}` or `{"shape", "dtype", "rate", "unit", "leads"}` with null for what the file
does not state, followed by `"bytes"` bytes of samples.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from math import prod
from typing import Any

import h5py
import numpy as np

RATE_KEYS = ("sampling_rate", "fs")
FACT_VALUES = 1000  # of an attribute
MEMORY = 1 << 30


class Refused(Exception):
    """The reason why a file is not read."""


def answer(path: str, max_values: int) -> tuple[dict[str, Any], bytes]:
    """Return the facts and the samples of a file."""
    with h5py.File(path, "r", locking=False) as file:
        if not isinstance(file.get("signal", getlink=True), h5py.HardLink):
            has = ", ".join(sorted(map(str, file))[:12])[:200] or "nothing"
            raise Refused(f"has no dataset 'signal' (leads, samples) of its own; it has: {has}")
        found = file["signal"]
        if not isinstance(found, h5py.Dataset) or found.shape is None or found.dtype.kind not in "iuf":
            raise Refused("'signal' is no dataset of numbers; one of shape (leads, samples) is needed")
        if found.is_virtual or found.external:
            raise Refused("the samples of 'signal' lie in other files; write them into this one")
        if prod(found.shape) > max_values:
            raise Refused(f"holds {prod(found.shape)} values; at most {max_values} are read at once, cut it")
        owners = (found, file)
        rate, unit, leads = (attribute(owners, keys) for keys in (RATE_KEYS, ("unit",), ("leads",)))
        facts = {"rate": number(rate), "unit": texts("unit", unit, 1), "leads": texts("leads", leads, None)}
        values = np.ascontiguousarray(found[()])
    values = values.astype(values.dtype.newbyteorder("="))
    return {"shape": values.shape, "dtype": values.dtype.str, **facts}, values.tobytes()


def attribute(owners: tuple[Any, ...], keys: tuple[str, ...]) -> tuple[str, Any] | None:
    """Return name and value of the first attribute found, of the dataset before the file."""
    for owner in owners:
        for key in keys:
            if key in owner.attrs:
                if owner.attrs.get_id(key).get_space().get_simple_extent_npoints() > FACT_VALUES:
                    raise Refused(f"its attribute {key!r} has over {FACT_VALUES} values; it is damaged")
                return key, owner.attrs[key]
    return None


def number(found: tuple[str, Any] | None) -> float | None:
    """Return the single number of an attribute."""
    if found is None:
        return None
    array = np.asarray(found[1])
    if array.size != 1 or array.dtype.kind not in "iuf":
        raise Refused(f"{found[0]!r} is {array.dtype} of shape {array.shape}; one number is needed")
    return float(array.reshape(())[()])


def texts(key: str, found: tuple[str, Any] | None, count: int | None) -> list[str] | None:
    """Return the texts of an attribute."""
    if found is None:
        return None
    array = np.asarray(found[1]).ravel()
    if array.dtype.kind not in "SUO" or (count is not None and array.size != count):
        raise Refused(f"{key!r} is {array.dtype} of shape {array.shape}; text is needed")
    return [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.tolist()]


def main() -> None:
    """Answer requests until the input ends."""
    with suppress(ImportError, ValueError, OSError):  # without limits, the check of sizes remains
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    out = sys.stdout.buffer
    for line in sys.stdin:
        data = b""
        path, max_values, seconds = json.loads(line)
        try:
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_PROF, seconds)
            response, data = answer(path, max_values)
        except Refused as error:
            response = {"refused": str(error)}
        except Exception as error:  # a damaged file fails anywhere in the library, with any type of error
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            response = {"refused": f"cannot be read as HDF5 ({reason}); it is damaged, copy it again"}
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)
        out.write(json.dumps({**response, "bytes": len(data)}).encode() + b"\n")
        out.write(data)
        out.flush()


if __name__ == "__main__":
    main()

"""Read HDF5 and MATLAB files in a process of its own, started by `hdf5_files` with the number of its parent.

A request is a line of JSON, `{"path", "seconds", "dataset", "member", "members", "index"}`; the process is ended after
that processor time. The response is a line of JSON: `{"refused": reason}`; to "members" `{"members": names or null}`;
to "index" (start and stop of each axis) `{"shape"}`, followed by `"bytes"` bytes of samples; else `{"shape", "dtype",
"rate", "unit", "leads"}` with null for what the file does not state.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import closing, suppress
from math import prod
from typing import Any

import h5py
import numpy as np

from ecgtune.text import reason_of
from ecgtune.utils.child import end_with_parent
from ecgtune.utils.formatting import counted
from ecgtune.utils.machine import status_bytes

RATE_KEYS = ("sampling_rate", "fs")
SIGNAL_KEYS = ("signal", "ecg", "tracings", "tracing", "val", "data", "p_signal")
ID_KEYS = ("exam_id", "record", "record_id", "recording", "recording_id", "ecg_id", "id", "ids", "filename")
FACT_VALUES = 1000  # of an attribute
OBJECTS = 1000  # of a file, that are looked at
# Bytes of memory beyond those of the libraries: the most, and for a file the least and a multiple of its size.
MEMORY, LEAST_MEMORY, MEMORY_RATIO = 1 << 30, 1 << 28, 100


class Refused(Exception):
    """The reason why a file is not read."""


class Hdf5:
    """The arrays of an HDF5 file, two levels deep, by name. An array whose values lie in other files is refused."""

    def __init__(self, path: str) -> None:
        self.file = h5py.File(path, "r", locking=False)
        with open(path, "rb") as file:
            self.matlab = file.read(10) == b"MATLAB 7.3"
        self.arrays: dict[str, Any] = {}
        self._collect(self.file, "", 2)

    def _collect(self, group: Any, prefix: str, depth: int) -> None:
        for name in list(group)[:OBJECTS]:
            if name.startswith("#") or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            found = group[name]
            if isinstance(found, h5py.Dataset) and (found.is_virtual or found.external):
                raise Refused(f"the values of {prefix + name!r} lie in other files; write them into this one")
            if isinstance(found, h5py.Group) and depth > 1:
                self._collect(found, f"{prefix}{name}.", depth - 1)
            elif isinstance(found, h5py.Dataset) and found.attrs.get("MATLAB_class") != b"char":
                self.arrays[prefix + name] = found

    def facts(self, name: str) -> dict[str, Any]:
        owners = (self.arrays[name], self.file)
        rate, unit, leads = (self._fact(owners, keys) for keys in (RATE_KEYS, ("unit",), ("leads",)))
        return {"rate": number(rate), "unit": texts("unit", unit, 1), "leads": texts("leads", leads, None)}

    def _fact(self, owners: tuple[Any, ...], keys: tuple[str, ...]) -> tuple[str, Any] | None:
        """Name and value of the first attribute found, of the dataset before the file, or of a dataset beside it."""
        for key in keys:
            for owner in owners:
                if key in owner.attrs:
                    if owner.attrs.get_id(key).get_space().get_simple_extent_npoints() > FACT_VALUES:
                        raise Refused(f"its attribute {key!r} has over {FACT_VALUES} values; it is damaged")
                    return key, owner.attrs[key]
            if key in self.arrays and self.arrays[key].size is not None and self.arrays[key].size <= FACT_VALUES:
                return key, self.arrays[key][()]
        return None

    def close(self) -> None:
        self.file.close()


class Matlab:
    """The arrays of a MATLAB file of version 4 to 7.2, those in structures as structure.field."""

    matlab = False

    def __init__(self, path: str) -> None:
        from scipy.io import loadmat

        self.arrays: dict[str, Any] = {}
        for name, value in loadmat(path, struct_as_record=True).items():
            if not name.startswith("__"):
                self._collect(name, value)

    def _collect(self, name: str, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.dtype.names and value.size == 1:
            for field in value.dtype.names:
                self._collect(f"{name}.{field}", value.reshape(())[()][field])
        elif isinstance(value, np.ndarray):
            self.arrays[name] = value

    def facts(self, name: str) -> dict[str, Any]:
        prefix = name.rpartition(".")[0]
        by_key = {key.removeprefix(f"{prefix}.").casefold(): (key, value) for key, value in self.arrays.items()}
        rate, unit = (next((by_key[key] for key in keys if key in by_key), None) for keys in (RATE_KEYS, ("unit",)))
        return {"rate": number(rate), "unit": texts("unit", unit, 1), "leads": None}

    def close(self) -> None:
        pass


def opened(path: str) -> Hdf5 | Matlab:
    """Open a file by its content."""
    return Hdf5(path) if h5py.is_hdf5(path) else Matlab(path)


def numeric(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays of numbers that may be a signal."""
    return {
        name: found
        for name, found in arrays.items()
        if found.shape and found.dtype.kind in "iuf" and 1 <= len(found.shape) <= 3 and prod(found.shape) != 1
    }


def signal_name(file: Hdf5 | Matlab, asked: str | None) -> str:
    """Return the name of the array of samples: the only one, or the only one with a usual name."""
    found = numeric(file.arrays)
    has = ", ".join(sorted(file.arrays)[:12])[:200] or "nothing"
    if asked is not None:
        name = asked.strip("/").replace("/", ".")
        if name not in found:
            raise Refused(f"has no array of numbers {asked!r} (--dataset); it has: {has}")
        return name
    usual = [name for name in found if name.rpartition(".")[2].casefold() in SIGNAL_KEYS]
    for names in (["signal"] if "signal" in found else [], usual, list(found)):
        if len(names) == 1:
            return names[0]
    if not found:
        raise Refused(f"has no dataset 'signal' (leads, samples), nor another array of numbers; it has: {has}")
    raise Refused(f"has {len(found)} arrays that may be the signal: {has}; name it with --dataset")


def members(file: Hdf5 | Matlab) -> list[str] | None:
    """Return the names of the recordings in an array of several, None for a file of one."""
    several = {len(found) for found in numeric(file.arrays).values() if len(found.shape) == 3}
    if len(several) != 1 or file.matlab:
        return None
    (count,) = several
    for key in ID_KEYS:
        found = next((values for name, values in file.arrays.items() if name.casefold() == key), None)
        if found is not None and found.shape == (count,) and found.dtype.kind in "iuSOU":
            return texts(key, (key, found[()].astype(str) if found.dtype.kind in "iu" else found[()]), count)
    return [str(number) for number in range(count)]


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return the response to a request."""
    with closing(opened(request["path"])) as file:
        if request["members"]:
            return {"members": members(file)}, b""
        name = signal_name(file, request["dataset"])
        found, before = file.arrays[name], ()
        shape = list(found.shape)
        if request["member"] is not None:
            names = members(file) or []
            if names.count(request["member"]) != 1 or len(shape) != 3:
                raise Refused(
                    f"holds {counted(names.count(request['member']), 'recording')} of this name; one is needed"
                )
            before, shape = (names.index(request["member"]),), shape[1:]
        elif len(shape) == 3:
            raise Refused(f"{name!r} has shape {tuple(shape)}, several recordings; give one of them, FILE/NAME")
        shape = shape[::-1] if file.matlab else shape  # MATLAB stores the first axis last
        if request["index"] is None:
            return {"shape": shape, "dtype": found.dtype.newbyteorder("=").str, **file.facts(name)}, b""
        index = [slice(*ends) for ends in request["index"]]
        values = np.asarray(found[(*before, *(index[::-1] if file.matlab else index))])
        values = np.ascontiguousarray(values.T if file.matlab else values, values.dtype.newbyteorder("="))
        return {"shape": values.shape}, values.tobytes()


def number(found: tuple[str, Any] | None) -> float | None:
    """Return the single number of a fact."""
    if found is None:
        return None
    array = np.asarray(found[1])
    if array.size != 1 or array.dtype.kind not in "iuf":
        raise Refused(f"{found[0]!r} is {array.dtype} of shape {array.shape}; one number is needed")
    return float(array.reshape(())[()])


def texts(key: str, found: tuple[str, Any] | None, count: int | None) -> list[str] | None:
    """Return the texts of a fact."""
    if found is None:
        return None
    array = np.asarray(found[1]).ravel()
    if array.dtype.kind not in "SUO" or (count is not None and array.size != count):
        raise Refused(f"{key!r} is {array.dtype} of shape {array.shape}; text is needed")
    return [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.tolist()]


def limit_memory(path: str, libraries: int) -> None:
    """Let this process take memory for a file in proportion to its size: compressed zeros unpack to 1000 times theirs.

    libraries: bytes that it has taken before any file.
    """
    with suppress(ImportError, ValueError, OSError):  # without limits, the check of sizes remains
        import resource

        most = min(MEMORY, max(LEAST_MEMORY, MEMORY_RATIO * os.stat(path).st_size))
        resource.setrlimit(resource.RLIMIT_DATA, (libraries + most, libraries + MEMORY))


def main() -> None:
    """Answer requests until the input or the parent ends."""
    end_with_parent(int(sys.argv[1]))
    libraries = status_bytes("VmData") if sys.platform == "linux" else 0
    out = sys.stdout.buffer
    for line in sys.stdin:
        data = b""
        request = json.loads(line)
        try:
            limit_memory(request["path"], libraries)
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_PROF, request["seconds"])
            response, data = answer(request)
        except Refused as error:
            response = {"refused": str(error)}
        except Exception as error:  # a damaged file fails anywhere in the library, with any type of error
            response = {"refused": f"cannot be read as HDF5 or MATLAB file ({reason_of(error)}); it is damaged"}
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)
        out.write(json.dumps({**response, "bytes": len(data)}).encode() + b"\n")
        out.write(data)
        out.flush()


if __name__ == "__main__":
    main()

"""Hostile checkpoint files: what asks to run, what fills the memory, and tensors that are no weights."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helpers.ecg_fm import official_content

PAYLOAD = "HOSTILE_PAYLOAD"  # is in every argument, so that an audit hook knows it again
#: Functions that run, import, delete or connect; `module name`.
CALLS = (
    "os system",
    "posix system",
    "nt system",
    "os popen",
    "os execl",
    "os remove",
    "os removedirs",
    "subprocess Popen",
    "subprocess run",
    "subprocess check_output",
    "builtins eval",
    "builtins exec",
    "builtins compile",
    "builtins open",
    "builtins getattr",
    "builtins __import__",
    "__builtin__ eval",
    "importlib import_module",
    "runpy run_path",
    "shutil rmtree",
    "ctypes CDLL",
    "socket create_connection",
    "webbrowser open",
    "pickle loads",
    "marshal loads",
    "torch load",
    "torch.hub load",
    "torch.jit load",
    "torch.serialization load",
    "torch.utils.cpp_extension load",
    "torch._dynamo optimize",
    "code interact",
    "timeit timeit",
    "pdb run",
    "functools partial",
    "operator attrgetter",
    "logging.config dictConfig",
    "ecgtune.utils.extensions load_file",
)
#: The same of libraries whose names are read as placeholders: nothing runs, and no weights are found.
INERT_CALLS = ("numpy load", "numpy.lib.npyio save", "pathlib Path.unlink", "collections namedtuple", "enum Enum")
PROTO = b"\x80\x02"


def text(value: str) -> bytes:
    """The instruction that puts a text on the stack."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def asks(call: str, how: str) -> bytes:
    """A pickle of {"model": {}, "x": call(PAYLOAD)}."""
    module, name = call.split(" ")
    arguments = text(PAYLOAD)
    made = {
        "REDUCE": f"c{module}\n{name}\n".encode() + arguments + b"\x85R",
        "STACK_GLOBAL": text(module) + text(name) + b"\x93" + arguments + b"\x85R",
        "NEWOBJ": f"c{module}\n{name}\n".encode() + arguments + b"\x85\x81",
        "INST": b"(" + arguments + f"i{module}\n{name}\n".encode(),
        "OBJ": b"(" + f"c{module}\n{name}\n".encode() + arguments + b"o",
        "BUILD": f"c{module}\n{name}\n".encode() + b")R}" + text("__setstate__") + arguments + b"sb",
    }[how]
    return PROTO + b"}" + text("model") + b"}s" + text("x") + made + b"s."


def archive(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None, **options: Any) -> Path:
    """An archive as torch writes it. compressed: names that are deflated. others: further members."""
    others, compressed = options.get("others", {}), options.get("compressed", ())
    members = {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n", **others}
    members |= {f"data/{key}": value for key, value in (storages or {}).items()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            kind = zipfile.ZIP_DEFLATED if name in compressed else zipfile.ZIP_STORED
            file.writestr(f"archive/{name}", content, kind)
    return path


def legacy(path: Path, pickled: bytes, names: bytes = pickle.dumps([], 2)) -> Path:
    """A file as torch wrote it before 1.6; names: a pickle of those of its storages."""
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join(head) + pickled + names)
    return path


def tensor(**parts: Any) -> bytes:
    """A pickle of {"model": {"proj.weight": a tensor}} as torch writes it; parts: as of `view`."""
    return PROTO + b"}" + text("model") + b"}" + text("proj.weight") + view(**parts) + b"ss."


def view(
    kind: str = "FloatStorage",
    elements: int = 1,
    offset: int = 0,
    shape: tuple = (1,),
    strides: tuple = (1,),
    key: str = "0",
    build: str = "_rebuild_tensor_v2",
) -> bytes:
    """Instructions of a tensor."""

    def numbers(values: tuple) -> bytes:
        return b"(" + b"".join(pickle.dumps(value, 2)[2:-1] for value in values) + b"t"

    stored = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
    stored += pickle.dumps(elements, 2)[2:-1] + b"tQ"
    built = f"ctorch._utils\n{build}\n".encode() + b"(" + stored + pickle.dumps(offset, 2)[2:-1]
    return built + numbers(shape) + numbers(strides) + b"\x89}tR"


def expanded(shape: tuple[int, ...]) -> Callable[[dict[str, Any]], object]:
    """Change a weight to one stored number, repeated."""

    def change(content: dict[str, Any]) -> None:
        name = next(name for name in content["model"] if name.endswith("fc1.weight"))
        content["model"][name] = torch.zeros(1).expand(*shape)

    return change


def put(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["model"].update({name: value})


def named(key: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["model"].update({key: torch.zeros(3)})


Q = "encoder.layers.1.self_attn.q_proj.weight"
#: Changes of a valid content, after which it is not one.
CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "expanded matrix": expanded((20_000, 20_000)),
    "expanded vector": expanded((1 << 31,)),
    "expanded head": put("proj.weight", torch.zeros(1).expand(1 << 20, 1 << 10)),
    "many views of one storage": lambda content: content["model"].update(
        {f"extra.{number}": content["model"][Q] for number in range(400)}
    ),
    "double beyond float": put(Q, torch.full((16, 16), 1e300, dtype=torch.float64)),
    "NaN": put(Q, torch.full((16, 16), float("nan"))),
    "infinite": put(Q, torch.full((16, 16), float("-inf"))),
    "half infinite": put(Q, torch.full((16, 16), float("inf"), dtype=torch.float16)),
    "complex": put(Q, torch.zeros(16, 16, dtype=torch.complex64)),
    "complex double": put(Q, torch.zeros(16, 16, dtype=torch.complex128)),
    "meta": put(Q, torch.zeros(16, 16, device="meta")),
    "sparse": put(Q, torch.eye(16).to_sparse()),
    "sparse rows": put(Q, torch.eye(16).to_sparse_csr()),
    "quantised": put(Q, torch.quantize_per_tensor(torch.zeros(16, 16), 0.1, 0, torch.qint8)),
    "float8": put(Q, torch.zeros(16, 16).to(torch.float8_e4m3fn)),
    "uint16": put(Q, torch.zeros(16, 16, dtype=torch.uint16)),
    "whole numbers": put(Q, torch.zeros(16, 16, dtype=torch.int64)),
    "bytes": put(Q, torch.zeros(16, 16, dtype=torch.uint8)),
    "truth values": put(Q, torch.zeros(16, 16, dtype=torch.bool)),
    "nested": put(Q, torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])),
    "no tensor": put(Q, [[0.0] * 16] * 16),
    "None": put(Q, None),
    "an array": put(Q, np.zeros((16, 16), np.float32)),
    "a number": put(Q, torch.tensor(1.0)),
    "width 0": put(Q, torch.zeros(0, 16)),
    "width 0 everywhere": lambda content: content["model"].update(
        {name: tensor[:0] for name, tensor in content["model"].items()}
    ),
    "scalars everywhere": lambda content: content["model"].update(
        {name: torch.tensor(0.0) for name in content["model"]}
    ),
    "scalar head": put("proj.weight", torch.tensor(1.0)),
    "scalar bias of a head": put("proj.bias", torch.tensor(1.0)),
    "transposed": lambda content: put("post_extract_proj.weight", content["model"]["post_extract_proj.weight"].T)(
        content
    ),
    "one axis too many": put(Q, torch.zeros(16, 16, 1)),
    "key int": named(3),
    "key None": named(None),
    "key bytes": named(b"weight"),
    "key tuple": named(("a", "b")),
    "key with escapes": named("\x1b[31mred\nerror: fake line"),
    "key of a megabyte": named("x" * (1 << 20)),
    "missing": lambda content: content["model"].pop(Q),
    "all missing": lambda content: content.update(model={}),
    "model is a list": lambda content: content.update(model=list(content["model"].items())),
    "model is a tensor": lambda content: content.update(model=torch.zeros(3)),
    "100,000 layers": lambda content: content["model"].update(
        {f"encoder.layers.{number}.fc1.weight": content["model"][Q] for number in range(20_000)}
    ),
    "heads 0": lambda content: content["cfg"]["model"].update(encoder_attention_heads=0),
    "heads -4": lambda content: content["cfg"]["model"].update(encoder_attention_heads=-4),
    "heads 10^30": lambda content: content["cfg"]["model"].update(encoder_attention_heads=10**30),
    "heads 7": lambda content: content["cfg"]["model"].update(encoder_attention_heads=7),
}

MEMO = b"h\x01"  # the value that `repeated` remembers
STORED = text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
COLLIDING = sys.hash_info.modulus  # multiples of it have the same hash


def repeated(value: bytes, use: bytes, times: int, more: bytes = b"") -> bytes:
    """A pickle of {"model": a list}: `value` is remembered, and used many times. more: remembers further values."""
    return PROTO + value + b"q\x010" + more + b"}" + text("model") + b"](" + use * times + b"es."


def call(name: str, argument: bytes = MEMO) -> bytes:
    """Instructions that call `module name` with one argument."""
    return f"c{name.replace(' ', chr(10))}\n".encode() + argument + b"\x85R"


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


NONES = b"](" + b"N" * 200_000 + b"e"
PAIRS = b"](" + b"".join(text(f"{index:06}") + b"N\x86" for index in range(100_000)) + b"e"
LONG = text("x" * (4 << 20))
#: What one instruction copies, hashes or compares again and again.
REPEATED: dict[str, bytes] = {
    "sizes of a text": repeated(text("x" * 1_000_000), call("torch Size"), 1000),
    "sizes of a list": repeated(NONES, call("torch Size"), 3000),
    "dictionaries of a list": repeated(PAIRS, call("collections OrderedDict"), 2000),
    "names of a long text": repeated(LONG, text("collections") + MEMO + b"\x93", 2000),
    "storages of a long type": repeated(
        b"ctorch\n" + b"x" * (1 << 20) + b"Storage\n",
        b"",
        0,
        b"".join(b"(" + text("storage") + MEMO + text(str(index)) + b"NK\x01tQ0" for index in range(8000)),
    ),
    "storages of a long description": repeated(b"(" + STORED + b"K\0" * 200_000 + b"t", MEMO + b"Q", 20_000),
    "calls with 200,000 arguments": repeated(
        b"(" + b"N" * 6 + b"\x88" + b"N" * 200_000 + b"t", b"ctorch._utils\n_rebuild_tensor_v2\n" + MEMO + b"R", 15_000
    ),
    "150,000 views by one call": repeated(
        b"((" + STORED + b"K\x01tQK\0K\1\x85K\1\x85\x89}t",
        b"h\x02" + MEMO + b"R",
        150_000,
        b"ctorch._utils\n_rebuild_tensor_v2\nq\x020",
    ),
    "numbers as keys that collide": PROTO + b"}(" + b"".join(
        number(COLLIDING * (index + 1)) + b"N" for index in range(100_000)
    ) + b"u.",
    "numbers of values that collide": PROTO + b"N" + b"".join(
        b"p%d\n" % (COLLIDING * (index + 1)) for index in range(100_000)
    ) + b".",
    "long keys that are equal": PROTO + LONG + b"q\x010" + LONG + b"q\x020}(h\1N" + b"h\2N" * 100_000 + b"u.",
}  # fmt: skip

DOUBLING = b"".join(b"\x86q" + bytes([number]) + b"h" + bytes([number]) for number in range(60))
_OVERLAPS = "overlapping members"
PICKLES: dict[str, bytes] = {
    "bytearray of 4 GB": PROTO + b"}" + text("model") + b"cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x01\x85Rs.",
    "doubling tuple as key": PROTO + b"}" + text("a") + b"q\xff" + b"h\xff" + DOUBLING + b"\x86" + b"K\x01s.",
    "doubling tuple": PROTO + b"}" + text("model") + text("a") + b"q\xff" + b"h\xff" + DOUBLING + b"\x86s.",
    "300,000 lists": PROTO + b"]" * 300_000 + b"a" * 299_999 + b".",
    "300,000 tuples": PROTO + b")" + b"\x85" * 300_000 + b".",
    "100,000 dictionaries": PROTO + b"}" + b"U\x01x}" * 100_000 + b"s" * 100_000 + b".",
    "300,000 tuples as a key": PROTO + b"})" + b"\x85" * 300_000 + b"Ns.",
    "a million lists": PROTO + b"(" + b"]" * 1_200_000 + b"l.",
    "a million marks": PROTO + b"(" * 1_200_000 + b".",
    "a million copies": PROTO + b"]" + b"2" * 1_200_000 + b".",
    "40 MB": PROTO + b"X" + struct.pack("<I", 40 << 20) + bytes(40 << 20) + b".",
    "text of 2^60 letters": PROTO + b"\x8d" + struct.pack("<Q", 1 << 60) + b".",
    "number of 2^31 bytes": PROTO + b"\x8b\xff\xff\xff\x7f.",
    "decimal number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "frame of 2^60 bytes": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
    "memo 2^31": PROTO + b"]r\xff\xff\xff\x7fj\xff\xff\xff\x7fj\xff\xff\xff\x6f.",
    "extension": PROTO + b"\x82\x01.",
    "no end": PROTO + b"}",
    "empty stack": PROTO + b".",
    "no mark": PROTO + b"K\x01t.",
    "contains itself": PROTO + b"}q\x00" + text("model") + b"h\x00s.",
    "tensor: 2^62 elements": tensor(elements=1 << 62, shape=(1 << 62,)),
    "tensor: a storage of another size": tensor(elements=2),
    "tensor: repeated by strides": tensor(shape=(1 << 20, 1 << 20), strides=(0, 0)),
    "tensor: shape beyond the storage": tensor(shape=(1 << 40,)),
    "tensor: negative shape": tensor(shape=(-1,)),
    "tensor: negative stride": tensor(strides=(-1,)),
    "tensor: negative offset": tensor(offset=-1),
    "tensor: offset beyond the storage": tensor(offset=1 << 40),
    "tensor: a stride missing": tensor(strides=()),
    "tensor: 1,000 axes": tensor(shape=(1,) * 1000, strides=(1,) * 1000),
    "tensor: shape of fractions": tensor(shape=(1.5,)),
    "tensor: shape of texts": tensor(shape=("1",)),
    "tensor: shape of truth values": tensor(shape=(True,)),
    "tensor: no such storage": tensor(key="99"),
    "tensor: storage outside": tensor(key="../../../etc/passwd"),
    "tensor: of no type": tensor(kind="WrongStorage"),
    "tensor: quantised storage": tensor(kind="QInt8Storage"),
    "tensor: other rebuilding": tensor(build="_rebuild_wrapper_subclass"),
    "tensor: meta": tensor(build="_rebuild_meta_tensor_no_storage"),
}


def _forged(path: Path, old: bytes, new: bytes, first: int = 0) -> Path:
    content = path.read_bytes()
    place = content.index(old, first)
    path.write_bytes(content[:place] + new + content[place + len(old) :])
    return path


def _overlapping(path: Path) -> Path:
    """Two names of the table lead to the same bytes."""
    archive(path, tensor(), {"0": bytes(4), "1": bytes(4 << 20)})
    with zipfile.ZipFile(path) as file:
        places = {info.filename: info.header_offset for info in file.infolist()}
    table = path.read_bytes().index(b"PK\x01\x02")
    content = bytearray(path.read_bytes())
    large = struct.pack("<II", 4 << 20, 4 << 20) + struct.pack("<H", len("archive/data/1"))
    entry = content.index(large, table) - 20
    copies = bytes(content[entry : content.index(b"PK\x05\x06", entry)])
    extra = b"".join(copies.replace(b"data/1", b"data/" + bytes([97 + number])) for number in range(8))
    end = content.index(b"PK\x05\x06")
    count = len(places) + 8
    size = end - table + len(extra)
    path.write_bytes(
        bytes(content[:end]) + extra + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, size, table, 0)
    )
    return path


def _many_members(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for number in range(60_000):
            file.writestr(f"archive/data/{number:040}", b"")
        file.writestr("archive/data.pkl", tensor())
    return path


def _types(path: Path) -> Path:
    """A storage at an odd place, which is copied, under one name with nine types."""
    sizes = {"Float": 4, "Double": 8, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2}
    sizes |= {"ComplexFloat": 8, "ComplexDouble": 16}
    views = (text(kind) + view(f"{kind}Storage", (64 << 20) // size) for kind, size in sizes.items())
    pickled = PROTO + b"}" + text("model") + b"}" + b"".join(each + b"s" for each in views) + b"s."
    for pad in (b"", b"x"):
        archive(path, pickled, {"0": bytes(64 << 20)}, others={"pad": pad})
        with zipfile.ZipFile(path) as file:
            if (file.getinfo("archive/data/0").header_offset + len("archive/data/0")) % 2:
                break
    return path


VALID = {"0": bytes(4)}
ARCHIVES: dict[str, Callable[[Path], object]] = {
    "deflated zeros behind the pickle": lambda path: archive(
        path, tensor() + bytes(400 << 20), VALID, compressed=("data.pkl",)
    ),
    "deflated pickle": lambda path: archive(path, tensor(), VALID, compressed=("data.pkl",)),
    "deflated storage": lambda path: archive(path, tensor(), {"0": bytes(100 << 20)}, compressed=("data/0",)),
    "of torch.jit": lambda path: archive(path, tensor(), VALID, others={"constants.pkl": tensor()}),
    "big-endian": lambda path: archive(path, tensor(), VALID, others={"byteorder": b"big"}),
    "two pickles": lambda path: _forged(
        archive(path, tensor(), VALID), b"archive/byteorder", b"archive/data.pkl\0", 200
    ),
    "wrong checksum of the pickle": lambda path: _forged(
        archive(path, tensor(), VALID), b"proj.weight", b"proj.wEight"
    ),
    "broken local header": lambda path: _forged(archive(path, tensor(), VALID), b"PK\x03\x04", b"PK\x03\x05", 20),
    "encrypted": lambda path: _forged(
        archive(path, tensor(), VALID), b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0"
    ),
    "a table of 60,000 members": _many_members,
    _OVERLAPS: _overlapping,
    "empty archive": lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18)),
    "arrays of NumPy": lambda path: np.savez(path.open("wb"), signal=np.zeros(3)),
    "one array of NumPy": lambda path: np.save(path.open("wb"), np.zeros(3)),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("lead,value\nII,0.3\n"),
    "zeros": lambda path: path.write_bytes(bytes(1 << 20)),
    "a number alone": lambda path: torch.save(3, path),
    "a tensor alone": lambda path: torch.save(torch.zeros(3), path),
    "a pointer of Git LFS": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "names of storages that double, old file": lambda path: legacy(
        path, tensor(), PROTO + b"]" + text("a") + b"q\xffh\xff" + DOUBLING + b"\x86a."
    ),
    "names of storages in a text, old file": lambda path: legacy(path, tensor(), PROTO + text("0" * (4 << 20)) + b"."),
    "64 MB that 9 types read": _types,
    "gzip": lambda path: path.write_bytes(zlib.compress(bytes(1 << 20))),
    "tar": lambda path: path.write_bytes(b"./sys_info".ljust(512, b"\0") + bytes(1024)),
}


def checkpoints() -> dict[str, Callable[[Path], object]]:
    """Name of each hostile file, and what writes it."""
    made: dict[str, Callable[[Path], object]] = {}
    for call in (*CALLS, *INERT_CALLS):
        made[f"runs {call}"] = lambda path, call=call: archive(path, asks(call, "REDUCE"))
        made[f"runs {call}, old file"] = lambda path, call=call: legacy(path, asks(call, "REDUCE"))
    for how in ("STACK_GLOBAL", "NEWOBJ", "INST", "OBJ", "BUILD"):
        made[f"runs os system by {how}"] = lambda path, how=how: archive(path, asks("os system", how))
        made[f"runs builtins exec by {how}"] = lambda path, how=how: legacy(path, asks("builtins exec", how))
    for name, pickled in (*PICKLES.items(), *REPEATED.items()):
        made[name] = lambda path, pickled=pickled: archive(path, pickled, VALID)
    for name, pickled in (*list(PICKLES.items())[:20], *REPEATED.items()):
        made[f"{name}, old file"] = lambda path, pickled=pickled: legacy(path, pickled)
    made |= ARCHIVES
    for kind in ("pretrained", "finetuned"):
        for name, change in CHANGES.items():
            if kind == "finetuned" and name in ("transposed",):
                continue
            made[f"{kind}: {name}"] = lambda path, kind=kind, change=change: _changed(path, kind, change)
    for kept in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999):
        made[f"cut at {kept:g}"] = lambda path, kept=kept: _cut(path, kept, True)
        made[f"cut at {kept:g}, old file"] = lambda path, kept=kept: _cut(path, kept, False)
    return made


def _changed(path: Path, kind: str, change: Callable[[dict[str, Any]], object]) -> None:
    content = official_content(kind)
    if kind == "finetuned":
        tensors = content["model"]
        plain = {
            name.removeprefix("encoder.") if not name.startswith("proj.") else name: t for name, t in tensors.items()
        }
        content["model"] = plain
        change(content)
        if isinstance(content["model"], dict):
            content["model"] = {
                f"encoder.{name}"
                if isinstance(name, str) and name in plain and not name.startswith("proj.")
                else name: t
                for name, t in content["model"].items()
            }
    else:
        change(content)
    torch.save(content, path)


def _cut(path: Path, kept: float, zipped: bool) -> None:
    buffer = io.BytesIO()
    torch.save(official_content(), buffer, _use_new_zipfile_serialization=zipped)
    content = buffer.getvalue()
    path.write_bytes(content[: int(kept * len(content))])

"""Hostile inputs of commands: tables of `evaluate`, programs, fingerprints, imports, requests and folders of auto."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from helpers.auto import FINGERPRINT, choice, job, results, trained
from hostile.folders import DEEP, JSON
from hostile.pickled import asks, checkpoints
from hostile.signals import WINDOWS
from hostile.sweeps import SWEEPS

Write = Callable[[Path], Path]
ROWS = 60


def _file(name: str, content: str | bytes) -> Write:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
        return folder / name

    return write


def _windows(label: Any = None, leads: int = 1, **columns: Any) -> Write:
    """A table of 60 windows of 6 s at 100 Hz."""

    def write(folder: Path) -> Path:
        signal = np.random.default_rng(0).standard_normal((ROWS, leads, 600)).astype(np.float32)
        label_ = np.arange(ROWS) % 2 if label is None else label
        np.savez(folder / "w.npz", signal=signal, label=label_, sampling_rate=100.0, unit="mV", **columns)
        return folder / "w.npz"

    return write


def _npz(members: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **members)
    return content.getvalue()


def _prints(**changes: Any) -> bytes:
    beats = 12
    made = {"ecgtune_beat_prints": np.array(1), "count": np.full(2, beats, np.int32), "name": np.array(["a", "b"])}
    made |= {"interval": np.full(2 * beats, 400, np.uint16), "height": np.zeros(2 * beats, np.int8)}
    made |= {"shape": np.ones((2, 8), np.int8), **changes}
    return _npz({name: value for name, value in made.items() if value is not None})


def _alike(recordings: int, beats: int) -> bytes:
    """Recordings whose beats are all the same, less compressible than zeros."""
    total, rng = recordings * beats, np.random.default_rng(0)
    sizes = {"count": np.full(recordings, beats, np.int32), "name": np.arange(recordings).astype(str)}
    series = {"interval": rng.integers(399, 402, total).astype(np.uint16), "height": rng.integers(0, 2, total, np.int8)}
    return _prints(**sizes, **series, shape=np.ones((recordings, 8), np.int8))


#: Labels and columns of data that a run is evaluated on, by `sex` (`age` is the other column).
EVALUATED: dict[str, Write] = {
    "one class": _windows(np.zeros(ROWS, np.int64)),
    "classes of the run in no window": _windows(np.array(["x", "y"])[np.arange(ROWS) % 2]),
    "60 classes": _windows(np.arange(ROWS)),
    "two leads": _windows(leads=2),
    "a column of 60 texts": _windows(sex=np.array([f"part {n}" for n in range(ROWS)])),
    "a column of another length": _windows(sex=np.array(["f", "m"])),
    "no such column": _windows(other=np.zeros(ROWS)),
    "a column of escapes": _windows(sex=np.array([f"\x1b[31m{n}\n" for n in range(ROWS)])),
    "a column of pickles": lambda folder: _pickled_column(folder),
    "a column of 400 MB": lambda folder: _zeros_column(folder),
    "empty": _file("w.npz", b""),
    "text": _file("w.csv", "\0" * 1000),
}


def _pickled_column(folder: Path) -> Path:
    path = _windows(sex=np.array(["f"] * ROWS))(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("age.npy", b"\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (60,)}".ljust(
            127) + b"\n" + asks("os system", "REDUCE"))  # fmt: skip
    return path


def _zeros_column(folder: Path) -> Path:
    path = _windows()(folder)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("sex.npy", "w") as file:
        np.save(file, np.zeros(50_000_000))
    return path


PROGRAMS: dict[str, Write] = {
    name: _file("model.pte", content)
    for name, content in {
        "a header": b"\x20\0\0\0ET12" + bytes(1000),
        "a header alone": b"\x20\0\0\0ET12",
        "offsets beyond the file": b"\xff\xff\xff\x7fET12" + b"\xff" * 1000,
        "empty": b"",
        "a pickle": asks("os system", "REDUCE"),
        "zeros": bytes(1 << 20),
        "JSON": DEEP,
    }.items()
}
PRINTS: dict[str, Write] = {
    name: _file("prints.npz", content)
    for name, content in {
        **{f"without {key}": _prints(**{key: None}) for key in ("count", "interval", "height", "shape", "name")},
        "format 99": _prints(ecgtune_beat_prints=np.array(99)),
        "format NaN": _prints(ecgtune_beat_prints=np.array(np.nan)),
        "beats below 0": _prints(count=np.array([-1, 25], np.int32)),
        "10^9 beats": _prints(count=np.array([10**9, 24 - 10**9 % 2**31], np.int64)),
        "beats as text": _prints(count=np.array(["12", "12"])),
        "names of pickles": _prints(name=None)[:-1],
        "other beats than intervals": _prints(interval=np.zeros(3, np.uint16)),
        "20 million beats in a few bytes": _prints(
            count=np.full(2, 10_000_000, np.int32),
            interval=np.full(20_000_000, 400, np.uint16),
            height=np.zeros(20_000_000, np.int8),
        ),
        "all beats alike": _alike(2_000, 100),
        "cut": _prints()[:200],
    }.items()
}
#: Files of --import. What they do at their import is theirs; that it fails is said.
IMPORTS: dict[str, Write] = {
    name: _file("mine.py", content)
    for name, content in {
        "no Python": "this is no Python",
        "zero bytes": b"\0" * 100,
        "not UTF-8": b"x = '\xff'\n",
        "nested": "x = " + "(" * 5000 + ")" * 5000,
        "a division by zero": "1 / 0",
        "an error of escapes": 'raise ValueError("\\x1b[31m\\nerror: fake line")',
        "an error of a megabyte": 'raise ValueError("x" * (1 << 20))',
        "exits": "import sys\nsys.exit(0)",
        "a missing module": "import no_such_module_of_anyone",
        "recursion": "def f(): f()\nf()",
        "registers twice": "import ecgtune\n@ecgtune.register_encoder('ecg-fm')\nclass Mine: pass",
    }.items()
}
_OBJECTIVE = '[objective]\nname = "data2vec"\n'
PRETRAININGS: dict[str, Write] = {
    name: _file("pretrain.toml", text)
    for name, text in {
        **{f"{key} 10^9": f"{_OBJECTIVE}[encoder]\n{key} = {10**9}\n"
           for key in ("depth", "width", "feed_forward", "conv_channels", "conv_layers", "pos_taps")},
        "5 * 10^12 weights": f"{_OBJECTIVE}[encoder]\ndepth = 1000\nwidth = 32768\nheads = 8\nfeed_forward = 65536\n",
        "depth NaN": f"{_OBJECTIVE}[encoder]\ndepth = nan\n",
        "depth as text": f'{_OBJECTIVE}[encoder]\ndepth = "4"\n',
        "rate 0": f"{_OBJECTIVE}[encoder]\nsampling_rate = 0.0\n",
        "rate 10^300": f"{_OBJECTIVE}[encoder]\nsampling_rate = 1e300\n",
        "masks 10^9": f"{_OBJECTIVE}masks = {10**9}\n",
        "decoder_layers 10^9": f"{_OBJECTIVE}decoder_layers = {10**9}\n",
        "codes 10^12": '[objective]\nname = "contrastive"\ncodes = 65536\ncode_width = 65536\n',
        "epochs 10^12": f"{_OBJECTIVE}[optimisation]\nepochs = {10**12}\n",
        "objective a list": "objective = []\n",
        "objective unknown": '[objective]\nname = "os.system"\n',
        "a key of escapes": _OBJECTIVE + '"\\u001b[31m" = 1\n',
        "a window of 10^300 s": f"{_OBJECTIVE}[crops]\nwindow_seconds = 1e300\n",
        **{f"{kind} of 30,000 parts": text.format(".".join([part] * 30_000)) for kind, part, text in (
            ("a key", "a", "{} = 1\n"), ("a key of texts", '"a.b"', "{} = 1\n"), ("a table", "a", "[{}]\n"),
            ("a list of tables", "a", "[[{}]]\n"), ("an inline key", "a", "a = {{{} = 1}}\n"))},
        **{f"{count} keys of 63 parts": "".join(f"a{n}{'.b' * 62} = 1\n" for n in range(count)) + "[a]\n"
           for count in (1_900, 40_000)},
        "a table of 100,000 letters, twice": f"[{'a' * 100_000}]\n" * 2,
    }.items()
}  # fmt: skip
MAPS: dict[str, Write] = {
    name: _file("map.txt", text)
    for name, text in {
        "empty": "",
        "no pair": "AFIB",
        "a megabyte": "a" * (1 << 20),
        "10^5 pairs": ",".join(f"x{n}=1" for n in range(100_000)),
        "two classes of one": "0=0,0=1",
        "unknown": "x=0",
        "unknown class": "0=x",
        "escapes": "\x1b[31m\n=\x1b",
        "zero bytes": "\0=\0",
        "wildcards alone": "*=*",
    }.items()
}
SIGNAL = [[0.1] * 700]
REQUESTS: dict[str, Write] = {
    name: _file("request.json", body if isinstance(body, (str, bytes)) else json.dumps(body))
    for name, body in {
        **{f"JSON {name}": text for name, text in JSON.items()},
        **{f"signal {name}": {"signal": value, "sampling_rate": 100} for name, value in {
            "null": None, "a number": 1, "text": "x", "a list": [1, 2], "three axes": [SIGNAL], "ragged": [[1], [1, 2]],
            "texts": [["1"] * 700], "of true": [[True] * 700], "empty": [], "empty leads": [[], []],
            "beyond float": [[1e300] * 700], "long number": [[10**400] * 700], "of tables": [[{}] * 700],
            "all missing": [[None] * 700], "10^5 leads": [[0.1]] * 100_000, "of one sample": [[0.1]]}.items()},
        "signal NaN": '{"signal": [[NaN, 1]], "sampling_rate": 100}',
        "signal deep": '{"signal": ' + DEEP + "}",
        **{f"{key} {value!r}": {"signal": SIGNAL, "sampling_rate": 100, "unit": "mV", key: value} for key, value in (
            ("sampling_rate", 0), ("sampling_rate", -1), ("sampling_rate", 1e300), ("sampling_rate", "x"),
            ("sampling_rate", []), ("unit", 3), ("unit", "x" * 9999), ("lead_names", 3), ("lead_names", ["x"] * 9999),
            ("start", -1), ("stop", 1e300), ("step", 0), ("step", 1e-9), ("abstain", 7), ("abstain", "x"),
            ("longest_gap", -1), ("recording", "x"), ("workers", 10**9), ("records", "/etc/passwd"), ("device", "x"),
            ("\x1b[31m\n", 1))},
        "16 MB of numbers": '{"signal": [[' + "1.5," * (5 << 20) + "1]]}",
    }.items()
}  # fmt: skip


def _auto(name: str, content: Any) -> Write:
    """A folder of an auto, of which one file has this content."""

    def write(folder: Path) -> Path:
        files: dict[str, Any] = {
            "fingerprint.json": FINGERPRINT,
            "spent.json": {"seconds": 9.0},
            "choice.json": choice(),
            "do/results.json": results([trained()]),
            f"do/{job()['name']}/round-0/job.json": job(),
            f"do/{job()['name']}/round-0/result.json": trained(),
            "plan.toml": "[split]\nfolds = 1\n",
            name: content,
        }
        for each, value in files.items():
            text = value if isinstance(value, (str, bytes)) else json.dumps(value)
            (folder / each).parent.mkdir(parents=True, exist_ok=True)
            (folder / each).write_bytes(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
        return folder / name

    return write


ROUND = f"do/{job()['name']}/round-0"
STORED = {
    "fingerprint.json": FINGERPRINT,
    "spent.json": {"seconds": 1.0},
    "choice.json": choice(),
    "do/results.json": results([trained()]),
    f"{ROUND}/job.json": job(),
    f"{ROUND}/result.json": trained(),
}
PLANS = {
    **{f"[split] folds = {value}": f"[split]\nfolds = {value}" for value in (10**12, 2, '"5"', "true", "nan", "[1]")},
    **{f"[split] train_fraction = {value}": f"[split]\ntrain_fraction = {value}" for value in (0, 1, "nan", -1, 1e300)},
    **{f"[data] {key} = {value}": f"[data]\n{key} = {value}"
       for key in ("window", "step", "sampling_rate") for value in (0, -1, "inf", 1e300, '"10"')},
    **{f"[training] {key} = {value}": f"[training]\n{key} = {value}"
       for key in ("epochs", "batch_size") for value in (0, 10**12, "1.5", "nan", "[]")},
    "[data] leads": "[data]\nleads = []",
    "[model] encoders": "[model]\nencoders = []",
    "[model] encoders twice": '[model]\nencoders = ["a", "a"]',
    "[model] 10^5 encoders": f"[model]\nencoders = {json.dumps([str(n) for n in range(100_000)])}",
    "[training] methods": "[training]\nmethods = []",
    "[training] threshold": '[training]\nthreshold = "x"',
    "[training] max_memory": '[training]\nmax_memory = "x"',
    "[training] device": '[training]\ndevice = "tpu"',
    "[budget] seconds 0": "[budget]\nseconds = 0",
    "[budget] seconds 10^300": "[budget]\nseconds = 1e300",
    "[budget] no rounds": "[budget]\nrounds = []",
    "[budget] rounds NaN": "[budget]\nrounds = [nan]",
    "[budget] 10^5 rounds": f"[budget]\nrounds = {[1e-6] * 100_000}",
    "[budget] probe 1": "[budget]\nprobe = 1.0",
    "a list": "split = []",
    "unknown table": "[eval]\na = 1",
    "unknown key": "[split]\neval = 1",
    "long number": "[split]\nfolds = " + "9" * 100_000,
    "deep": "a = " + DEEP,
    "a key of 30,000 parts": ".".join(["a"] * 30_000) + " = 1",
    "lines of long keys": "".join(f"a{n}{'.b' * 2000} = 1\n" for n in range(60)),
    "binary": bytes(range(256)),
}  # fmt: skip


def _entries(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The content with each of its entries removed, null, or of another kind."""
    found = {f"without {key}": {name: value for name, value in content.items() if name != key} for key in content}
    found |= {f"{key} a table": content | {key: {"x": [1]}} for key in content}
    return found | {f"{key} NaN": content | {key: float("nan")} for key in content}


#: Entries that may be missing: results of an earlier version lack this one.
_FREE = ("result.json: without step",)
AUTOS: dict[str, Write] = {
    **{f"{file}: JSON {name}": _auto(file, text) for file in STORED for name, text in JSON.items()},
    **{f"{file}: {name}": _auto(file, value) for file, content in STORED.items()
       for name, value in _entries(content).items() if not f"{file}: {name}".endswith(_FREE)},
    **{f"plan.toml: {name}": _auto("plan.toml", text) for name, text in PLANS.items()},
    "choice.json: a run outside": _auto("choice.json", choice(runs=["do/../../x/round-0"])),
    "choice.json: another candidate": _auto("choice.json", choice(chosen="x")),
    "do/results.json: a name outside": _auto("do/results.json", results([trained() | {"name": "../../x"}])),
    "do/results.json: another name": _auto("do/results.json", results([trained() | {"name": "x"}])),
    "do/results.json: no probe": _auto("do/results.json", results([trained()], encoder="f")),
    f"{ROUND}/job.json: of another round": _auto(f"{ROUND}/job.json", job(3)),
    f"{ROUND}/job.json: 10^9 threads": _auto(f"{ROUND}/job.json", job() | {"threads": 10**9}),
    f"{ROUND}/job.json: epochs 10^12": _auto(f"{ROUND}/job.json", job(epochs=10**12)),
    "fingerprint.json: no leads": _auto("fingerprint.json", FINGERPRINT | {"leads": {}}),
    "fingerprint.json: a rate as text": _auto("fingerprint.json", FINGERPRINT | {"sampling_rates": {"x": 1}}),
    "fingerprint.json: a split of none": _auto("fingerprint.json", FINGERPRINT | {"split": {"train": 0}}),
    "fingerprint.json: a pair of one": _auto("fingerprint.json", FINGERPRINT | {"duplicates": [["a"]]}),
    "fingerprint.json: another kind": _auto("fingerprint.json", FINGERPRINT | {"kind": "records"}),
    "spent.json: below 0": _auto("spent.json", {"seconds": -1}),
}  # fmt: skip


def _no_file(name: str) -> dict[str, Write]:
    """What has the name of a file and is none."""
    kinds = {"a pipe": os.mkfifo, "a folder": Path.mkdir, "a link to itself": lambda path: path.symlink_to(path)}
    return {kind: _in(name, make) for kind, make in kinds.items()}


def _in(name: str, write: Callable[[Path], object]) -> Write:
    def make(folder: Path) -> Path:
        write(folder / name)
        return folder / name

    return make


INPUTS: dict[str, dict[str, Write]] = {
    "start": {name: _in("model.pt", write) for name, write in list(checkpoints().items())[::8]},
    "auto data": dict(list(WINDOWS.items())[1::4]),
    "evaluated": EVALUATED,
    "program": PROGRAMS,
    "prints": PRINTS | _no_file("prints.npz"),
    "import": IMPORTS | _no_file("mine.py"),
    "pretraining": PRETRAININGS | _no_file("pretrain.toml"),
    "map": MAPS,
    "request": REQUESTS,
    "auto": AUTOS,
    "sweep": {name: _in("sweep.db", write) for name, write in SWEEPS.items()},
}

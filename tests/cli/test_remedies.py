"""Every remedy that a message names exists in the commands that print it, and works as a command line."""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import ecgtune
from ecgtune.cli.app import make_app
from ecgtune.cli.commands import COMMANDS, load
from ecgtune.io.readers.base import ReadOptions
from helpers.cli import refused, run
from helpers.recordings import dicom_group, write_dicom, write_edf
from helpers.records import heartbeats, write_record

SOURCE = Path(ecgtune.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
TRAINING = ("compare", "fine-tune", "sweep", "plan")
READING = (*TRAINING, "data check", "predict")
#: Commands that print the messages of a module; of all others, one command at least has the flag.
PRINTED_BY = {
    "io/readers/": (*READING, "pretrain"),
    "io/window_files.py": (*TRAINING, "predict"),
    "io/windows.py": TRAINING,
    "io/unlabelled.py": ("predict",),
    "io/label_table.py": (*TRAINING, "data check"),
    "io/records/reading.py": (*TRAINING, "data check"),
    "io/records/selection.py": READING,
    "io/download.py": ("data get",),
    "data/signal/": READING,
    "utils/locks.py": ("compare", "fine-tune", "sweep", "pretrain", "predict", "auto", "evaluate", "stress"),
    "workflows/compare.py": ("compare",),
    "workflows/predict.py": ("predict",),
    "workflows/pretrain.py": ("pretrain",),
    "workflows/sweep/": ("sweep",),
}
#: Messages of a module that some of its commands do not reach.
NOT_REACHED = {
    ("io/readers/csv_files.py", "--drop-invalid", "pretrain"),  # of windows
    ("io/readers/csv_layout.py", "--label", "predict"),
    ("io/readers/csv_layout.py", "--label", "pretrain"),
    ("io/readers/csv_layout.py", "--records", "pretrain"),
    ("io/readers/numpy_files.py", "--label", "predict"),
    ("io/readers/numpy_files.py", "--label", "pretrain"),
    ("io/readers/base.py", "--to", "pretrain"),  # which reads whole recordings
    ("io/window_files.py", "--missing", "predict"),  # of labels
    ("data/signal/path.py", "--leads", "predict"),  # the leads are those of the training
}
#: Options of other programs, and of ecgtune itself.
OTHERS = {"--version", "--help", "--nproc-per-node"}


def test_leads_of_windows_are_taken(tmp_path, capsys):
    """The remedy for leads that an encoder of eight leads cannot read."""
    windows = ecgtune.simulate(60, seed=1, seconds=3)
    signal = np.repeat(windows.signal, 3, axis=1)
    arrays = {"signal": signal, "label": windows.label, "record": windows.group, "leads": ["I", "II", "III"]}
    np.savez(tmp_path / "limbs.npz", sampling_rate=windows.sampling_rate, **arrays)
    check = ("data", "check", tmp_path / "limbs.npz", "--leads", "I")
    run(*check, "II")
    assert "I, II" in capsys.readouterr().out
    assert "give --leads alone" in refused(capsys, *check, "--lead", "II")


def messages() -> dict[str, set[str]]:
    """The flags in the texts of each module that are neither docstrings nor names of options."""
    found: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, (ast.Expr, ast.keyword))}
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs]
        flags = {flag for text in texts if isinstance(text, str) for flag in FLAG.findall(text)}
        if flags:
            found[path.relative_to(SOURCE).as_posix()] = flags - OTHERS
    return found


def options() -> dict[str, set[str]]:
    """The options of each command."""
    found = {}
    for name in COMMANDS:
        app = make_app(name, load(name))
        subcommands = [part for part in app[name] if not part.startswith("-")]
        for part in subcommands if name == "data" else [None]:
            collection = (app[name] if part is None else app[name][part]).assemble_argument_collection()
            meta = app.meta.assemble_argument_collection(parse_docstring=False)
            names = {flag for arguments in (collection, meta) for argument in arguments for flag in argument.names}
            found[name if part is None else f"{name} {part}"] = names
    return found


def test_a_flag_in_a_message_is_an_option_of_the_commands_that_print_it():
    known = options()
    for module, flags in messages().items():
        commands = [command for place, names in PRINTED_BY.items() if module.startswith(place) for command in names]
        for flag in flags:
            assert any(flag in names for names in known.values()), (module, flag)
            lacking = [name for name in commands if flag not in known[name]]
            assert [name for name in lacking if (module, flag, name) not in NOT_REACHED] == [], (module, flag)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arrays(suffix: str, axes: str = "CT") -> Callable[[Path], None]:
    """Eight recordings of three leads as bare arrays."""

    def write(folder: Path) -> None:
        for index, signal in enumerate(heartbeats(8, seconds=4)):
            values = np.stack([signal, 0.5 * signal, -signal])
            values = values if axes == "CT" else values.T
            if suffix == ".npy":
                np.save(folder / "records" / f"r{index}.npy", values)
            else:
                np.savez(folder / "records" / f"r{index}.npz", signal=values)

    return write


def headers(change: Callable[[str], str]) -> Callable[[Path], None]:
    """Eight WFDB records of lead II whose headers are changed."""

    def write(folder: Path) -> None:
        for index, signal in enumerate(heartbeats(8, seconds=4)):
            write_record(folder / "records", f"r{index}", signal)
            path = folder / "records" / f"r{index}.hea"
            path.write_text(change(path.read_text()))

    return write


def numbered(folder: Path) -> None:
    """Records whose names start with zeros, which the table has lost."""
    for index, signal in enumerate(heartbeats(8, seconds=4)):
        write_record(folder / "records", f"{index:05}_hr", signal)
    rows = "".join(f"{i},{i % 2}\n" for i in range(8))
    (folder / "labels.csv").write_text("record,AF\n" + rows)


def mixed(folder: Path) -> None:
    """Records of two rates, two lengths and two sets of leads."""
    for index, signal in enumerate(heartbeats(8, seconds=4)):
        write_record(folder / "records", f"r{index}", signal)
    other = heartbeats(1, rate=100, seconds=6)[0]
    write_record(folder / "records", "r0", np.stack([other, 2 * other]), rate=100, leads=("I", "II"))


def edf(folder: Path) -> None:
    """EDF files whose second channel is no lead."""
    for index, signal in enumerate(heartbeats(8, seconds=4)):
        values = np.round(np.stack([signal, signal[::-1]]) * 10_000).astype(np.int64)
        write_edf(folder / "records" / f"r{index}.edf", values, leads=("ECG II", "X1"), rate=200)


def two_rates(folder: Path) -> None:
    """WFDB records of a lead at 200 Hz and one at 100 Hz."""
    for index, signal in enumerate(heartbeats(8, seconds=4)):
        steps, name = np.round(1000 * signal).astype("<i2"), f"r{index}"
        (folder / "records" / f"{name}_a.dat").write_bytes(steps.tobytes())
        (folder / "records" / f"{name}_b.dat").write_bytes(steps[::2].tobytes())
        lines = (f"{name} 2 100 400", f"{name}_a.dat 16x2 1000 16 0 0 0 0 II", f"{name}_b.dat 16 1000 16 0 0 0 0 V5")
        (folder / "records" / f"{name}.hea").write_text("\n".join(lines))


def two_waveforms(folder: Path) -> None:
    """DICOM files in which two waveforms hold the same lead at one time."""
    for index, signal in enumerate(heartbeats(8, seconds=4)):
        groups = [dicom_group(np.round(factor * 400 * signal)[None], ("II",), 200.0) for factor in (1, 2)]
        write_dicom(folder / "records" / f"r{index}.dcm", groups)


def gap(folder: Path) -> None:
    """NumPy recordings with a gap of half a second."""
    for index, signal in enumerate(heartbeats(8, seconds=4)):
        signal[100:200] = np.nan
        np.savez(folder / "records" / f"r{index}.npz", signal=signal, fs=200, unit="mV", leads=["II"])


def printed(folder: Path) -> None:
    """DICOM print layouts: leads I and V1 of one half, II and V2 of the other."""
    for index, signal in enumerate(heartbeats(8, seconds=4)):
        halves = np.round(400 * signal).reshape(2, 1, -1).repeat(2, axis=1)
        groups = [
            dicom_group(halves[0], ("I", "V1"), 200.0, offset=0),
            dicom_group(halves[1], ("II", "V2"), 200.0, offset=2000),
        ]
        write_dicom(folder / "records" / f"r{index}.dcm", groups)


def two_arrays(folder: Path) -> None:
    """HDF5 files of two arrays, neither with a usual name."""
    for index, signal in enumerate(heartbeats(8, seconds=4)):
        with h5py.File(folder / "records" / f"r{index}.h5", "w") as file:
            file["a"], file["b"], file["fs"] = signal, signal[:100], 200


FACTS = ["--sampling-rate", "200", "--unit", "mV"]
THREE = ["--lead-names", "II", "-", "V5"]
RECORDINGS = {
    "rate": (arrays(".npy"), ["--unit", "mV", *THREE], "--sampling-rate 500", ["--sampling-rate", "200"]),
    "unit": (arrays(".npy"), ["--sampling-rate", "200", *THREE], "--unit (mV, uV, V, nV)", ["--unit", "nV"]),
    "names": (arrays(".npz"), FACTS, "--lead-names (of I, II", THREE),
    "names of another number": (arrays(".npz"), FACTS, "--lead-names", ["--lead-names", "-", "-", "II"]),
    "transposed": (arrays(".npy", "TC"), [*FACTS, *THREE], "--layout NTC", ["--layout", "NTC"]),
    "no lead": (edf, [], "--lead-names (of I, II", ["--lead-names", "II", "-"]),
    "checksum": (
        headers(lambda text: re.sub(r"-?\d+ 0 II$", "77 0 II", text, flags=re.M)),
        [],
        "--ignore-checksums",
        ["--ignore-checksums"],
    ),
    "rates": (mixed, ["--leads", "II", "--window", "4"], "--resample", ["--resample", "100"]),
    "leads": (mixed, ["--resample", "100", "--window", "4"], "--leads I II", ["--leads", "I", "II"]),
    "lengths": (mixed, ["--resample", "100", "--leads", "II"], "--window", ["--window", "4"]),
    "zeros": (numbered, [], "--match-numbers takes 0 for 00000_hr", ["--match-numbers"]),
    "dataset": (two_arrays, ["--unit", "mV"], "--dataset", ["--dataset", "a"]),
    "rates in a file": (two_rates, [], "keep one rate: --lead-names II -", ["--lead-names", "II", "-"]),
    "two waveforms": (two_waveforms, [], "choose: --lead-names II -", ["--lead-names", "II", "-"]),
    "print layout": (
        printed,
        [],
        "such as leads I V1 in windows of 2 s",
        ["--leads", "I", "V1", "--window", "2"],
    ),
    "gap": (gap, [], "--longest-gap", ["--longest-gap", "1"]),
    "missing": (
        lambda folder: [path.unlink() for path in (headers(str)(folder), folder / "records" / "r7.hea")[1:]],
        [],
        "--max-skipped 0.13",
        ["--max-skipped", "0.13"],
    ),
}


@pytest.mark.parametrize("case", RECORDINGS)
def test_remedies_for_recordings(case, folder, capsys):
    write, given, named, remedy = RECORDINGS[case]
    (folder / "records").mkdir()
    (folder / "labels.csv").write_text("record,AF\n" + "".join(f"r{i},{i % 2}\n" for i in range(8)))
    write(folder)
    tokens = ["data", "check", "labels.csv", "--records", "records", "--label", "AF", "--quiet", "--workers", "1"]
    assert named in refused(capsys, *tokens, *given)
    run(*tokens, *given, *remedy)
    assert "windows:" in capsys.readouterr().out


def test_remedies_for_a_long_recording(folder, capsys, monkeypatch):
    monkeypatch.setitem(ReadOptions.__init__.__kwdefaults__, "max_values", 500)
    (folder / "records").mkdir()
    headers(str)(folder)
    (folder / "labels.csv").write_text("record,AF\n" + "".join(f"r{i},{i % 2}\n" for i in range(8)))
    tokens = ["data", "check", "labels.csv", "--records", "records", "--label", "AF", "--quiet", "--workers", "1"]
    assert "--from and --to (seconds), or cut it into windows with --window" in refused(capsys, *tokens)
    for remedy, shape in (
        (["--from", "1", "--to", "3"], "8 of 1 lead and 400 samples"),
        (["--window", "2"], "16 of 1 lead and 400 samples"),
    ):
        run(*tokens, *remedy)
        assert shape in capsys.readouterr().out


def csv_recordings(folder: Path) -> None:
    for index, signal in enumerate(heartbeats(8, seconds=4)):
        lines = "\n".join(f"{value:.3f}" for value in signal)
        (folder / "records" / f"r{index}.csv").write_text(f"II\n{lines}\n")


def dicom(folder: Path) -> None:
    for index, signal in enumerate(heartbeats(8, seconds=4)):
        write_dicom(folder / "records" / f"r{index}.dcm", [dicom_group(np.round(400 * signal)[None], ("II",), 200.0)])


def npz(folder: Path) -> None:
    for index, signal in enumerate(heartbeats(8, seconds=4)):
        np.savez(folder / "records" / f"r{index}.npz", signal=signal, fs=200, unit="mV", leads=["II"])


@pytest.mark.parametrize("write", [csv_recordings, dicom, npz])
def test_a_long_recording_that_cannot_be_read_in_parts_is_saved_as_one_that_can(write, folder, capsys, monkeypatch):
    (folder / "records").mkdir()
    write(folder)
    (folder / "labels.csv").write_text("record,AF\n" + "".join(f"r{i},{i % 2}\n" for i in range(8)))
    tokens = ["data", "check", "labels.csv", "--records", "records", "--label", "AF", "--quiet", "--workers", "1"]
    tokens += ["--window", "2"] + (FACTS if write is csv_recordings else [])
    with monkeypatch.context() as small:
        small.setitem(ReadOptions.__init__.__kwdefaults__, "max_values", 500)
        assert "save it as WFDB, EDF, NPY or HDF5" in refused(capsys, *tokens)
        for file in (folder / "records").iterdir():
            file.unlink()
        headers(str)(folder)
        run(*tokens[: tokens.index("--window") + 2])
    assert "16 of 1 lead and 400 samples" in capsys.readouterr().out


def windows(change: Callable[[dict], dict], name: str = "windows.npz") -> Callable[[Path], Path]:
    """Twelve windows of two leads; `change` gives other arrays."""

    def write(folder: Path) -> Path:
        beats = heartbeats(24, seconds=2).reshape(12, 2, -1)
        content = {"signal": beats, "label": np.arange(12) % 2, "fs": 200, "leads": ["I", "II"]}
        content = content | change(content)
        np.savez(folder / name, **{key: value for key, value in content.items() if value is not None})
        return folder / name

    return write


def table(folder: Path) -> Path:
    """Twelve windows with an empty cell, without a rate."""
    rows = [[*map(repr, beat.tolist()), str(i % 2)] for i, beat in enumerate(heartbeats(12, rate=50, seconds=2))]
    rows[3][5] = ""
    header = [*(f"signal_{i}" for i in range(100)), "label"]
    (folder / "windows.csv").write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    return folder / "windows.csv"


def spoiled(content: dict) -> dict:
    signal = content["signal"].copy()
    signal[3, 1, 7], signal[5] = np.nan, 1.0
    return {"signal": signal}


def one_flat(content: dict) -> dict:
    signal = content["signal"].copy()
    signal[3, 1] = 0
    return {"signal": signal}


WINDOWS = {
    "transposed": (
        windows(lambda content: {"signal": content["signal"].swapaxes(1, 2)}),
        [],
        "--layout NTC",
        ["--layout", "NTC"],
        (12, 2, 400),
    ),
    "names": (windows(lambda _: {"leads": None}), [], "--lead-names", ["--lead-names", "-", "II"], (12, 1, 400)),
    "rate": (windows(lambda _: {"fs": None}), [], "--sampling-rate", ["--sampling-rate", "200"], (12, 2, 400)),
    "not finite, constant": (windows(spoiled), [], "--drop-invalid", ["--drop-invalid"], (10, 2, 400)),
    "lead is flat": (windows(one_flat), ["--lead", "II"], "--drop-invalid", ["--drop-invalid"], (11, 1, 400)),
    "empty cell": (table, ["--sampling-rate", "50"], "--drop-invalid", ["--drop-invalid"], (11, 1, 100)),
}


@pytest.mark.parametrize("case", WINDOWS)
def test_remedies_for_windows(case, folder, capsys, monkeypatch):
    write, given, named, remedy, shape = WINDOWS[case]
    read = []
    trained = SimpleNamespace(summary=str)
    monkeypatch.setattr(ecgtune, "fine_tune", lambda dataset, *_, **__: read.append(dataset) or trained)
    tokens = ["fine-tune", write(folder), "--method", "probe", "--out", folder / "run", *given]
    assert named in refused(capsys, *tokens)
    run(*tokens, *remedy)
    assert read[0].signal.shape == shape
    left_out = 12 - shape[0]
    assert sum(int(re.findall(r"\d+", note)[0]) for note in read[0].source.notes) == left_out

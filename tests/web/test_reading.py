"""The page reads files, and makes windows of recordings, as the Python runtime does."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.signal.path import SignalPath
from ecgtune.data.signal.steps import (
    STEPS,
    Butterworth,
    Decimate,
    Notch,
    Ranks,
    Resample,
    RunningMedian,
    ScaleLeads,
    ScaleWindow,
    StandardiseLeads,
    StandardiseWindow,
    Stretch,
    WindowedSinc,
    steps_to_list,
)
from ecgtune.errors import DataError
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.readers.registry import read_recording
from helpers.browser import node_program
from helpers.clinical_files import hl7
from helpers.recordings import LEADS, dicom_group, digital, write_csv, write_dicom, write_edf, write_wfdb
from helpers.records import heartbeats
from hostile.signals import RECORDINGS

WEB = Path(__file__).resolve().parents[2] / "web"
NODE = node_program()
pytestmark = pytest.mark.skipif(NODE is None, reason="Node is not installed")
TWELVE = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def node(script: str, *arguments: object) -> str:
    """What a script of `web/tests` prints."""
    command = [str(NODE), str(WEB / "tests" / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers(tmp_path: Path, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the page gives for some requests of `web/tests/read.js`."""
    (tmp_path / "requests.json").write_text(json.dumps(requests))
    return [json.loads(line) for line in node("read.js", tmp_path / "requests.json").splitlines()]


def unpacked(texts: list[str]) -> np.ndarray:
    return np.stack([np.frombuffer(base64.b64decode(text), "<f4") for text in texts])


def metadata(path: SignalPath, window: float) -> dict[str, Any]:
    """The part of an exported file's metadata that the windows depend on."""
    data = {"sampling_rate": path.sampling_rate, "samples": round(window * path.sampling_rate)}
    return {"input": {"leads": list(path.leads)}, "data": data | {"signal_path": path.to_dict()}}


VALUES = digital(samples=60)


def _npy(folder: Path, values: np.ndarray, name: str = "rec.npy") -> Path:
    np.save(folder / name, values)
    return folder / name


def _text(folder: Path, name: str, content: str | bytes) -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


def _rows(separator: str = ",", decimal: str = ".", end: str = "\n", head: str = "") -> str:
    rows = [separator.join(f"{value / 1000:.3f}".replace(".", decimal) for value in row) for row in VALUES.T.tolist()]
    return head + end.join([separator.join(LEADS), *rows]) + end


def _interrupted(folder: Path) -> Path:
    path = write_edf(folder / "d.edf", VALUES)
    path.write_bytes(path.read_bytes().replace(b"EDF+C", b"EDF+D").replace(b"+2\x14", b"+6\x14"))
    return path


def _parts(folder: Path) -> Path:
    first = dicom_group(VALUES[:1], offset=0)
    return write_dicom(folder / "p.dcm", [first, dicom_group(VALUES[1:], leads=("II", "V1"), offset=16, padding=7)])


def _any_samples(folder: Path, fmt: str) -> Path:
    """Two channels of random bytes; of format 311 the two bits that no sample has are 0."""
    content = np.random.default_rng(1).integers(0, 256, 24 * 60, dtype=np.uint8)
    if fmt == "311":
        content[3::4] &= 0x3F
    content.tofile(folder / "rec.dat")
    lines = [f"rec.dat {fmt}+24 300.5(12)/uV 12 0 5 0 0 {lead}" for lead in LEADS[:2]]
    return _text(folder, "rec.hea", "\n".join(["# comment", "rec 2 360 100", *lines]))


STATED = {"sampling_rate": 250.0, "unit": "mV"}
NAMED = STATED | {"lead_names": LEADS}
#: Name, what writes the file, and options of the reader.
FILES = {
    "csv": (lambda f: write_csv(f / "a.csv", VALUES / 1000), STATED),
    "csv, semicolons and decimal commas": (lambda f: _text(f, "a.csv", _rows(";", ",")), STATED),
    "csv, sep= and carriage returns": (lambda f: _text(f, "a.csv", _rows(";", ".", "\r\n", "sep=;\r\n")), STATED),
    "csv, tabs in utf-16": (lambda f: _text(f, "a.tsv", _rows("\t").encode("utf-16")), STATED),
    "csv, gaps and empty rows": (lambda f: _text(f, "a.csv", "I,II\n0.1,nan\n,0.2\n\n0.3,NA\n,\n,\n"), STATED),
    "csv, one column": (lambda f: _text(f, "a.csv", "ECG\n0,5\n0,25\n\n1,5e-1\n"), STATED),
    "csv, no names": (lambda f: _text(f, "a.csv", "0.1, 0.2\n.5,1e-2\n"), STATED | {"lead_names": ("V2", "-")}),
    "csv, quotes and times": (lambda f: _text(f, "a.csv", 'time_ms,"I"\n0,"0.5"\n4,1\n8,2\n'), STATED),
    "csv, blank columns": (lambda f: _text(f, "a.csv", "I,II,,\n1,2,,\n3,4,,\n"), STATED),
    "npy": (lambda f: _npy(f, VALUES.astype(np.float32) / 1000), NAMED),
    "npy, float64 in samples x leads": (lambda f: _npy(f, VALUES.T / 1000), NAMED | {"layout": "NTC"}),
    "npy, whole numbers in uV": (lambda f: _npy(f, VALUES.astype(">i2")), NAMED | {"unit": "uV"}),
    "npy, fortran": (lambda f: _npy(f, np.asfortranarray(VALUES * 0.5)), NAMED),
    "npy, half": (lambda f: _npy(f, (VALUES[0] / 1000).astype(np.float16)), STATED),
    **{
        f"wfdb, format {fmt}": (lambda f, fmt=fmt: _any_samples(f, fmt), {})
        for fmt in ("8", "16", "24", "32", "61", "80", "160", "212", "310", "311", "16x2", "212x3", "16:4")
    },
    "wfdb, uV and a baseline": (
        lambda f: write_wfdb(f, VALUES, units=["uV"] * 3, adc_gain=[4.88] * 3, baseline=[-7] * 3),
        {},
    ),
    "edf": (lambda f: write_edf(f / "a.edf", VALUES), {}),
    "edf, mV and another channel": (lambda f: write_edf(f / "a.edf", VALUES, ("I", "Resp", "ECG V5"), unit="mV"), {}),
    "edf, interrupted": (_interrupted, {}),
    "dicom": (lambda f: write_dicom(f / "a.dcm", [dicom_group(VALUES)]), {}),
    "dicom, implicit": (lambda f: write_dicom(f / "a.dcm", [dicom_group(VALUES)], "1.2.840.10008.1.2"), {}),
    "dicom, parts and padding": (_parts, {}),
    "aecg": (lambda f: _text(f, "a.xml", hl7(VALUES, LEADS)), {}),
    "aecg, mV and an origin": (
        lambda f: _text(f, "a.xml", hl7(VALUES, LEADS, step_ms=2.5, scale="0.005", unit="mV", origin="0.1")),
        {},
    ),
}


def request(path: Path, options: dict[str, Any], **more: Any) -> dict[str, Any]:
    files = [str(each) for each in sorted(path.parent.glob(f"{path.stem}.*"))] if path.suffix == ".hea" else [str(path)]
    names = {"sampling_rate": "samplingRate", "unit": "unit", "lead_names": "leadNames", "layout": "layout"}
    return {"files": files, "options": {names[key]: value for key, value in options.items()}, **more}


def written(tmp_path: Path) -> list[Path]:
    """Each of `FILES` in a folder of its own."""
    paths = []
    for number, (write, _) in enumerate(FILES.values()):
        (tmp_path / str(number)).mkdir()
        paths.append(write(tmp_path / str(number)))
    return paths


def test_the_modules_pass_their_own_tests():
    tests = sorted(map(str, (WEB / "tests").glob("*.test.js")))
    done = subprocess.run([str(NODE), "--test", *tests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_damaged_files_give_a_recording_or_a_sentence(tmp_path):
    requests = [request(path, each[1]) for path, each in zip(written(tmp_path), FILES.values(), strict=True)]
    (tmp_path / "requests.json").write_text(json.dumps(requests))
    found = json.loads(node("fuzz.js", tmp_path / "requests.json", 60))
    assert found["read"] > 300
    assert found["sentences"] > 300


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_hostile_recordings_give_a_recording_or_a_sentence(tmp_path, every):
    hostile = dict(list(RECORDINGS.items())[::every])
    requests = {}
    for number, (name, write) in enumerate(hostile.items()):
        (tmp_path / str(number)).mkdir()
        asked = request(write(tmp_path / str(number)), STATED)
        # A browser hands the page the content of files; nobody can choose a pipe.
        if all(Path(file).is_file() for file in asked["files"]):
            requests[name] = asked
    read = 0
    for name, page in zip(requests, answers(tmp_path, list(requests.values())), strict=True):
        read += "error" not in page
        assert re.fullmatch(r"[^\n]{10,600}[.]", page.get("error", "It is a recording.")), (name, page)
        assert "error" in page or 0 < page["rate"] < np.inf, name
    assert read < len(requests) / 2


def test_files_of_every_format_are_read_as_python_reads_them(tmp_path):
    paths = written(tmp_path)
    found = answers(tmp_path, [request(path, each[1]) for path, each in zip(paths, FILES.values(), strict=True)])
    for name, path, (_, options), page in zip(FILES, paths, FILES.values(), found, strict=True):
        expected = read_recording(path, ReadOptions(**options))
        assert "error" not in page, (name, page)
        assert (tuple(page["leads"]), page["rate"]) == (expected.leads, expected.sampling_rate), name
        np.testing.assert_allclose(unpacked(page["signal"]), expected.signal, rtol=2e-7, atol=0, err_msg=name)


RATE = 300.0
#: Signal paths: rate of the windows, resampling, filters, steps, gaps.
PATHS = {
    "as it is": (SignalPath(RATE, ("I", "II"), window=2.0), 2.0),
    "leads that are derived, with overlap": (SignalPath(RATE, ("aVF", "III", "V1"), window=2.0, step=0.5), 2.0),
    "slower": (SignalPath(100, ("I", "V1"), window=2.0), 2.0),
    "faster, another ratio": (SignalPath(360, ("II",), window=2.0), 2.0),
    "linear": (SignalPath(500, ("II",), window=2.0, resampling="linear"), 2.0),
    "filters and a z-score": (
        SignalPath(250, ("I", "II"), window=2.0, band=(0.5, 40.0), mains=50, zscore=True),
        2.0,
    ),
    "repeated": (SignalPath(200, ("I",), window=12.0), 12.0),
}


@pytest.mark.parametrize("gaps", [False, True])
def test_recordings_become_the_same_windows(tmp_path, gaps):
    signal = heartbeats(3, rate=RATE, seconds=8).astype(np.float32)
    signal[1] += 0.7
    if gaps:
        signal[0, 100:120] = np.nan  # interpolated
        signal[1, 900:1100] = np.nan  # between two parts
    write_csv(tmp_path / "a.csv", signal.astype(np.float64))
    options = {"sampling_rate": RATE, "unit": "mV"}
    recording = read_recording(tmp_path / "a.csv", ReadOptions(**options))
    requests = [request(tmp_path / "a.csv", options, metadata=metadata(*each)) for each in PATHS.values()]
    for name, (path, _), page in zip(PATHS, PATHS.values(), answers(tmp_path, requests), strict=True):
        try:
            expected = path(recording.signal, recording.leads, recording.sampling_rate)
        except DataError:
            assert "error" in page, name
            continue
        windows = unpacked(page["windows"]).reshape(expected.windows.shape)
        np.testing.assert_allclose(windows, expected.windows, rtol=0, atol=2e-6, err_msg=name)
        np.testing.assert_allclose(page["start"], expected.start / path.sampling_rate, atol=1e-9)


#: Steps of presets, and the rate of the windows.
PRESETS = {
    "fourier, faster": ((Resample(250, "fourier"),), 100),
    "fourier, slower": ((Resample(123, "fourier"),), 250),
    "linear": ((Resample(500, "linear"), ScaleWindow()), 250),
    "polyphase": ((Resample(500), StandardiseLeads()), 360),
    "notch, band and median": ((Notch(50), Butterworth(0.67, 40, 4), RunningMedian(0.4), StandardiseWindow()), 500),
    "one edge": ((Butterworth(0.67, None, 5), Butterworth(None, 40, 5)), 250),
    "windowed sinc and decimation": ((WindowedSinc(0.05, 47, 0.3), ScaleLeads(), Decimate(5)), 500),
    "leads in a row": ((ScaleLeads(), Decimate(5, leads_in_a_row=True)), 500),
    "ranks": ((Ranks(),), 250),
    "stretch": ((Stretch(700, 100),), 250),
}


def test_steps_of_presets_are_those_of_python(tmp_path):
    signal = heartbeats(2, rate=500, seconds=5).astype(np.float32)
    write_csv(tmp_path / "a.csv", signal.astype(np.float64), LEADS[:2])
    options = {"sampling_rate": 500.0, "unit": "mV"}
    requests = []
    for steps, rate in PRESETS.values():
        facts = metadata(SignalPath(rate, ("I", "II"), window=4.0), 4.0)
        facts["preprocessing"] = {"steps": steps_to_list(steps)}
        requests.append(request(tmp_path / "a.csv", options, metadata=facts))
    for name, (steps, rate), page in zip(PRESETS, PRESETS.values(), answers(tmp_path, requests), strict=True):
        windows = SignalPath(rate, ("I", "II"), window=4.0)(signal, ("I", "II"), 500).windows
        expected = Preprocessing(1.0, normalisation="none", steps=steps)(windows, rate)
        assert "windows" in page, (name, page)
        found = unpacked(page["windows"]).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max(), err_msg=name)
    contents = json.loads((WEB.parent / "src/ecgtune/deployment/page_files/contents.json").read_text())
    assert set(contents["steps"]) <= set(STEPS)  # a page with another step is refused
    assert {type(step).__name__ for steps, _ in PRESETS.values() for step in steps} == set(contents["steps"])


#: Name and content of a file, options, and what the sentence says.
BAD = {
    "spreadsheet": ("a.csv", b"PK\x03\x04....", {}, "spreadsheet"),
    "empty": ("a.csv", b"", {}, "the file is empty"),
    "no rate": ("a.csv", b"I\n1\n2\n", {"unit": "mV"}, "sampling rate"),
    "no unit": ("a.csv", b"I\n1\n2\n", {"sampling_rate": 100}, "unit"),
    "text": ("a.csv", b"I\n1\nhello\n", STATED, "Row 3, column “I”: “hello” is no number"),
    "columns": ("a.csv", b"I,II\n1,2\n1\n", STATED, "Row 3 has 1 column, but the first row has 2"),
    "windows": ("a.csv", b",".join(b"signal_%d" % i for i in range(600)) + b",label\n", STATED, "file of windows"),
    "unknown lead": ("a.csv", b"foo\n1\n2\n", STATED, "Channel 1 of 1 is called “foo”"),
    "times": ("a.csv", b"time_ms,I\n0,1\n2,1\n4,1\n", STATED, "500 Hz (times in ms), but 250 Hz is stated"),
    "type": ("a.pdf", b"%PDF-1.7 ....", {}, "unknown type"),
    "samples alone": ("a.dat", bytes(100), {}, "choose the .hea file together"),
    "header alone": ("a.hea", b"a 1 250 10\na.dat 16 200 16 0 0 0 0 I\n", {}, "choose both files together"),
    "pickle": (
        "a.npy",
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        {},
        "Python",
    ),
    "entities": ("a.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><AnnotatedECG/>', {}, "entities"),
    "other xml": ("a.xml", b"<RestingECG></RestingECG>", {}, "only HL7 aECG"),
    "no lead": ("a.xml", b"<AnnotatedECG></AnnotatedECG>", {}, "no lead in a rhythm series"),
}


def test_files_that_cannot_be_read_give_one_sentence(tmp_path):
    requests = []
    for number, (name, content, options, _) in enumerate(BAD.values()):
        (tmp_path / str(number)).mkdir()
        requests.append(request(_text(tmp_path / str(number), name, content), options))
    for (_, _, _, reason), page in zip(BAD.values(), answers(tmp_path, requests), strict=True):
        assert reason in page.get("error", ""), page
        assert "\n" not in page["error"]
        assert page["error"].endswith(".")


def test_files_that_are_cut_short_say_so(tmp_path):
    wfdb = write_wfdb(tmp_path, VALUES, name="w").with_suffix(".dat")
    edf, dicom = write_edf(tmp_path / "e.edf", VALUES), write_dicom(tmp_path / "d.dcm", [dicom_group(VALUES)])
    for path in (wfdb, edf, dicom):
        path.write_bytes(path.read_bytes()[:-20])
    none = write_dicom(tmp_path / "n.dcm", [])
    paths = (wfdb.with_suffix(".hea"), edf, dicom, none)
    found = answers(tmp_path, [request(path, {}) for path in paths])
    reasons = ("cut short", "cut short", "cut short", "holds no waveform")
    for page, reason in zip(found, reasons, strict=True):
        assert reason in page["error"]

"""Exported files: what they hold, that they prove themselves, and that they predict without torch."""

import base64
import csv
import io
import json
import os
import subprocess
import sys
import tomllib
import zlib
from dataclasses import replace
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ecgtune
from ecgtune.deployment import export as deployment
from ecgtune.errors import DataError, ModelFileError, SettingError
from ecgtune.io.again import read_again
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.runtime import Model
from ecgtune.runtime.exported_file import References, digests, sealed
from helpers.cli import refused, run
from helpers.models import TINY
from helpers.recordings import write_csv, write_dicom
from helpers.records import heartbeats, write_record
from helpers.settings import loop

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on a file of windows of recordings, and its export; made once, since torch's exporter takes seconds."""
    path = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGTUNE_CACHE", str(path / "cache"))
        data = ecgtune.simulate(60, seed=1)
        record = np.array([f"r{number // 3:02}" for number in range(60)])
        np.savez(path / "windows.npz", signal=data.signal, label=data.label, record=record, sampling_rate=100)
        (path / "encoder").mkdir()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            save_encoder(EcgFM(replace(TINY, depth=1)), path / "encoder", {})
        recipe = ecgtune.Recipe(
            method=ecgtune.LoRA(rank=2), **loop(epochs=2, batch_size=8, device="cpu", precision="fp32")._asdict()
        )
        read = ecgtune.read_dataset(path / "windows.npz")
        model = ecgtune.load_model(path / "encoder", classes=read.classes)
        ecgtune.fine_tune(read, recipe, model=model, out=path / "run")
        graphs = {}

        def to_onnx(graph, leads, samples):
            """Traced once for all exports at this rate."""
            key = (type(graph.resampling), samples)
            if key not in graphs:
                graphs[key] = original(graph, leads, samples)
            return replace(graphs[key], model=onnx.ModelProto.FromString(graphs[key].model.SerializeToString()))

        original = deployment.to_onnx
        patch.setattr(deployment, "to_onnx", to_onnx)
        run("export", path / "run", path / "model.onnx")
        yield path


@pytest.fixture(autouse=True)
def _own_cache(folder, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(folder / "cache"))


@pytest.fixture(scope="module")
def model(folder):
    return Model(folder / "model.onnx")


def test_the_file_predicts_what_the_run_predicts(folder, model):
    loaded = ecgtune.load_run(folder / "run")
    signal = ecgtune.read_dataset(folder / "windows.npz").signal
    np.testing.assert_allclose(model.predict(signal), loaded.predict(signal), rtol=0, atol=1e-6)
    assert model.classify(signal) == loaded.classify(signal)
    assert (model.classes, model.leads, model.threshold) == (loaded.classes, loaded.leads, loaded.threshold)
    assert model.summary() == loaded.summary()
    faster = ecgtune.simulate(4, sampling_rate=250).signal
    np.testing.assert_allclose(model.predict(faster, 250), loaded.predict(faster, 250), rtol=0, atol=1e-6)


def test_the_file_says_what_it_is(folder, model):
    facts = model.metadata
    assert facts["input"] == {
        "name": "signal",
        "leads": ["II"],
        "sampling_rate": 100,
        "samples": 600,
        "any_length": True,
        "unit": "any (each window is normalised)",
    }
    assert facts["decision"] == {"value": 0.5, "rule": "fixed"}
    assert (facts["window"], facts["step"], facts["recording"], facts["precision"]) == (6, 6, "mean", "float32")
    assert facts["notice"] == "Research software: not a medical device."
    assert facts["encoder"]["licence"] == "unknown"
    assert set(facts["run"]["files"]) >= {"model.json", "head.safetensors"}
    assert facts["versions"]["torch"] == torch.__version__
    report = json.loads((folder / "model.verification.json").read_text())
    assert facts["verification"] == report
    assert "test windows of the run" in report["windows"]
    assert report["kernels"]["usual"]["largest_difference"] < 1e-6
    assert report["kernels"]["usual"]["recordings"]["count"] < report["kernels"]["usual"]["count"]
    assert set(report["seconds_per_window"]) == {"torch", "onnxruntime"}
    content = (folder / "model.onnx").read_bytes()
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    assert b"stack_trace" not in content
    assert str(folder).encode() not in content


def test_recordings_go_through_the_signal_path(folder, model, tmp_path):
    loaded = ecgtune.load_run(folder / "run")
    signal = heartbeats(2, seconds=14)
    write_record(tmp_path, "two", signal, leads=("II", "V1"))
    found = model.predict(tmp_path / "two.hea")
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found, loaded.predict(tmp_path / "two.hea"), rtol=0, atol=1e-6)
    same = model.predict(signal, 200, leads=("II", "V1"))
    np.testing.assert_allclose(same, found, atol=1e-2)  # a file holds whole steps of its converter
    with pytest.raises(DataError, match="has none of the leads II, only V1, V2"):
        model.predict(signal, 200, leads=("V1", "V2"))


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        (np.zeros((2, 3, 600)), r"allowed: \(windows, 1, samples\)"),
        (np.zeros(300), "windows of 3 s, but the run was trained on windows of 6 s"),
        (np.full(600, np.nan), "NaN or infinite"),
    ],
)
def test_signals_that_do_not_fit_are_one_line(model, signal, reason):
    with pytest.raises(DataError, match=reason):
        model.predict(signal)


def test_a_recording_of_a_million_samples_is_cut_into_windows(model):
    signal = np.tile(ecgtune.simulate(20, seed=3).signal.reshape(1, -1), 84)[:, :1_000_000]
    assert model.predict(signal, 100, leads=("II",)).shape == (1666, 2)


def test_a_run_becomes_a_page_without_an_export_beside_it(folder, tmp_path, capsys):
    run("page", folder / "run", tmp_path / "page.html", "--title", "Runs")
    assert "<h1>Runs</h1>" in (tmp_path / "page.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_file_that_has_changed_is_refused(folder, tmp_path, capsys):
    content = (folder / "model.onnx").read_bytes()
    for name, changed, reason in (
        ("bit", content[:5000] + bytes([content[5000] ^ 1]) + content[5001:], "checksum"),
        ("cut", content[:-400], "cut off"),
        ("other", b"no model at all" * 20, "was not written by ecgtune export"),
        ("empty", b"", "was not written by ecgtune export"),
        ("foreign", sealed(b"no graph", {"format": 1}), "cannot open it"),
    ):
        (tmp_path / f"{name}.onnx").write_bytes(changed)
        with pytest.raises(ModelFileError, match=reason):
            Model(tmp_path / f"{name}.onnx")
        assert reason in refused(capsys, "predict", tmp_path / f"{name}.onnx", folder / "windows.npz")
    with pytest.raises(ModelFileError, match="No such file"):
        Model(tmp_path / "nowhere.onnx")


def table(file):
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_predict_writes_the_tables_of_the_run(folder, tmp_path):
    for name in ("run", "model.onnx"):
        run("predict", folder / name, folder / "windows.npz", "--out", tmp_path / name, "--quiet")
    for file in ("predictions.csv", "recordings.csv"):
        of_run, of_file = (table(tmp_path / name / file) for name in ("run", "model.onnx"))
        assert [list(row) for row in of_run] == [list(row) for row in of_file]
        for one, other in zip(of_run, of_file, strict=True):
            keys = [key for key in one if "probability" in key or key == "confidence"]
            numbers = [(float(one.pop(key)), float(other.pop(key))) for key in keys]
            assert one == other
            np.testing.assert_allclose(*np.transpose(numbers), rtol=0, atol=1e-6)


def test_verify_repeats_the_comparison(folder, tmp_path, capsys):
    run("verify", folder / "model.onnx")
    assert "64 simulated windows" in capsys.readouterr().out
    run("verify", folder / "model.onnx", folder / "windows.npz", "--out", tmp_path / "again.json")
    shown = capsys.readouterr().out
    first = json.loads((folder / "model.verification.json").read_text())["kernels"]["usual"]
    again = json.loads((tmp_path / "again.json").read_text())["kernels"]["usual"]
    assert (again["count"], again["auroc"]) == (first["count"], pytest.approx(first["auroc"]))
    assert again["recordings"]["count"] == first["recordings"]["count"]
    assert f"{first['count']} test windows of the run" in shown
    np.savez(tmp_path / "others.npz", signal=ecgtune.simulate(4, seed=9).signal, label=[0, 1, 0, 1], sampling_rate=100)
    assert "none of the 4 windows" in refused(capsys, "verify", folder / "model.onnx", tmp_path / "others.npz")


def broken(model):
    """A graph with a convolution that is a little off."""
    weight = next(each for each in model.graph.initializer if each.name.endswith("stem.1.conv.weight"))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
    return model


def test_an_export_that_predicts_otherwise_is_refused_and_leaves_nothing(folder, tmp_path, monkeypatch, capsys):
    original = deployment.to_onnx

    def to_onnx(*arguments):
        made = original(*arguments)
        return replace(made, model=broken(made.model))

    monkeypatch.setattr(deployment, "to_onnx", to_onnx)
    message = refused(capsys, "export", folder / "run", tmp_path / "model.onnx")
    assert "does not predict as the run does, so nothing is written" in message
    assert "float32: probabilities of windows differ" in message
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(deployment, "FORMATS", {"worse": lambda model, windows: noise(model)})
    assert "worse: " in refused(capsys, "export", folder / "run", tmp_path / "model.onnx", "--int8")


def noise(model):
    """A graph whose head gives the other class."""
    weight = next(each for each in model.graph.initializer if each.name.endswith("head.0.weight"))
    weight.CopyFrom(numpy_helper.from_array(-9 * numpy_helper.to_array(weight), weight.name))
    return model


def test_int8_is_right_with_both_kinds_of_kernels(folder, tmp_path):
    run("export", folder / "run", tmp_path / "small.onnx", "--int8")
    report = Model(tmp_path / "small.onnx").metadata["verification"]
    assert report["precision"] == "int8"
    for kernel in ("usual", "exact"):
        assert report["kernels"][kernel]["changed_fraction"] <= 0.005
    assert report["kernels"]["usual"]["largest_difference"] == pytest.approx(
        report["kernels"]["exact"]["largest_difference"], abs=1e-4
    )
    with pytest.raises(SettingError, match="an exported file has one, int8"):
        Model(tmp_path / "small.onnx").predict(np.zeros(600), precision="fp32")


def test_without_the_data_it_verifies_on_simulated_windows_and_says_so(folder, tmp_path, capsys):
    moved = folder / "moved.npz"
    (folder / "windows.npz").rename(moved)
    try:
        run("export", folder / "run", tmp_path / "model.onnx")
        assert "simulated windows, because the data of the run cannot be read again" in capsys.readouterr().out
        run("export", folder / "run", tmp_path / "model.onnx", "--verify", moved)
        assert f"60 windows of {moved.name}" in capsys.readouterr().out
        run("export", folder / "run", tmp_path / "model.onnx", "--verify", moved, "--verify-windows", "7")
        assert f"7 of 60 windows of {moved.name}" in capsys.readouterr().out
    finally:
        moved.rename(folder / "windows.npz")
    np.savez(tmp_path / "classes.npz", signal=np.eye(600)[:6], label=[*"aabbcc"], sampling_rate=100)
    message = refused(capsys, "export", folder / "run", tmp_path / "no.onnx", "--verify", tmp_path / "classes.npz")
    assert "has the labels a, b, c of II, but the run has 0, 1 of II" in message


def test_a_part_of_the_test_windows_verifies(folder, tmp_path, capsys):
    run("export", folder / "run", tmp_path / "model.onnx", "--verify-windows", "3")
    report = Model(tmp_path / "model.onnx").metadata["verification"]
    assert report["windows"].startswith("3 of ")
    assert report["kernels"]["usual"]["count"] == 3
    message = refused(capsys, "export", folder / "run", tmp_path / "no.onnx", "--verify-windows", "0")
    assert "verify_windows is 0; allowed: 1 or more" in message


def array(path, **arrays):
    """A file of windows."""
    np.savez(path, **({"signal": ecgtune.simulate(2, seed=3).signal[:, 0], "sampling_rate": 100} | arrays))


def truncated(path):
    write_record(path.parent, path.stem, heartbeats(1)[0])
    file = path.with_suffix(".dat")
    file.write_bytes(file.read_bytes()[:1000])


BAD = {
    "nan.npz": (lambda path: array(path, signal=np.full((2, 600), np.nan)), "is no finite number"),
    "short.npz": (lambda path: array(path, signal=np.ones((2, 300)).cumsum(axis=1)), "trained on windows of 6 s"),
    "lead.npz": (lambda path: array(path, leads=["V1"]), "has no lead II, its leads are V1"),
    "two.npz": (lambda path: array(path, signal=np.zeros((2, 2, 600))), "channel 1 of 2 has no name"),
    "lead.hea": (
        lambda path: write_record(path.parent, path.stem, heartbeats(1)[0], leads=("V1",)),
        "has none of the leads II, only V1",
    ),
    "gaps.hea": (
        lambda path: write_record(path.parent, path.stem, np.full(2000, np.nan)),
        "no sample of any lead is a number",
    ),
    "torn.hea": (truncated, "torn.dat"),
    "image.dcm": (lambda path: write_dicom(path, []), "holds no waveform"),
    "text.hea": (lambda path: path.write_text("no header at all"), "text.hea"),
    "empty.csv": (lambda path: path.write_text(""), "empty"),
    "words.csv": (lambda path: path.write_text("a;b\nx;y\n"), "words.csv"),
    "rows.csv": (
        lambda path: write_csv(path, heartbeats(1), ("II",)),
        "if it is a recording of one lead, give its folder",
    ),
    "leads.csv": (
        lambda path: write_csv(path, heartbeats(8), ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2")),
        "has 2 samples in a window; if these are the leads of a recording, give its folder",
    ),
    "few.csv": (
        lambda path: write_csv(path, heartbeats(3), ("I", "II", "V1")),
        "1 sample in a window; at least 2 are needed; a recording is read from its folder",
    ),
    "nowhere.hea": (lambda path: None, "no such file"),
    "notes.txt": (lambda path: path.write_text("notes"), "unknown file type '.txt'"),
}


@pytest.mark.parametrize("name", BAD)
def test_signals_that_an_exported_file_cannot_take_are_one_line(folder, tmp_path, capsys, name):
    make, reason = BAD[name]
    make(tmp_path / name)
    message = refused(capsys, "predict", folder / "model.onnx", tmp_path / name, "--out", tmp_path / "out", "--quiet")
    assert reason in message
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_a_csv_with_other_separators_is_predicted(folder, tmp_path):
    signal = ecgtune.simulate(3, seed=3).signal[:, 0]
    rows = [";".join(f"{value:.6f}".replace(".", ",") for value in row) for row in signal]
    header = ";".join(f"signal_{number}" for number in range(600))
    (tmp_path / "german.csv").write_text("\n".join([header, *rows]) + "\n")
    run("predict", folder / "model.onnx", tmp_path / "german.csv", "--out", tmp_path / "out", "--quiet")
    found = [float(row["probability_1"]) for row in table(tmp_path / "out" / "predictions.csv")]
    np.testing.assert_allclose(found, Model(folder / "model.onnx").predict(signal)[:, 1], rtol=0, atol=1e-4)


def test_bad_arguments_are_one_line(folder, tmp_path, capsys):
    assert "is named .onnx" in refused(capsys, "export", folder / "run", tmp_path / "model.pt")
    assert "allowed" in refused(capsys, "export", tmp_path, tmp_path / "model.onnx")
    assert "is used alone" in refused(
        capsys, "predict", folder / "model.onnx", folder / "windows.npz", "--ensemble", folder / "run"
    )
    assert "compute on the CPU" in refused(
        capsys, "predict", folder / "model.onnx", folder / "windows.npz", "--device", "cuda"
    )


def distributions(project) -> set[str]:
    """The distributions that a project's pyproject.toml installs, with what they need themselves."""
    found, asked = set(), tomllib.loads(project.read_text())["project"]["dependencies"]
    while asked:
        needed = Requirement(asked.pop())
        name = canonicalize_name(needed.name)
        if name not in found and (needed.marker is None or needed.marker.evaluate({"extra": ""})):
            found.add(name)
            asked += requires(name) or []
    return found


def test_it_predicts_and_verifies_without_torch_and_scipy(folder, tmp_path):
    """Nor anything else that `packaging/runtime` does not install, nor the large libraries of other formats."""
    installed = {"ecgtune", *distributions(ROOT / "packaging" / "runtime" / "pyproject.toml")}
    installed -= {"scipy", "wfdb", "pandas", "pyarrow"}
    owners = packages_distributions().items()
    blocked = {module for module, names in owners if not installed & {canonicalize_name(name) for name in names}}
    assert {"torch", "peft", "scipy", "safetensors"} <= blocked
    write_record(folder, "recording", heartbeats(1, rate=100, seconds=6), rate=100)
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
from ecgtune.cli.main import main
import ecgtune
main(["predict", "model.onnx", "windows.npz", "--out", {str(tmp_path / "out")!r}, "--quiet"])
main(["verify", "model.onnx", "windows.npz"])
print(ecgtune.runtime.Model("model.onnx").predict(ecgtune.simulate(2).signal).shape)
ecgtune.runtime.Model("model.onnx").predict("recording.hea")
main(["fine-tune", "windows.npz"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "60 windows of 20 recordings" in done.stdout
    assert "(2, 2)" in done.stdout
    assert done.stderr.strip().splitlines()[-1] == (
        "error: fine-tune needs torch, which is not installed; pip install ecgtune"
    )
    assert len(table(tmp_path / "out" / "recordings.csv")) == 20


@pytest.mark.parametrize("limit", [None, 40])
def test_a_dataset_is_read_again_by_its_source(folder, limit, tmp_path):
    settings = ecgtune.WindowSettings(limit=limit and np.int64(limit))
    data = ecgtune.read_dataset(folder / "windows.npz", sampling_rate=np.float32(100), settings=settings)
    again = read_again(json.loads(json.dumps(data.source.reading)), data.source.sha256)
    np.testing.assert_array_equal(again.signal, data.signal)
    np.testing.assert_array_equal(again.label, data.label)
    names = ("val_file", "test_file", "label", "labels", "label_separator", "positive", "unit", "lead_names", "layout")
    earlier = {**dict.fromkeys(names), "missing": [], "drop_invalid": False, **data.source.reading}
    assert read_again(earlier, data.source.sha256).source.reading == data.source.reading
    for number in range(4):
        write_record(tmp_path / "records", f"r{number}", heartbeats(2, seconds=7, seed=number), leads=("I", "II"))
    (tmp_path / "labels.csv").write_text("record,MI\n" + "".join(f"r{number},{number % 2}\n" for number in range(4)))
    settings = ecgtune.RecordSettings(sampling_rate=100, leads=("II",), window=3, band=(0.5, 40))
    data = ecgtune.read_records(tmp_path / "labels.csv", tmp_path / "records", settings=settings)
    again = read_again(json.loads(json.dumps(data.source.reading)), data.source.sha256)
    np.testing.assert_array_equal(again.signal, data.signal)
    with pytest.raises(DataError, match="has changed since the training"):
        read_again(data.source.reading, "another")
    with pytest.raises(DataError, match="Python session"):
        read_again(None, "any")


def test_references_keep_digests_and_no_samples():
    signal = np.random.default_rng(0).standard_normal((5, 1, 20)).astype(np.float32)
    probability = np.linspace(0, 1, 10, dtype=np.float32).reshape(5, 2)
    label, recording = np.array([0, 1, 1, 0, -1], np.int8), np.arange(5, dtype=np.int32)
    kept = References(digests(signal), probability, label, recording)
    again = References.unpacked(kept.packed(), Path("model.onnx"), 2)
    for name in ("digest", "probability", "label", "recording"):
        np.testing.assert_array_equal(getattr(again, name), getattr(kept, name))
    assert digests(signal[::-1]).tolist() == digests(signal)[::-1].tolist()


def packed(content):
    return base64.b64encode(zlib.compress(content)).decode()


def archive(save, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return packed(buffer.getvalue())


def one_array():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(5, np.uint64))
    return packed(buffer.getvalue())


def stored(**changes):
    arrays = {"digest": np.zeros(5, np.uint64), "probability": np.zeros((5, 2), np.float32)}
    arrays |= {"label": np.zeros(5, np.int8), "recording": np.zeros(5, np.int32)}
    return archive(np.savez, **arrays | changes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (lambda: packed(bytes(65 << 20)), "unpack to more than"),
        (lambda: packed(b"text" * 1000)[:40], "cut off"),
        (lambda: archive(np.savez_compressed, digest=np.zeros(100)), "packed twice"),
        (lambda: archive(np.savez, digest=np.zeros(1)), "probability"),
        (lambda: archive(np.savez, digest=np.array([None])), "allow_pickle"),
        (lambda: "####", "cannot be read"),
        (lambda: one_array(), "not a zip file"),
        (lambda: stored(probability=np.zeros((5, 2))), "probability is float64"),
        (lambda: stored(probability=np.zeros((5, 3), np.float32)), r"probability is float32 of shape \(5, 3\)"),
        (lambda: stored(label=np.zeros(4, np.int8)), r"label is int8 of shape \(4,\)"),
        (lambda: stored(novelty=np.full(5, np.inf, np.float32)), "not finite"),
    ],
    ids=[
        "bomb",
        "cut off",
        "packed twice",
        "lacks arrays",
        "pickle",
        "no base64",
        "array",
        "type",
        "classes",
        "n",
        "inf",
    ],
)
def test_references_that_are_no_references_are_refused_in_bounded_memory(text, reason):
    with pytest.raises(ModelFileError, match=rf"model.onnx: its reference .*{reason}"):
        References.unpacked(text(), Path("model.onnx"), 2)


@pytest.mark.slow
def test_the_runtime_distribution_predicts(folder, tmp_path):
    """An environment of its own, from the registry: neither torch nor weights are in it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", tmp_path / "venv" / "bin" / "python"]
    subprocess.run([*pip, "install", "-q", "--no-compile", ROOT / "packaging" / "runtime"], check=True)
    command = [tmp_path / "venv" / "bin" / "ecgtune", "predict", "model.onnx", "windows.npz", "--out", tmp_path / "out"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=folder, env=environment, check=True)
    assert len(table(tmp_path / "out" / "recordings.csv")) == 20
    installed = {path.name for path in tmp_path.glob("venv/lib/*/site-packages/*")}
    assert "ecgtune" in installed
    assert not installed & {"torch", "peft", "safetensors"}
    assert not list(tmp_path.glob("venv/lib/*/site-packages/ecgtune/**/*.safetensors"))

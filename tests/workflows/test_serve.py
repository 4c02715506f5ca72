"""The server: predictions of `ecgtune predict` over HTTP, several models at once, and refusals in one line."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

import ecgtune
from ecgtune.cli.main import main
from ecgtune.deployment.run import read_run, share_weights
from ecgtune.errors import SettingError
from ecgtune.workflows.serve import application, named_models
from helpers.cli import refused
from helpers.records import heartbeats, write_record

LOOP = {"epochs": 1, "batch_size": 16, "device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def place(tmp_path_factory, encoder):
    """Two runs of LoRA on one encoder, an exported file of the first, and a WFDB record."""
    folder = tmp_path_factory.mktemp("serve")
    for name, seed in (("af", 0), ("mi", 1)):
        recipe = ecgtune.recipe(ecgtune.LoRA(rank=2), **LOOP)
        data = ecgtune.simulate(60, seed=seed)
        ecgtune.fine_tune(data, recipe, model=encoder, out=folder / "runs" / name)
    ecgtune.export(folder / "runs/af", folder / "runs/exported.onnx")
    write_record(folder / "recordings", "r00", heartbeats(1, seconds=14), leads=("II",))
    return folder


@pytest.fixture(scope="module")
def models(place):
    return named_models([place / "runs/af", place / "runs/mi", place / "runs/exported.onnx"])


@pytest.fixture
def client(models):
    return TestClient(application(models), base_url="http://127.0.0.1")


def files(place, *names):
    return [("file", (name, (place / "recordings" / name).read_bytes())) for name in names]


def told(response, status):
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}
    assert "\n" not in response.json()["error"]
    return response.json()["error"]


def test_models_are_named_by_their_paths_and_described(client, models):
    found = client.get("/").json()
    assert list(found["models"]) == ["af", "mi", "exported"]
    one = found["models"]["af"]
    assert (one["task"], one["leads"], one["sampling_rate"], one["window_seconds"]) == ("binary", ["II"], 100.0, 6.0)
    assert one["decision"]["value"] == models["af"].threshold
    assert found["notice"] == "Research software: not a medical device."


def test_the_answer_is_that_of_the_command(client, place, tmp_path):
    found = client.post("/predict/af", files=files(place, "r00.hea", "r00.dat")).json()["predictions"]
    assert main(["predict", str(place / "runs/af"), str(place / "recordings"), "--out", str(tmp_path / "out")]) is None
    for name, table in (("recordings", "recordings.csv"), ("windows", "predictions.csv")):
        with (tmp_path / "out" / table).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [{key: str(value) for key, value in row.items()} for row in found["af"][name]] == rows
    assert found["af"]["skipped"] == {}


def test_all_models_answer_one_recording(client, place):
    record = files(place, "r00.hea", "r00.dat")
    found = client.post("/predict", files=record).json()["predictions"]
    assert list(found) == ["af", "mi", "exported"]
    for name, own in found.items():
        alone = client.post(f"/predict/{name}", files=record).json()["predictions"][name]
        assert own == alone
    column = next(key for key in found["af"]["recordings"][0] if key.startswith("probability_"))
    same = [found[name]["recordings"][0][column] for name in ("af", "exported")]
    assert same[0] == pytest.approx(same[1], abs=1e-5)
    assert found["mi"]["recordings"][0][column] != same[0]


def test_a_signal_in_json(client, models):
    signal = heartbeats(1, seconds=9)
    asked = {"signal": signal.tolist(), "leads": ["II"], "sampling_rate": 200, "unit": "mV"}
    assert "unknown settings leads; allowed: sampling_rate" in told(client.post("/predict/af", json=asked), 422)
    asked["lead_names"] = asked.pop("leads")
    found = client.post("/predict/af", json=asked).json()["predictions"]["af"]
    expected = models["af"].predict(signal, 200, leads=["II"])
    column = next(key for key in found["windows"][0] if key.startswith("probability_"))
    np.testing.assert_allclose([row[column] for row in found["windows"]], expected[:, 1], atol=1e-6)


def test_settings_of_a_form(client, place):
    record = files(place, "r00.hea", "r00.dat")
    found = client.post("/predict/af", files=record, data={"step": "2", "recording": "maximum"}).json()
    assert len(found["predictions"]["af"]["windows"]) == 5


@pytest.mark.parametrize(
    ("request_of", "status", "message"),
    [
        ({"url": "/predict/nobody"}, 404, "no model 'nobody'; there are af, mi, exported"),
        ({"content": b"1,2,3"}, 400, "send a form of files"),
        ({"json": {"sampling_rate": 100}}, 400, "numbers in signal"),
        ({"json": {"signal": [[1], [1, 2]]}}, 400, "numbers in signal"),
        ({"json": {"signal": [1, 2]}}, 400, "signal has 1 dimensions"),
        ({"json": {"signal": [[0.0] * 900]}}, 422, "give it with unit"),
        ({"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, 400, "numbers in signal"),
        ({"data": {"unit": "mV"}, "files": {"other": ("a.edf", b"x")}}, 400, "files are called file, not other"),
        ({"files": {"file": ("..", b"x")}}, 400, "a file needs a name"),
        ({"files": {"file": ("a.edf", b"x" * 500)}}, 422, "a.edf"),
        ({"files": [("file", ("a.edf", b"x")), ("file", ("a.edf", b"x"))]}, 400, "two files are called a.edf"),
        ({"files": {"file": ("a.edf", b"x")}, "data": {"workers": "99"}}, 422, "unknown settings workers"),
        ({"files": {"file": ("a.edf", b"x")}, "data": {"unit": "volt"}}, 422, "unit"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_request_is_one_line(client, request_of, status, message):
    request = {"url": "/predict/af", **request_of}
    found = told(client.post(request.pop("url"), **request), status)
    assert message in found
    assert "/tmp" not in found
    assert "--" not in found


def test_a_name_with_folders_stays_in_its_folder(client, place):
    content = (place / "recordings/r00.dat").read_bytes()
    told(client.post("/predict/af", files={"file": ("../../../evil.edf", content)}), 422)
    assert not list(place.rglob("evil.edf"))


def test_a_large_request_and_another_host_are_refused(models, place):
    client = TestClient(application(models, ecgtune.ServeSettings(largest_upload=0.001)), base_url="http://127.0.0.1")
    assert "larger than 0.001 MB" in told(client.post("/predict/af", files=files(place, "r00.dat")), 413)
    other = TestClient(application(models), base_url="http://evil.example")
    assert other.get("/").status_code == 400


def test_runs_on_one_encoder_hold_it_once(place):
    runs = [read_run(place / "runs" / name) for name in ("af", "mi")]
    signal = ecgtune.simulate(3, seed=5).signal
    before = [run.predict(signal) for run in runs]
    size = sum(tensor.nbytes for tensor in runs[1].model.parameters())
    assert share_weights(runs) > 0.8 * size
    for run, expected in zip(runs, before, strict=True):
        np.testing.assert_array_equal(run.predict(signal), expected)


def test_a_process_listens_answers_and_stops(place):
    command = [sys.executable, "-m", "ecgtune", "serve", str(place / "runs/exported.onnx"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[0]
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert list(json.load(answer)["models"]) == ["exported"]
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) in (0, -signal.SIGTERM)
        assert server.stderr is not None
        assert "Traceback" not in server.stderr.read()


@pytest.mark.slow
def test_the_page_runs(place, tmp_path):
    """Its server, its form and its program; the commands before them are run by tests/test_pages.py."""
    text = (Path(__file__).parents[2] / "docs/howto/serve.md").read_text("utf-8")
    start, form = (shlex.split(line) for line in re.findall(r"```console\n(.*?)\n```", text, flags=re.DOTALL))
    (program,) = re.findall(r"```py\n(.*?)```", text, flags=re.DOTALL)
    start[start.index("--port") + 1] = "0"
    with subprocess.Popen([sys.executable, "-m", *start], cwd=place, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[0]
            sent = [word.replace("http://127.0.0.1:8000", address) for word in form]
            if shutil.which("curl"):
                answer = subprocess.run([*sent, "--silent"], cwd=place, capture_output=True, text=True, check=True)
                assert list(json.loads(answer.stdout)["predictions"]) == ["af", "exported"]
            program = program.replace("http://127.0.0.1:8000", address)
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
            assert "'prediction'" in done.stdout
        finally:
            server.terminate()


def test_what_cannot_be_served(capsys, place, tmp_path):
    assert "no model is given" in refused(capsys, "serve")
    assert "two models are called 'a'" in refused(capsys, "serve", *_twice(place, tmp_path))
    with pytest.raises(SettingError, match="port is 70000"):
        ecgtune.ServeSettings(port=70000)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "give another --port" in refused(capsys, "serve", place / "runs/exported.onnx", "--port", port)


def _twice(place, tmp_path):
    os.symlink(place / "runs/af", tmp_path / "b")
    content = (place / "runs/exported.onnx").read_bytes()
    (tmp_path / "a.onnx").write_bytes(content)
    (tmp_path / "a.bin").write_bytes(content)
    return tmp_path / "a.onnx", tmp_path / "a.bin"

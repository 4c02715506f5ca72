"""The page of a model: what it holds, and that the committed files are those of its sources."""

import base64
import gzip
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ecgtune
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.signal.path import SignalPath
from ecgtune.deployment import page as deployment
from ecgtune.errors import SettingError
from helpers.browser import node_program
from helpers.cli import refused, run
from helpers.exported import write_exported

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "src" / "ecgtune" / "deployment" / "page_files"


@pytest.fixture
def model(tmp_path) -> Path:
    return write_exported(tmp_path / "model.onnx", signal_path=SignalPath(100, ("II",), window=6.0))


def place(page: str, name: str) -> bytes:
    found = re.search(rf'<script type="text/plain" id="{name}">([^<]+)</script>', page)
    assert found is not None
    return gzip.decompress(base64.b64decode(found[1]))


def test_the_page_holds_the_model_and_its_runtime(tmp_path, model, capsys):
    run("page", model, tmp_path / "page.html", "--title", "Atrial <fibrillation>")
    page = (tmp_path / "page.html").read_text()
    assert f"page: {tmp_path / 'page.html'} (" in capsys.readouterr().out
    assert place(page, "model") == model.read_bytes()
    assert place(page, "runtime")[:4] == b"\0asm"
    assert page.count("Atrial &lt;fibrillation&gt;") == 2
    assert not re.search("@@[A-Z]+@@", page)
    assert "Permission is hereby granted" in page  # the licence of the runtime


def test_the_page_may_load_nothing(tmp_path, model):
    page = ecgtune.page(model, tmp_path / "page.html").read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    assert "unsafe-inline" not in policy[1]
    script = page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy[1]
    assert not re.search(r'(src|href)="(?!data:,)', page)
    assert ecgtune.page(model, tmp_path / "again.html").read_text() == page


def test_labels_are_the_heading(tmp_path):
    path = SignalPath(100, ("II",), window=6.0)
    many = tuple(f"label {number}" for number in range(20))
    for task, classes, expected in [
        ("binary", ("N", "AF"), "ECG: AF"),
        ("binary", ("0", "1"), "ECG: class 1"),
        ("binary", ("N", "A\u202eF<"), r"ECG: A\u202eF&lt;"),
        ("multilabel", ("MI", "HYP"), "ECG: MI, HYP"),
        ("multilabel", many, f"ECG: {', '.join(many)}"[:78] + " …"),
    ]:
        model = write_exported(tmp_path / "m.onnx", signal_path=path, classes=classes, task=task)
        assert f"<title>{expected}</title>" in ecgtune.page(model, tmp_path / "page.html").read_text()


def test_models_that_give_no_page_are_refused(tmp_path, model, monkeypatch, capsys):
    page = tmp_path / "page.html"
    assert "a page is named .html" in refused(capsys, "page", model, tmp_path / "page.txt")
    assert "is exported already" in refused(capsys, "page", model, page, "--int8")
    assert "no such file" in refused(capsys, "page", tmp_path / "none.onnx", page)
    assert "holds no run with a model" in refused(capsys, "page", tmp_path, page)
    monkeypatch.setattr(deployment, "LARGEST_MODEL", 1000)
    with pytest.raises(SettingError, match=r"a page holds models of at most 1\.0 kB"):
        ecgtune.page(model, page)
    monkeypatch.undo()
    changed = bytearray(model.read_bytes())
    changed[100] ^= 1
    model.write_bytes(changed)
    assert "checksum" in refused(capsys, "page", model, page)
    assert not page.exists()


def test_an_exported_file_needs_no_torch(tmp_path, model):
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from ecgtune.cli.main import main\n"
        f"main(['page', {str(model)!r}, {str(tmp_path / 'page.html')!r}])"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert (tmp_path / "page.html").is_file()


def test_a_step_that_the_page_does_not_know_is_refused(tmp_path, monkeypatch):
    facts = Preprocessing(100.0, normalisation="none").to_dict() | {"steps": [{"step": "Ranks"}]}
    path = SignalPath(100, ("II",), window=6.0)
    model = write_exported(tmp_path / "model.onnx", signal_path=path, preprocessing=facts)
    assert ecgtune.page(model, tmp_path / "page.html").is_file()
    monkeypatch.setattr(deployment, "page_contents", lambda: {"steps": ["Resample"]})
    with pytest.raises(SettingError, match=r"step Ranks, which a page does not compute \(Resample\)"):
        ecgtune.page(model, tmp_path / "page.html")


def test_committed_files_have_the_stated_contents():
    contents = deployment.page_contents()
    for name, digest in contents["sha256"].items():
        assert hashlib.sha256(deployment.page_file(name)).hexdigest() == digest
    assert sum(file.stat().st_size for file in FILES.iterdir()) < 6_000_000
    package = json.loads((ROOT / "web" / "package.json").read_text())
    assert contents["onnxruntime-web"] == {
        "version": package["devDependencies"]["onnxruntime-web"],
        "license": "MIT",
    }


def test_committed_files_are_built_from_the_sources(tmp_path):
    node = node_program()
    if node is None or not (ROOT / "web" / "node_modules" / "esbuild").is_dir():
        pytest.skip("the tools that build the page are not installed; make web installs them")
    subprocess.run([node, "build.js", str(tmp_path)], cwd=ROOT / "web", check=True)
    assert (tmp_path / "contents.json").read_bytes() == (FILES / "contents.json").read_bytes()

"""Checks of the supply chain: what they refuse, and the oldest versions that are allowed."""

import importlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "packaging").is_dir(), reason="not in the sdist")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    return importlib.import_module


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("BSD-3-Clause AND Zlib", True),
        ("Apache Software License; BSD License", True),
        ("MPL-2.0", True),
        ("LGPL-2.1-or-later", True),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only", False),
        ("GNU General Public License v2 (GPLv2)", False),
        ("MIT AND GPL-3.0-only", False),
        ("BSD License; GNU Affero General Public License v3", False),
        ("CC-BY-NC-4.0, non-commercial", False),
        ("UNKNOWN", False),
    ],
)
def test_a_licence_that_binds_users_or_is_not_known_is_a_problem(script, licence, allowed):
    found = script("supply_chain").licence_problems([{"Name": "package", "License": licence}])
    assert found == ({} if allowed else {"package": licence})


def test_accepted_vulnerabilities_are_left_out(script, monkeypatch):
    module = script("supply_chain")
    monkeypatch.setattr(module, "ACCEPTED", {"CVE-1": "not reached"})
    package = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
    assert module.vulnerabilities([package, {"name": "b", "version": "2", "vulns": [{"id": "CVE-1"}]}]) == {
        "a 1": ["CVE-2"]
    }


@pytest.mark.parametrize(
    ("code", "reason"), [("print('{')", "no message"), ("import sys; sys.exit('no route to host')", "no route to host")]
)
def test_a_registry_that_does_not_answer_is_no_finding(script, code, reason):
    import sys

    assert script("supply_chain").answer([sys.executable, "-c", code]) == (None, reason)


def test_every_requirement_has_a_lower_bound_that_can_be_pinned(script):
    pins = dict(pin.split("==") for pin in script("oldest").pins())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"numpy>={pins['numpy']}" in project["dependencies"]
    assert "torch" not in pins
    assert {"optuna", "onnx", "h5py", "neurokit2"} <= pins.keys()
    oldest = script("oldest")
    assert {*oldest.EXTRAS, *oldest.OTHER_EXTRAS} == {*project["optional-dependencies"]}


def test_the_runtime_distribution_has_the_same_bounds():
    whole, runtime = (
        tomllib.loads((ROOT / place / "pyproject.toml").read_text())["project"] for place in (".", "packaging/runtime")
    )
    known = {*whole["dependencies"], *whole["optional-dependencies"]["runtime"]}
    assert set(runtime["dependencies"]) <= known

"""Reports with evidence: sections, cases, widths, size and accessibility, of a run and of a comparison."""

import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

import ecgtune
from ecgtune.errors import SettingError
from ecgtune.reporting.writing import write_run_report
from ecgtune.utils.files import json_value, write_json
from ecgtune.utils.locks import exclusive
from helpers.browser import browser
from helpers.cli import refused, run
from helpers.methods import slow
from helpers.settings import loop

KINDS = ("wrong, surest", "wrong, least sure", "right, surest", "right, least sure")


def write_windows(path, seed, count=240):
    """Windows of recordings, four of each, in microvolts less a name that HTML would take for a tag."""
    data = ecgtune.simulate(count, seed=seed, seconds=3)
    record = np.array([f"<r>{seed}-{number // 4:03}" for number in range(count)])
    sex = np.array(["F", "M"])[np.arange(count) // 4 % 2]
    np.savez(path, signal=data.signal, label=data.label, record=record, sex=sex, sampling_rate=100, unit="mV")


@pytest.fixture(scope="module")
def recipes(encoder):
    settings = loop(epochs=2, batch_size=32, device="cpu", precision="fp32")
    made = [ecgtune.Recipe(method=method, **settings._asdict()) for method in (ecgtune.LinearProbe(), ecgtune.LoRA())]
    return [replace(each, model=replace(each.model, name=encoder)) for each in made]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, recipes):
    """A run and a comparison with cases, copies of both with evidence, and the data."""
    path = tmp_path_factory.mktemp("reports")
    for name, seed in (("own", 1), ("other", 2)):
        write_windows(path / f"{name}.npz", seed)
    read = ecgtune.read_dataset(path / "own.npz")
    ecgtune.fine_tune(read, recipes[0], out=path / "run")
    results = ecgtune.compare(read, recipes, ecgtune.CompareSettings(seeds=1, baselines=False), out=path / "comparison")
    shown = results["recommendation"]["run"]
    for name in ("run", "comparison"):
        shutil.copytree(path / name, path / f"{name}-evidence")
    other = ecgtune.read_dataset(path / "other.npz")
    with np.load(path / "other.npz") as arrays:
        sex = arrays["sex"]
    for place in (path / "run-evidence", path / "comparison-evidence" / shown):
        chosen = ecgtune.EvaluateSettings(by=("sex",))
        ecgtune.evaluate(place, other, chosen, out=place / "elsewhere", columns={"sex": sex})
        ecgtune.stress(place, other, ecgtune.StressSettings(windows=40), out=place / "stress")
    return path


def text_of(report):
    return report.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["run", "comparison"])
def test_sections_are_there_or_named_with_their_command(folder, name):
    bare, full = (text_of(folder / f"{name}{end}" / "report.html") for end in ("", "-evidence"))
    for section in ("calibration", "certainty", "other", "subgroups", "stress", "cases"):
        for page in (bare, full):
            assert f'href="#{section}"' in page
            assert f'<h2 id="{section}">' in page
    assert "ecgtune evaluate" in bare
    assert re.search(r"ecgtune stress \S+ DATA --out \S+/stress", bare)
    assert "Not tested on other data" not in full
    assert "No subgroups" not in full
    assert "Largest gap in AUROC" in full
    assert "Muscle noise" in full
    assert re.search(r"On other data \(elsewhere\): AUROC 0\.\d{3} \(0\.\d{3} to [01]\.\d{3}\), [+-]", full)
    for page in (bare, full):
        assert page.index("How sure") < page.index('aria-label="Contents"') < page.index("<h2")
        assert len(page) < 5_000_000


def test_cases_are_windows_of_the_test_split(folder):
    found = json_value(folder / "run" / "cases" / "cases.json")
    kinds = [case["kind"] for case in found["cases"]]
    assert kinds == sorted(kinds, key=KINDS.index)
    assert {"right, surest", "right, least sure"} <= set(kinds)
    assert all(kinds.count(kind) <= 2 for kind in KINDS)
    groups = [case["group"] for case in found["cases"]]
    assert len(groups) == len(set(groups))
    for case in found["cases"]:
        assert (case["true"] == case["predicted"]) == case["kind"].startswith("right")
        assert case["explained"] in case["predicted"]
        assert case["probability"] == pytest.approx(case["confidence"])
        assert (folder / "run" / "cases" / case["picture"]).stat().st_size < 40_000
    page = text_of(folder / "run" / "report.html")
    assert page.count('aria-label="Electrocardiogram') == len(kinds)
    assert "<r>1-" not in page
    assert "&lt;r&gt;1-" in page


def test_a_report_is_written_again(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder / "run", "run")
    before = json_value(folder / "run" / "cases" / "cases.json")
    run("report", "run", "--cases", 1)
    assert "report: run/report.html" in capsys.readouterr().out
    kinds = [case["kind"] for case in json_value(tmp_path / "run/cases/cases.json")["cases"]]
    assert len(kinds) == len(set(kinds)) == len({case["kind"] for case in before["cases"]})
    metrics = json_value(tmp_path / "run" / "metrics.json")
    metrics["data"]["reading"]["path"] = "gone.npz"
    write_json(tmp_path / "run" / "metrics.json", metrics)
    run("report", "run")
    assert "no new cases: the data of the run cannot be read again" in capsys.readouterr().out
    assert "Electrocardiogram" in text_of(tmp_path / "run/report.html")
    shutil.rmtree("run/cases")
    run("report", "run")
    page = text_of(tmp_path / "run" / "report.html")
    assert "No recordings are shown: the data of the run cannot be read again" in page
    assert "ecgtune report run" in page
    assert "for --pack" in refused(capsys, "report", "run", "--stress", folder / "run-evidence" / "stress")
    assert "cases is -1" in refused(capsys, "report", "run", "--cases", -1)
    with pytest.raises(SettingError):
        ecgtune.write_report("run", cases=50)


@pytest.mark.slow
def test_a_comparison_that_was_killed_before_the_report_of_its_cases(folder, recipes, tmp_path, monkeypatch):
    copy = shutil.copytree(folder / "comparison", tmp_path / "comparison")
    shown = copy / json_value(copy / "results.json")["recommendation"]["run"]
    shutil.rmtree(shown / "cases")
    write_run_report(shown)

    def compare():
        data = ecgtune.read_dataset(folder / "own.npz")
        return ecgtune.compare(data, recipes, ecgtune.CompareSettings(seeds=1, baselines=False), out=copy)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("ecgtune.workflows.cases"), "write_run_report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare()
    monkeypatch.undo()
    compare()
    assert "Electrocardiogram" in text_of(shown / "report.html")


def test_the_report_of_a_comparison_is_written_again(folder, tmp_path, capsys):
    shutil.copytree(folder / "comparison", tmp_path / "comparison")
    (tmp_path / "comparison" / "report.html").unlink()
    shown = json_value(tmp_path / "comparison" / "results.json")["recommendation"]["run"]
    run("report", tmp_path / "comparison", "--cases", 1)
    assert capsys.readouterr().out == f"report: {tmp_path / 'comparison' / 'report.html'}\n"
    cases = json_value(tmp_path / "comparison" / shown / "cases" / "cases.json")["cases"]
    for place in (tmp_path / "comparison", tmp_path / "comparison" / shown):
        assert text_of(place / "report.html").count('aria-label="Electrocardiogram') == len(cases) <= len(KINDS)


def test_report_waits_for_another_command_where_asked(folder, tmp_path, capsys):
    shutil.copytree(folder / "run", tmp_path / "run")
    holds, leaves = threading.Event(), threading.Event()

    def other():
        with exclusive(tmp_path / "run", "ecgtune predict"):
            holds.set()
            leaves.wait(60)

    command = ("report", tmp_path / "run", "--cases", 0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(other)
        assert holds.wait(60)
        assert "is in use by process" in refused(capsys, *command)
        threading.Timer(1.0, leaves.set).start()
        run(*command, "--wait")
        assert leaves.is_set()


def test_a_stress_test_of_more_rows_than_there_are_disturbances_is_refused(folder, tmp_path, capsys):
    shutil.copytree(folder / "run-evidence", tmp_path / "run")
    file = tmp_path / "run" / "stress" / "stress.json"
    result = json_value(file)
    write_json(file, result | {"rows": result["rows"] * 40})
    assert "stress.json" in refused(capsys, "report", tmp_path / "run", "--cases", 0)


WIDE = """() => [...document.querySelectorAll("table, pre, figure, dl")].filter(each =>
  each.getBoundingClientRect().right > document.documentElement.clientWidth + 1 ||
  each.scrollWidth > each.clientWidth + 1 && each.tagName === "TABLE").map(each => each.outerHTML.slice(0, 200))"""
LOOKS = {"desktop": (1200, 900), "phone": (390, 844), "print": (960, 700)}  # print: US letter across, less the margins


@pytest.mark.parametrize(
    "name",
    [
        "comparison-evidence",
        *slow("run-evidence", "run", "comparison"),
    ],
)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_page(folder, name):
    playwright = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    with browser() as chrome:
        for look, (width, height) in LOOKS.items():
            page = chrome.new_page(viewport={"width": width, "height": height})
            if look == "print":
                page.emulate_media(media="print")
            page.goto((folder / name / "report.html").as_uri())
            assert page.evaluate(WIDE) == [], look
            if look != "print":
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), look
                assert playwright.Axe().run(page).response["violations"] == [], look
            page.close()

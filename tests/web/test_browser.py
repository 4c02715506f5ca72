"""The page in headless Chromium: answers, errors, keyboard, accessibility, and no network."""

from __future__ import annotations

import base64
import time

import numpy as np
import pytest

import ecgtune
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.signal.path import SignalPath
from ecgtune.evaluation.groups import pooled_probability
from ecgtune.runtime import Model
from helpers.browser import OpenPage, browser
from helpers.clinical_files import hl7
from helpers.exported import write_exported
from helpers.recordings import dicom_group, write_csv, write_dicom, write_edf, write_wfdb
from helpers.records import heartbeats

LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
RATE = 200
SIGNAL_PATH = SignalPath(250, STANDARD_LEADS, window=4.0, step=2.0)
LABELS = ("NORM", "MI", "HYP")


@pytest.fixture(scope="module")
def chrome():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("page")
    write_exported(
        path / "model.onnx", signal_path=SIGNAL_PATH, classes=LABELS, task="multilabel", input_rate=100, rule="maximum"
    )
    ecgtune.page(path / "model.onnx", path / "page.html")
    return path


@pytest.fixture(scope="module")
def steps() -> np.ndarray:
    """A recording of 10 s (leads, samples) in steps of a tenth of a microvolt."""
    return np.rint(heartbeats(len(LEADS), rate=RATE, seconds=10, seed=3) * 10_000).astype(np.int64)


@pytest.fixture(scope="module")
def page(chrome, folder):
    opened = OpenPage(chrome, folder / "page.html")
    yield opened
    assert opened.requests == []
    assert opened.errors == []


def files_of(folder, steps):
    """The recording in every format, with what the page has to ask."""
    millivolts = steps / 10_000
    stated = {"rate": str(RATE), "unit": "mV"}
    np.save(folder / "r.npy", millivolts.astype(np.float32))
    header = write_wfdb(folder, steps, leads=LEADS, rate=RATE, adc_gain=[10_000.0] * len(LEADS))
    (folder / "r.xml").write_text(hl7(steps, LEADS, step_ms=1000 / RATE, scale="0.1"))
    return {
        "CSV": ((write_csv(folder / "r.csv", millivolts, LEADS),), stated),
        "NPY": ((folder / "r.npy",), stated | {"leads": " ".join(LEADS)}),
        "WFDB": ((header, header.with_suffix(".dat")), {}),
        "EDF": ((write_edf(folder / "r.edf", steps, LEADS, rate=RATE),), {}),
        "DICOM": ((write_dicom(folder / "r.dcm", [dicom_group(steps, LEADS, rate=RATE)]),), {}),
        "aECG": ((folder / "r.xml",), {}),
    }


def test_answers_are_those_of_python(page, folder, steps):
    model = Model(folder / "model.onnx")
    for name, (files, facts) in files_of(folder, steps).items():
        found = page.read(*files, **facts)
        assert found["error"] is None, name
        given = {"sampling_rate": float(facts["rate"])} if facts else {}
        expected = model.predict(files[0], **given) if name not in ("CSV", "NPY") else None
        if expected is None:  # the unit is not an argument of `predict`
            expected = model.predict((steps / 10_000).astype(np.float32), RATE, leads=LEADS)
        np.testing.assert_allclose(found["probability"], expected, atol=1e-6, err_msg=name)
        _, pooled = pooled_probability(expected, np.zeros(len(expected)), "maximum")
        np.testing.assert_allclose(found["pooled"], pooled[0], atol=1e-6)
        np.testing.assert_allclose(found["start"], [0, 2, 4, 6])
        decision = [label for label, value in zip(LABELS, pooled[0], strict=True) if value >= 0.5]
        assert page.tab.inner_text("#headline").endswith(", ".join(decision) or "reaches its threshold")


def test_a_dropped_file_is_answered_within_a_second(page, folder, steps):
    files = files_of(folder, steps)["EDF"][0]
    page.read(*files)
    begin = time.perf_counter()
    page.tab.evaluate("document.documentElement.removeAttribute('data-answered')")
    page.tab.evaluate(
        """text => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], "dropped.edf"));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }""",
        base64.b64encode(files[0].read_bytes()).decode(),
    )
    assert page.outcome()["error"] is None
    print(f"answered {1000 * (time.perf_counter() - begin):.0f} ms after the drop")
    assert "dropped.edf" in page.tab.inner_text("#about")


def test_bad_files_give_a_sentence_and_the_page_keeps_working(page, folder, steps):
    good = files_of(folder, steps)["WFDB"][0]
    (folder / "large.csv").touch()
    with (folder / "large.csv").open("r+b") as file:
        file.truncate(200_000_000)  # holds no bytes on the disk
    lacking = steps[1:2] / 10_000
    short = write_edf(folder / "short.edf", steps[:, :RATE], LEADS, rate=RATE)
    gaps = (steps / 10_000).astype(np.float64)
    gaps[:, 300:] = np.nan
    cut = folder / "cut"
    cut.mkdir()
    header = write_wfdb(cut, steps, leads=LEADS, rate=RATE, adc_gain=[10_000.0] * len(LEADS))
    header.with_suffix(".dat").write_bytes(header.with_suffix(".dat").read_bytes()[:-100])
    stated = {"rate": str(RATE), "unit": "mV"}
    cases = [
        ((folder / "large.csv",), {}, "200 MB are too large to be read here"),
        ((write_csv(folder / "one.csv", lacking, ("II",)),), stated, "no lead I, III"),
        ((short,), {}, "lasts 1 s; the model needs 4 s"),
        ((write_csv(folder / "gaps.csv", gaps, LEADS),), stated, "has a gap of 8.50 s at 1.50 s"),
        ((header, header.with_suffix(".dat")), {}, "was cut short"),
        ((good[0],), {}, "choose both files together"),
        ((write_dicom(folder / "none.dcm", []),), {}, "holds no waveform"),
        ((write_csv(folder / "flat.csv", np.ones((8, 2000)), LEADS),), stated, "ever changes"),
    ]
    for files, facts, reason in cases:
        found = page.read(*files, **facts)
        assert reason in (found["error"] or ""), found
        assert page.tab.is_hidden("#answer")
        assert page.read(*good)["error"] is None
        assert page.tab.is_hidden("#error")


def test_a_long_recording_is_cut_into_windows(page, folder):
    beats = heartbeats(2, rate=100, seconds=10, seed=1).astype(np.float32)
    np.save(folder / "long.npy", np.tile(beats, 200))
    found = page.read(folder / "long.npy", rate="100", unit="mV", leads="I II")
    assert "no lead V1" in found["error"]
    np.save(folder / "long.npy", np.tile(np.repeat(beats, 4, axis=0), 20))
    found = page.read(folder / "long.npy", rate="100", unit="mV", leads=" ".join(LEADS))
    assert len(found["start"]) == 99
    assert page.tab.locator("svg.sheet").get_attribute("aria-label").endswith("0.0 to 10.0 s")
    page.tab.click("#later")
    page.tab.press("#paper", "PageDown")
    assert page.tab.locator("svg.sheet").get_attribute("aria-label").endswith("20.0 to 30.0 s")


@pytest.mark.slow
def test_a_million_samples_are_cut_into_windows(page, folder, steps):
    beats = heartbeats(len(LEADS), rate=100, seconds=1000, seed=1).astype(np.float32)
    np.save(folder / "million.npy", np.tile(beats, 10))
    found = page.read(folder / "million.npy", rate="100", unit="mV", leads=" ".join(LEADS))
    assert len(found["start"]) == 4999
    np.save(folder / "million.npy", np.tile(beats, 22))
    found = page.read(folder / "million.npy", rate="100", unit="mV", leads=" ".join(LEADS))
    assert "at most 16777216 values are read" in found["error"]
    assert page.read(*files_of(folder, steps)["EDF"][0])["error"] is None


def test_stretches_are_replaced_and_the_work_can_be_stopped(page, folder, steps):
    page.read(*files_of(folder, steps)["EDF"][0])
    assert page.explained()
    assert page.tab.locator("#explain").inner_text().startswith("Find the stretch that drove ")
    texts = page.tab.evaluate(
        """() => {
            const button = document.querySelector("#explain");
            return [0, 1].map(() => (button.click(), button.textContent));
        }"""
    )
    assert texts[0] == "Stop"
    assert texts[1].startswith("Find the stretch that drove ")
    assert page.tab.inner_text("#found") == ""
    assert page.tab.is_hidden("#explaining")
    assert page.read(*files_of(folder, steps)["EDF"][0])["error"] is None


def test_the_caliper_moves_with_the_keyboard(page, folder, steps):
    page.read(*files_of(folder, steps)["EDF"][0])
    page.tab.focus("#measure")
    page.tab.keyboard.press("Enter")
    assert page.tab.inner_text("#measured") == "800 ms, 1.00 mV, as an interval between beats 75 per minute"
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("ArrowRight")
    page.tab.keyboard.press("Shift+ArrowDown")
    assert page.tab.inner_text("#measured").startswith("820 ms, 1.50 mV")
    page.tab.click("#measure")
    assert page.tab.inner_text("#measured") == ""


@pytest.mark.parametrize("look", ["light", *(pytest.param(each, marks=pytest.mark.slow) for each in ("dark", "phone"))])
def test_axe_finds_nothing(chrome, folder, steps, look):
    playwright = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    context = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": phone}[look]
    opened = OpenPage(chrome, folder / "page.html", **context)
    opened.read(*files_of(folder, steps)["CSV"][0])  # with the questions on the page
    assert playwright.Axe().run(opened.tab).response["violations"] == []
    opened.read(*files_of(folder, steps)["EDF"][0])
    opened.explained()
    opened.tab.click("#windows summary")
    opened.tab.click("#measure")
    assert playwright.Axe().run(opened.tab).response["violations"] == []
    assert opened.tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    opened.context.close()


def test_a_changed_page_says_so(chrome, folder):
    text = (folder / "page.html").read_text()
    place = text.index('id="model">') + 5000
    changed = "A" if text[place] != "A" else "B"
    (folder / "changed.html").write_text(text[:place] + changed + text[place + 1 :])
    opened = OpenPage(chrome, folder / "changed.html")
    assert "The model" in opened.tab.inner_text("#error")
    assert opened.tab.is_disabled("#file")
    opened.context.close()

"""The documents of an auto, from plain values."""

import re
from pathlib import Path

from ecgtune.reporting.auto import write_auto

ENTRY = {"value": 0.8, "ci_low": 0.7, "ci_high": 0.9}


def row(method, score, **changed):
    facts = {"name": method, "title": f"{method} (100 windows, 2 epochs)", "method": method, "shown": method}
    facts |= {"windows": None, "seed": 0, "trained": "1 of 2 epochs, ended by time"}
    facts |= {"epochs": 2, "train_windows": 100, "trainable_fraction": 0.1, "seconds": 3.0, "ended": False}
    return facts | {"score": score, "ci_low": score - 0.1, "ci_high": score + 0.1} | changed


def point(windows, score):
    return {"windows": windows, "score": score, "ci_low": score - 0.05, "ci_high": score + 0.05}


def facts(**changed):
    choice = {"reason": "the probe is kept", "chosen": "probe", "validated": 60, "groups": 30, "runs": ["model"]}
    choice["members"] = ["probe"]
    return {
        "headline": "probe: test AUROC 0.800",
        "run": Path("out/model"),
        "found": {"windows": 120, "task": "binary", "recordings": None},
        "trained": ["**lora**: all 84 training windows, 3 epochs."],
        "assumed": ["the sampling rate is 100 Hz"],
        "plan_rows": [("split.folds", "1: enough patients")],
        "split": {"origin": "drawn by patient", "warnings": ["few | patients"], "unit": "patient"},
        "choice": choice | {"ensemble": {"helps": False, "shown": False, "of": "seeds", "difference": ENTRY}},
        "candidates": [row("probe", 0.82), row("lora", 0.8, ended=True)],
        "encoder": "ecg-fm-tiny",
        "rungs": ["Probes: ecg-fm-tiny 0.820 (1 of 5 folds)", "Round 1: lora 0.800 (4 of 5 folds)"],
        "folds": " (3 of 5 folds)",
        "missing": {"full": "no time was left"},
        "test": {"runs": ["model"]},
        "averaged": "seeds",
        "verdict": "not shown to help",
        "seconds": 4.0,
        "trainable": [3],
        "few": ["The test split has only 20 patients."],
        "level": {"n": 30, "metrics": {"auroc": ENTRY}},
        "unit": "record",
        "metrics": {"training": {"seconds": 4.0}, "parameters": {"trainable": 3, "total": 9}},
        "calibration": "Platt scaling",
        "threshold": "0.5, fixed",
        "sizes": {"model.onnx": 8_200_000, "page.html": 55_700_000},
        "problems": {},
        "curve": {"points": [point(25, 0.6), point(50, 0.7), point(100, 0.8)], "extrapolated": [point(200, 0.85)]},
        "helps": ["**Labels.** With twice the windows ..."],
        "spent": 90.0,
        "budget": 600.0,
        "machine_rows": [("cores", 2)],
        "commands": {"predict": ["ecgtune predict model new.csv"]},
    } | changed


def test_the_answer_says_which_how_sure_and_what_would_help(tmp_path):
    text = write_auto(tmp_path, facts()).read_text("utf-8")
    for heading in ("Which", "How sure", "What it costs", "What would help most"):
        assert f"## {heading}" in text
    assert "| probe **(chosen)** | 100 | 1 of 2 epochs, ended by time | 10.00 | 0.820 |" in text
    assert "Training: 4.00 s for the epochs (the time in the table also has loading and predictions)" in text
    assert "full was not trained: no time was left" in text
    assert "- **lora**: all 84 training windows" in text
    assert "few \\| patients" in text
    assert "only 20 patients" in text
    assert "Candidates are compared on 60 validation windows of 30 patients (3 of 5 folds)." in text
    assert "the mean over its folds; the table has that of the windows above:\n\n- Probes: ecg-fm-tiny 0.820" in text
    assert "- model.onnx: 8.2 MB.\n- page.html: 55.7 MB.\n" in text
    assert "| 200 (extrapolated) | 0.850 |" in text
    assert "ecgtune predict model new.csv" in (tmp_path / "next.md").read_text("utf-8")


def test_every_sentence_of_the_answer_is_in_one_line(tmp_path):
    text = write_auto(tmp_path, facts()).read_text("utf-8")
    assert "not the mean of seeds: the difference on validation is +0.800 (80 % interval +0.700 to +0.900), not" in text
    for file in ("answer.md", "next.md"):
        prose = re.sub(r"```.*?```", "", (tmp_path / file).read_text("utf-8"), flags=re.DOTALL)
        lines = [line for line in prose.splitlines() if line and not line.startswith(("#", "|", "- "))]
        assert [line for line in lines if not line.rstrip("*").endswith((".", ":"))] == []


def test_the_report_has_both_figures_with_text_alternatives(tmp_path):
    write_auto(tmp_path, facts())
    page = (tmp_path / "report.html").read_text("utf-8")
    assert len(re.findall(r'<svg[^>]* aria-label="[^"]+"', page)) == 2
    assert page.count('<table class="stack') == 3  # no table is wider than a phone
    assert re.findall(r'<li><a href="#(\w+)">', page) == re.findall(r'<h2 id="(\w+)">', page)
    assert '<th scope="row">AUROC</th><td data-label="Value">0.800<span class="small">0.700 to 0.900' in page
    assert '<td data-label="Trained">1 of 2 epochs, ended by time</td>' in page
    assert "ecgtune report out/model" in page  # which adds the cases
    write_auto(tmp_path, facts(curve={"points": [], "extrapolated": []}))
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Learning curve" not in page


def test_an_ensemble_says_what_the_file_holds(tmp_path):
    several = facts()["choice"] | {"runs": ["model-1", "model-2"]}
    text = write_auto(tmp_path, facts(choice=several)).read_text("utf-8")
    assert "model.onnx: 8.2 MB. It holds the 2 trainings and gives the mean of their probabilities." in text
    assert "the mean of the probabilities of its 2 trainings" in (tmp_path / "next.md").read_text("utf-8")

"""Decisions with their reasons; each is changed by a flag or in plan.toml."""

import json

import pytest

from ecgtune.config.auto import AutoSettings, budget_seconds
from ecgtune.errors import DataError, SettingError
from ecgtune.utils.files import write_json
from ecgtune.workflows.auto.decide import decide
from ecgtune.workflows.auto.plan_file import read_plan, stored_reasons
from helpers.auto import FINGERPRINT

WINDOWS = FINGERPRINT
_READING = {"kind": "records", "table": "t.csv", "records": "r", "columns": {}, "options": {}, "settings": {}}
RECORDS = WINDOWS | {
    "kind": "records",
    "request": _READING,
    "reading": _READING,
    "recordings": 5000,
    "sampling_rates": {"300": 4000, "500": 1000},
}
LEADS12 = "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6"


def decided(out, found, **settings):
    write_json(out / "fingerprint.json", found)
    return decide(out, AutoSettings(**settings))


def with_labels(*positives, task, known=5000):
    return {"task": task, "labels": {f"L{i}": {"positives": n, "known": known} for i, n in enumerate(positives)}}


@pytest.mark.parametrize(
    ("found", "key", "value"),
    [
        (WINDOWS, "split.folds", 1),
        (WINDOWS | {"groups": 100}, "split.folds", 5),
        (WINDOWS | {"groups": None, "group": None}, "split.folds", 1),
        (WINDOWS | {"windows": 500}, "training.batch_size", 16),
        (WINDOWS, "training.batch_size", 64),
        (WINDOWS, "training.threshold", "fixed"),
        (WINDOWS | with_labels(4500, 500, task="binary"), "training.threshold", "f1"),
        (WINDOWS | with_labels(4990, 10, task="binary"), "training.threshold", "fixed"),
        (WINDOWS | with_labels(2500, 300, task="multilabel"), "training.threshold", "f1"),
        (WINDOWS | with_labels(4000, 700, 300, task="multiclass"), "training.class_weights", "balanced"),
        (WINDOWS | with_labels(2000, 1500, 1500, task="multiclass"), "training.class_weights", "none"),
        (RECORDS, "data.window", None),
        (RECORDS | {"seconds": {"min": 9.0, "p5": 9.5, "median": 30.0, "max": 60.0}}, "data.window", 9.0),
        (RECORDS | {"seconds": {"min": 60.0, "p5": 60.0, "median": 60.0, "max": 60.0}}, "data.window", 10.0),
        (RECORDS | {"leads": {LEADS12: 5000}}, "data.leads", ("II",)),
        (RECORDS | {"leads": {"V1 V2": 5000}}, "data.leads", ("V1",)),
        (RECORDS | {"leads": {"I II": 10, "II V1": 10}}, "data.leads", ("II",)),
    ],
)
def test_a_decision_follows_from_the_fingerprint(found, key, value, tmp_path):
    plan = decided(tmp_path, found, encoders=("ecg-fm-tiny",))
    assert plan.value(key) == value
    assert read_plan(tmp_path) == plan
    reasons = stored_reasons(tmp_path)
    assert set(reasons) == set(plan.keys)  # one reason each
    assert all(reasons.values())


@pytest.mark.parametrize(
    ("found", "key", "said"),
    [
        (
            RECORDS | {"seconds": {"min": 9.0, "p5": 9.5, "median": 30.0, "max": 60.0}},
            "data.window",
            "; all of them fill",
        ),
        (
            RECORDS | {"seconds": {"min": 4.0, "p5": 9.5, "median": 30.0, "max": 60.0}},
            "data.window",
            "; 95 % of them fill",
        ),
        (WINDOWS, "training.pos_weight", "weigh as much as others in the loss"),
        (WINDOWS | with_labels(4500, 500, task="binary"), "training.pos_weight", "; the threshold is fitted instead"),
        (
            WINDOWS | with_labels(4994, 6, task="binary"),
            "split.train_fraction",
            "'L1' has 6 windows, so a split may have none",
        ),
        (RECORDS | with_labels(4999, 1, task="binary"), "split.train_fraction", "'L1' has 1 recording, so"),
    ],
)
def test_reasons_are_those_of_the_data(found, key, said, tmp_path):
    decided(tmp_path, found, encoders=("ecg-fm-tiny",))
    reasons = stored_reasons(tmp_path)
    assert said in reasons[key]
    assert ("fitted" in reasons["training.pos_weight"]) == ("largest F1" in reasons["training.threshold"])


def test_one_encoder_makes_its_own_rate_that_of_the_recordings(tmp_path):
    assert decided(tmp_path, RECORDS, encoders=("ecg-fm-tiny",)).data.sampling_rate == 100


def test_the_full_network_and_one_from_scratch_are_always_compared(tmp_path):
    assert decided(tmp_path, WINDOWS, methods=("adapter",)).training.methods == ("adapter", "full", "scratch")
    (tmp_path / "plan.toml").write_text('[training]\nmethods = ["lora", "scratch"]\n')
    with pytest.raises(SettingError, match="lack full"):
        read_plan(tmp_path)


def test_a_flag_and_an_edited_plan_override_a_decision(tmp_path):
    decided(tmp_path, WINDOWS)
    file = tmp_path / "plan.toml"
    file.write_text(file.read_text().replace("batch_size = 64", "batch_size = 48"))
    plan = decided(tmp_path, WINDOWS, epochs=7)
    assert (plan.training.batch_size, plan.training.epochs) == (48, 7)
    assert stored_reasons(tmp_path)["training.batch_size"] == "as given"
    assert "batch size: 48" in (tmp_path / "plan.md").read_text()
    assert decided(tmp_path, WINDOWS, budget="2h").budget.seconds == 7200


def test_a_rerun_without_the_budget_keeps_it_and_what_it_allows(tmp_path, monkeypatch):
    monkeypatch.setattr("ecgtune.workflows.auto.decide.free_memory", lambda *_: 8_000_000_000)
    decided(tmp_path, WINDOWS, budget="2h")
    before = stored_reasons(tmp_path)
    assert "adapter" in decided(tmp_path, WINDOWS).training.methods
    assert stored_reasons(tmp_path) == before
    assert before["budget.seconds"] == "as given"
    assert before["training.methods"] != "as given"


def test_cutting_of_windows_that_are_cut_is_refused(tmp_path):
    (tmp_path / "plan.toml").write_text("[data]\nwindow = 5.0\n")
    with pytest.raises(SettingError, match=r"window in \[data\]"):
        decided(tmp_path, WINDOWS)
    assert (tmp_path / "plan.toml").read_text() == "[data]\nwindow = 5.0\n"


def test_two_encoders_of_one_name_are_refused(tmp_path):
    with pytest.raises(SettingError, match="encoders ecg-fm-tiny, ecg-fm-tiny has a name twice"):
        decided(tmp_path, WINDOWS, encoders=("ecg-fm-tiny", "ecg-fm-tiny"))


def test_methods_are_joined_by_commas_or_named_one_by_one_and_must_exist(tmp_path):
    for name in ("methods", "encoders"):
        joined, apart = AutoSettings(**{name: ("a, b",)}), AutoSettings(**{name: ("a", "b")})
        assert getattr(joined, name) == getattr(apart, name) == ("a", "b")
    with pytest.raises(SettingError, match="lora"):
        decided(tmp_path, WINDOWS, methods=("lore",))


def test_a_misspelt_setting_of_the_plan_is_refused(tmp_path):
    decided(tmp_path, WINDOWS)
    file = tmp_path / "plan.toml"
    file.write_text(file.read_text().replace("batch_size", "batchsize"))
    with pytest.raises(SettingError, match="batch_size"):
        decided(tmp_path, WINDOWS)


def test_leads_that_no_encoder_reads_are_refused(tmp_path):
    found = json.loads(json.dumps(RECORDS | {"leads": {LEADS12: 5000}}))
    found["reading"]["settings"]["leads"] = ["I", "II"]
    with pytest.raises(DataError, match="no encoder reads"):
        decided(tmp_path, found, encoders=("ecg-fm-tiny",))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30min", 1800), ("2h", 7200), ("gpu-night", 28800)])
def test_budgets(text, seconds):
    assert budget_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "min", "-1h", "0s"])
def test_budgets_that_are_none(text):
    with pytest.raises(SettingError, match="30min"):
        AutoSettings(budget=text)


def test_control_characters_of_a_class_leave_the_plan_readable(tmp_path):
    labels = {"A\x1bF": {"positives": 300, "known": 5000}, "B\u202e": {"positives": 4700, "known": 5000}}
    plan = decided(tmp_path, WINDOWS | {"task": "multiclass", "labels": labels})
    assert read_plan(tmp_path) == plan
    for file in ("plan.toml", "plan.md"):
        text = (tmp_path / file).read_text("utf-8")
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert stored_reasons(tmp_path)["training.class_weights"].endswith(r"as frequent as A\x1bF")


def test_the_plan_says_what_is_in_the_files(tmp_path):
    decided(tmp_path, WINDOWS | {"group": None, "groups": None}, encoders=("ecg-fm-tiny",))
    text = (tmp_path / "plan.md").read_text("utf-8")
    assert "**5,000 windows, two classes:** 0 (2,500), 1 (2,500)." in text
    assert "6 s each, 100 Hz, in II (5,000)." in text
    assert "No patient or recording is named" in text
    assert "Assumed: the sampling rate is 100 Hz." in text

"""Rows of results.json: means over seeds, intervals over groups, paired differences, refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ecgtune.errors import RunError
from ecgtune.evaluation.comparison import RunRecord, compare_runs
from ecgtune.evaluation.decision import binary_decision
from ecgtune.evaluation.evaluate import Grouping, evaluate
from ecgtune.evaluation.metrics import METRICS
from helpers.evaluation import binary_intervals, binary_metrics

GROUPS, EACH = 30, 5
GROUP = np.repeat([f"A{number:05d}" for number in range(GROUPS)], EACH)
LABEL = np.repeat(np.arange(GROUPS) % 2, EACH)


def record(name="full", seed=0, strength=0.3, kind="method", threshold=0.5, label=LABEL, group=GROUP, **changes):
    generator = np.random.default_rng([seed, len(name)])
    # Hard groups are hard for every method, which is what pairing uses.
    hard = np.random.default_rng(1).normal(0, 0.2, len(label))
    probability = np.clip(0.5 + strength * (label - 0.5) + hard + generator.normal(0, 0.05, len(label)), 0, 1)
    chosen = binary_decision(threshold, "fixed" if threshold == 0.5 else "f1")
    metrics = {
        "name": name,
        "classes": ["0", "1"],
        "seed": seed,
        "weights": "random (seed 0)",
        "data": {"sha256": "ab"},
        "split": {
            "unit": "record",
            "warnings": ["split by row"],
            "duplicates": 0,
            "counts": {"test": {"windows": len(label), "groups": GROUPS}},
        },
        "parameters": {"trainable": 100, "trainable_fraction": 0.01},
        "training": {
            "epochs": 3,
            "learning_rate": 0.001,
            "seconds_per_epoch": 2.0 + seed,
            "peak_memory_bytes": 10 + seed,
            "file_bytes": 7,
        },
        "threshold": chosen.to_dict(("0", "1")),
        **evaluate(label, probability, Grouping(group), chosen, resamples=2),
        **changes,
    }
    return RunRecord(name, name.upper(), kind, seed, f"{name}/seed-{seed}", metrics, label, probability, group)


def rows(records, **options):
    options = {"resamples": 200, **options}
    return {row["method"]: row for row in compare_runs(records, **options)["rows"]}


def width(entry):
    return entry["ci_high"] - entry["ci_low"]


def test_layout_of_results_json():
    found = compare_runs([record(), record(seed=1), record("lora", strength=0.25)], resamples=20)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found) == ["reference", "recommendation", "notes", "rows"]
    assert [row["method"] for row in found["rows"]] == ["full", "lora"]
    first = found["rows"][0]
    assert list(first) == [
        "method", "title", "kind", "model", "seeds", "runs", "epochs", "learning_rate", "trainable_fraction",
        "trainable", "parameters", "seconds", "seconds_per_epoch", "peak_memory_bytes", "file_bytes",
        "calibration", "metrics", "group_metrics", "difference",
    ]  # fmt: skip
    assert tuple(first["metrics"]) == tuple(first["group_metrics"]) == tuple(first["difference"]) == METRICS
    assert list(first["metrics"]["f1"]) == ["mean", "std", "values", "ci_low", "ci_high", "with_seeds"]
    assert (first["seeds"], first["runs"]) == ([0, 1], ["full/seed-0", "full/seed-1"])
    assert (first["seconds_per_epoch"], first["peak_memory_bytes"]) == (2.5, 11)


def test_mean_and_standard_deviation_over_seeds():
    runs = [record(seed=seed) for seed in range(3)]
    expected = [binary_metrics(run.label, run.probability)["auroc"] for run in runs]
    entry = rows(runs)["full"]["metrics"]["auroc"]
    assert entry["values"] == expected
    assert entry["mean"] == pytest.approx(np.mean(expected))
    assert entry["std"] == pytest.approx(np.std(expected, ddof=1))
    assert entry["ci_low"] < entry["mean"] < entry["ci_high"]
    assert rows(runs[:1])["full"]["metrics"]["auroc"]["std"] is None


def test_intervals_with_seeds_are_wider_when_seeds_differ():
    runs = [record(seed=seed, strength=strength) for seed, strength in enumerate((0.05, 0.3, 0.6))]
    entry = rows(runs)["full"]["metrics"]["auroc"]
    assert width(entry["with_seeds"]) > 1.5 * width(entry)
    assert rows(runs[:1])["full"]["metrics"]["auroc"]["with_seeds"] is None


def test_differences_have_p_values_that_are_adjusted_for_their_number():
    runs = [record(), record("weak", strength=0.02), record("near", strength=0.29), record("resnet", kind="baseline")]
    found = rows(runs)
    weak, near = (found[name]["difference"]["auroc"] for name in ("weak", "near"))
    assert weak["p"] < 0.001
    assert weak["p"] < near["p"]
    assert weak["p_holm"] == pytest.approx(2 * weak["p"])
    assert near["p_holm"] == pytest.approx(max(near["p"], weak["p_holm"]))
    assert "p" in found["resnet"]["difference"]["auroc"]
    assert "p_holm" not in found["resnet"]["difference"]["auroc"]
    assert "p" not in found["full"]["difference"]["auroc"]


def test_difference_to_itself_is_exactly_zero():
    # The seeds stand in another order than in the reference; rounding must not show.
    runs = [record(seed=seed) for seed in (2, 0, 1)]
    copy = [replace(run, name="copy") for run in sorted(runs, key=lambda run: run.seed)]
    found = rows(runs + copy)
    zero = {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    assert all(entry == zero for entry in found["full"]["difference"].values())
    # Another method that is equal on these windows may differ on others.
    unknown = {"value": 0.0, "ci_low": None, "ci_high": None, "too_few": True, "identical": True}
    assert all(entry == unknown for entry in found["copy"]["difference"].values())


def test_difference_is_paired_by_group():
    found = rows([record(), record("lora", strength=0.25)], resamples=1000)
    full, lora = found["full"], found["lora"]
    for name in ("accuracy", "auroc"):
        difference = lora["difference"][name]
        assert difference["value"] == pytest.approx(lora["metrics"][name]["mean"] - full["metrics"][name]["mean"])
        unpaired = np.hypot(width(lora["metrics"][name]), width(full["metrics"][name]))
        assert 0 < width(difference) < 0.7 * unpaired


def test_difference_equals_a_bootstrap_written_out():
    full, lora = record(), record("lora", strength=0.2)
    generator = np.random.default_rng(11)
    right = [((run.probability >= 0.5) == LABEL).reshape(GROUPS, EACH).sum(axis=1) for run in (full, lora)]
    drawn = generator.integers(0, GROUPS, (4000, GROUPS))
    difference = (right[1][drawn].sum(axis=1) - right[0][drawn].sum(axis=1)) / len(LABEL)
    entry = rows([full, lora], resamples=4000)["lora"]["difference"]["accuracy"]
    assert (entry["ci_low"], entry["ci_high"]) == pytest.approx(
        tuple(np.quantile(difference, [0.025, 0.975])), abs=0.015
    )


def test_seeds_are_paired_where_both_have_them():
    full = [record(seed=seed) for seed in (0, 1)]
    lora = [record("lora", seed=seed, strength=0.25) for seed in (1, 2)]
    other = [record("probe", seed=seed, strength=0.2) for seed in (5, 6)]
    baseline = [record("majority", kind="baseline", strength=0.1)]
    found = rows(full + lora + other + baseline)
    value = {name: found[name]["metrics"]["accuracy"]["values"] for name in found}
    assert found["lora"]["difference"]["accuracy"]["value"] == pytest.approx(value["lora"][0] - value["full"][1])
    assert found["probe"]["difference"]["accuracy"]["value"] == pytest.approx(
        np.mean(value["probe"]) - np.mean(value["full"])
    )
    # A baseline that was run once is compared with all seeds of the reference.
    assert found["majority"]["difference"]["accuracy"]["value"] == pytest.approx(
        value["majority"][0] - np.mean(value["full"])
    )


def test_each_run_keeps_its_own_threshold():
    found = rows([record(), record("lora", threshold=0.4)])
    lora = record("lora", threshold=0.4)
    expected = binary_metrics(lora.label, lora.probability, 0.4)["recall"]
    assert found["lora"]["metrics"]["recall"]["values"] == [expected]


def test_interval_of_one_run_is_the_bootstrap_over_groups():
    run = record()
    found = rows([run], seed=3)["full"]["metrics"]
    expected = binary_intervals(run.label, run.probability, 0.5, run.group, resamples=200, seed=3)
    for name in METRICS:
        assert (found[name]["ci_low"], found[name]["ci_high"]) == (expected[name]["ci_low"], expected[name]["ci_high"])


def test_group_level_equals_evaluate():
    run = record()
    entry = rows([run])["full"]["group_metrics"]["accuracy"]
    assert entry["mean"] == run.metrics["group"]["metrics"]["accuracy"]["value"]
    assert rows([record(group=None)])["full"]["group_metrics"] is None
    mixed = np.arange(len(LABEL)) % 2
    assert rows([record(label=mixed)])["full"]["group_metrics"] is None


def test_no_reference_no_difference():
    found = compare_runs([record("lora")], resamples=5)
    assert found["reference"] is None
    assert found["rows"][0]["difference"] is None
    assert any("'full' was not run" in note for note in found["notes"])


def test_undefined_for_one_seed_is_null_for_the_mean():
    collapsed = replace(record(seed=1), probability=np.full(len(LABEL), 0.1))
    collapsed.metrics["window"]["metrics"]["accuracy"]["value"] = 0.5
    found = compare_runs([record(), collapsed], resamples=20)
    entry = found["rows"][0]["metrics"]["precision"]
    assert entry["mean"] is entry["ci_low"] is entry["std"] is None
    assert entry["values"][0] is not None
    assert any("precision, mcc undefined" in note for note in found["notes"])


def test_notes_say_what_a_reader_must_see():
    notes = compare_runs([record(), record("lora", threshold=0.4)], resamples=5)["notes"]
    assert notes[0].startswith("weights: random (seed 0). The encoder was not pretrained")
    assert notes.count("split by row") == 1
    assert any(note.startswith("One seed only") and "FULL" in note for note in notes)
    assert "Decision threshold of lora, seed 0: 0.4, fitted on validation (largest F1)." in notes
    text = " ".join(notes).lower()
    assert "significan" not in text


def test_baselines_are_not_in_the_notes():
    baseline = record("majority", kind="baseline", weights="none", threshold=0.5)
    notes = compare_runs([record(weights="pretrained (sha256 ab)"), baseline], resamples=5)["notes"]
    assert not any("none" in note or "MAJORITY" in note for note in notes)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (lambda: [], "no finished runs"),
        (lambda: [record(), record()], "two runs of 'full' have the seed 0"),
        (
            lambda: [record(), record("lora", label=1 - LABEL)],
            "lora/seed-0 and full/seed-0 have different test windows",
        ),
        (lambda: [record(), record("lora", group=GROUP[::-1].copy())], "different test windows"),
        (lambda: [record(), record("lora", group=None)], "different test windows"),
        (lambda: [record(), record("lora", data={"sha256": "cd"})], "different test windows"),
        (
            lambda: [replace(record(), row=np.arange(150)), replace(record("lora"), row=np.arange(150) + 1)],
            "different test windows",
        ),
        (lambda: [replace(record(), probability=1 - record().probability)], "metrics.json has"),
    ],
    ids=["none", "seed twice", "labels", "groups", "no groups", "file", "rows", "foreign predictions"],
)
def test_runs_that_do_not_belong_together_are_refused(records, message):
    with pytest.raises(RunError, match=message):
        compare_runs(records(), resamples=2)

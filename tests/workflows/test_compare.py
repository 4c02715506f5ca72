"""The comparison: methods x seeds, two baselines, figures, tables, and going on where it was."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

import ecgtune
from ecgtune.config.commands import CompareSettings
from ecgtune.errors import EcgtuneError, RunError, SettingError
from ecgtune.recipes.recipe import load_recipes
from ecgtune.training.callbacks import ProgressCallback
from ecgtune.utils.locks import exclusive
from ecgtune.utils.progress import ProgressBar
from helpers.settings import changed

TWO_SEEDS = CompareSettings(seeds=2)
DATA = ecgtune.simulate(80, seed=1, seconds=3)
COLUMNS = ["Method", "Epochs", "LR", "Accuracy", "Precision", "Recall", "F1", "Trainable %", "AUROC"]


def recipes(names="full,lora,adapter,probe", model="ecg-fm-tiny", **training):
    settings = {"epochs": 2, "batch_size": 32, "device": "cpu", **training}
    chosen = [recipe for name in names.split(",") for recipe in load_recipes(name)]
    return [changed(replace(recipe, model=replace(recipe.model, name=model)), **settings) for recipe in chosen]


@pytest.fixture(scope="module")
def compare(encoder):
    """A comparison with the tiny encoder, unless another is given."""

    def compare(out, names="full,lora,adapter,probe", settings=TWO_SEEDS, model=encoder):
        return ecgtune.compare(DATA, recipes(names, model), settings, out=out)

    return compare


@pytest.fixture(scope="module")
def comparison(tmp_path_factory, compare):
    folder = tmp_path_factory.mktemp("comparison") / "all"
    return folder, compare(folder)


def test_four_methods_make_eleven_figures_one_table_and_one_report(comparison):
    folder, results = comparison
    assert len(list((folder / "figures").iterdir())) == 11
    assert {path.name for path in folder.iterdir()} == {
        "full", "lora", "adapter", "probe", "resnet", "majority",
        "figures", "results.json", "table.csv", "table.md", "report.html",
    }  # fmt: skip
    assert json.loads((folder / "results.json").read_text()) == results
    header = (folder / "table.md").read_text().splitlines()
    row = next(line for line in header if line.startswith("|"))
    assert [cell.strip() for cell in row.strip("|").split("|")][: len(COLUMNS)] == COLUMNS
    with (folder / "table.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 6


def test_rows_are_the_runs(comparison, encoder):
    folder, results = comparison
    assert [(row["method"], row["kind"]) for row in results["rows"]] == [
        ("full", "method"), ("lora", "method"), ("adapter", "method"), ("probe", "method"),
        ("resnet", "baseline"), ("majority", "baseline"),
    ]  # fmt: skip
    for row in results["rows"]:
        metrics = [json.loads((folder / run / "metrics.json").read_text()) for run in row["runs"]]
        values = [run["window"]["metrics"]["accuracy"]["value"] for run in metrics]
        assert row["metrics"]["accuracy"]["values"] == pytest.approx(values)
        assert row["metrics"]["accuracy"]["mean"] == pytest.approx(np.mean(values))
    full = results["rows"][0]
    assert full["difference"]["accuracy"] == {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    assert full["trainable_fraction"] == 1.0
    weights = ecgtune.load_model(encoder).weights.describe()
    assert results["weights"] == weights
    assert f"weights: {weights}." in results["notes"]


def test_majority_floor_is_the_majority(comparison):
    folder, results = comparison
    row = results["rows"][-1]
    metrics = json.loads((folder / "majority/seed-0/metrics.json").read_text())
    counts = metrics["split"]["counts"]
    positive = counts["train"]["positives"] * 2 >= counts["train"]["windows"]
    share = counts["test"]["positives"] / counts["test"]["windows"]
    assert row["metrics"]["accuracy"]["mean"] == pytest.approx(share if positive else 1 - share)
    assert row["metrics"]["auroc"]["mean"] == 0.5


def test_every_run_can_be_loaded_again(comparison):
    folder, results = comparison
    for row in results["rows"][:-1]:
        for run in row["runs"]:
            assert ecgtune.load_run(folder / run).predict(DATA.signal[:2]).shape == (2, 2)


def test_test_windows_are_the_same_for_all_and_never_trained_on(comparison):
    folder, _ = comparison
    splits = {path.read_text() for path in folder.glob("*/seed-*/split.csv")}
    assert len(splits) == 1
    part = dict(line.split(",")[:2] for line in splits.pop().splitlines()[1:])
    group = {
        name: {str(DATA.group[int(row)]) for row, p in part.items() if p == name} for name in ("train", "val", "test")
    }
    assert len(part) == len(DATA)
    assert not group["train"] & group["test"]
    assert not group["train"] & group["val"]
    assert not group["val"] & group["test"]


@pytest.mark.slow
def test_the_work_of_each_run_counts_by_the_cost_of_its_encoder(tmp_path, monkeypatch, compare):
    expected, done = [], []
    monkeypatch.setattr(ProgressBar, "expect", lambda self, units: expected.append(units))
    monkeypatch.setattr(ProgressBar, "advance", lambda self, units: done.append(units))
    compare(tmp_path, "full", CompareSettings(seeds=1), model="ecg-fm-tiny")
    full, resnet = expected
    assert 0 < resnet < 0.6 * full  # as many steps on 118 instead of 305 million operations for 6 s
    assert sum(done) == pytest.approx(full + resnet)


def test_a_stopped_comparison_goes_on_and_ends_on_the_same_numbers(tmp_path, monkeypatch, compare):
    whole = compare(tmp_path / "whole", "full,probe", CompareSettings(seeds=1))
    left = [4]

    def stop(self, step):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressCallback, "on_step_end", stop)
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path / "stopped", "full,probe", CompareSettings(seeds=1))
    monkeypatch.undo()
    assert not (tmp_path / "stopped" / "results.json").exists()
    resumed = compare(tmp_path / "stopped", "full,probe", CompareSettings(seeds=1))
    for ours, theirs in zip(whole["rows"], resumed["rows"], strict=True):
        assert ours["metrics"] == theirs["metrics"]
        assert ours["difference"] == theirs["difference"]


def test_finished_runs_are_kept_and_more_can_be_added(tmp_path, compare):
    compare(tmp_path, "probe", CompareSettings(seeds=1, baselines=False))
    file = tmp_path / "probe" / "seed-0" / "metrics.json"
    before = file.stat().st_mtime_ns
    results = compare(tmp_path, "probe,lora", CompareSettings(seeds=2, baselines=False))
    assert file.stat().st_mtime_ns == before
    assert [row["seeds"] for row in results["rows"]] == [[0, 1], [0, 1]]
    assert results["history"] == [1, 4]
    assert results["recommendation"]["run"].startswith(f"{results['recommendation']['take']}/seed-")
    assert results["reference"] == "probe"


def test_another_comparison_in_the_same_folder_is_refused(tmp_path, compare, encoder):
    compare(tmp_path, "probe", CompareSettings(seeds=1, baselines=False))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"optimisation\.epochs was 2, now 3"):
        ecgtune.compare(
            DATA, recipes("probe", encoder, epochs=3), CompareSettings(seeds=1, baselines=False), out=tmp_path
        )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_normalisation_variants_share_one_split(tmp_path, compare):
    results = compare(tmp_path, "ablation-normalisation", CompareSettings(seeds=1, baselines=False))
    assert [row["method"] for row in results["rows"]] == ["zscore", "global", "none"]
    assert results["reference"] == "zscore"


def test_a_mistake_in_the_last_variant_is_told_before_the_first_one_trains(tmp_path):
    variants = recipes("probe")
    late = [
        replace(recipes("lora")[0], method=ecgtune.LoRA(targets=("q_prj",))),
        replace(recipes("lora")[0], data=ecgtune.DataSettings(normalisation="none")),
        replace(recipes("lora")[0], trainer=ecgtune.TrainerSettings(device="mps")),
    ]
    data = replace(DATA, unit="unknown")
    for variant in late:
        with pytest.raises(EcgtuneError):
            ecgtune.compare(
                data, [*variants, variant], CompareSettings(seeds=1, baselines=False), out=tmp_path / "never"
            )
        assert not (tmp_path / "never").exists()


def test_names_and_recipes_can_be_mixed(tmp_path, encoder):
    (lora,) = recipes("lora", encoder, epochs=1, batch_size=16)
    results = ecgtune.compare(DATA, [lora], CompareSettings(seeds=1, baselines=False), out=tmp_path / "a")
    assert results["rows"][0]["epochs"] == 1
    with pytest.raises(SettingError, match="did you mean 'lora'"):
        ecgtune.compare(DATA, ["lorra"], CompareSettings(seeds=1), out=tmp_path / "b")


def test_the_majority_floor_has_no_model_to_load(comparison):
    with pytest.raises(RunError, match="no run with a model"):
        ecgtune.load_run(comparison[0] / "majority" / "seed-0")


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ("lora,resnet", {}, "'resnet' is a baseline already"),
        ("lora,lora", {}, "same name"),
        ("lora", {"seeds": 0}, "seeds is 0"),
        ("lora", {"reference": "full"}, "reference 'full'"),
    ],
)
def test_variants_that_cannot_be_compared(tmp_path, compare, names, options, message):
    with pytest.raises(SettingError, match=message):
        compare(tmp_path / "never", names, CompareSettings(**options))
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    "other",
    [{"label_fraction": 0.5}, {"split_seed": 1}, {"train_fraction": 0.6}],
    ids=lambda change: next(iter(change)),
)
def test_variants_on_different_splits_are_refused(tmp_path, other):
    first, second = recipes("probe")[0], recipes("lora")[0]
    second = replace(second, data=replace(second.data, **other))
    with pytest.raises(SettingError, match=r"ask for different splits; .* fractions and split_seed"):
        ecgtune.compare(DATA, [first, second], CompareSettings(seeds=1), out=tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_few_labels_are_the_same_for_every_row_and_random_weights_are_told(tmp_path):
    data = ecgtune.simulate(120, patients=60, seed=1, seconds=3)
    (probe,) = recipes("probe")
    probe = replace(
        probe,
        model=replace(probe.model, name="ecg-fm-tiny-random"),
        data=replace(probe.data, label_fraction=0.4),
    )
    results = ecgtune.compare(data, [probe], CompareSettings(seeds=1), out=tmp_path)
    assert "random (seed 0). The encoder was not pretrained" in results["notes"][0]
    assert [row["method"] for row in results["rows"]] == ["probe", "resnet", "majority"]
    assert "only 40 % of the labels" in results["split"]["origin"]
    files = {path.read_text() for path in tmp_path.glob("*/seed-*/split.csv")}
    assert len(files) == 1
    part = [line.split(",")[1] for line in files.pop().splitlines()[1:]]
    whole = ecgtune.split_dataset(data)
    assert part.count("test") == len(whole.test)
    assert part.count("train") < 0.6 * len(whole.train)


def test_out_is_a_file(tmp_path, compare):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="is a file"):
        compare(tmp_path / "file", "probe")


def test_a_cross_validation_keeps_others_out_of_its_folder(tmp_path):
    rounds = [ecgtune.simulate(40, seed=seed, seconds=2) for seed in (1, 2)]
    with exclusive(tmp_path, "first"), pytest.raises(RunError, match=r"in use by process \d+ on .* \(first\)"):
        ecgtune.cross_validate(rounds, "probe", out=tmp_path)

"""Studies: the runner on a tiny setting file, the pages of the kept rows, and claims that follow from them."""

import csv
import importlib
import json
import shutil
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel
from sklearn.metrics import roc_auc_score

import ecgtune
from ecgtune.errors import SettingError
from ecgtune.models.checkpoint import save_encoder
from helpers.models import tiny_classifier
from helpers.records import heartbeats, write_record

ROOT = Path(__file__).resolve().parents[1]
#: Setting files of the runner; other scripts have their own.
STUDIES = [
    file
    for file in sorted((ROOT / "studies").glob("*/*.toml"))
    if {"page", "extends"} & tomllib.loads(file.read_text(encoding="utf-8")).keys()
]
SWEEP = """
kind = "sweep"
page = "page.md"
trials = 2
seeds = 1
space = "space"
[tasks.abnormal]
file = "windows.npz"
title = "Normal against abnormal"
[settings]
model = { name = "MODEL", pooling = "statistics" }
[fractions.1]
optimisation = { epochs = 1, batch_size = 32 }
[variants.probe]
method = { name = "probe" }
[tables.sweep]
kind = "sweep"
"""
METHODS = """
page = "page.md"
seeds = 2
resamples = 50
keep_predictions = true
margin = 0.005
reference = ["full"]
[tasks.abnormal]
file = "windows.npz"
title = "Normal against abnormal"
[fractions.1]
optimisation = { epochs = 2, batch_size = 32 }
[groups.tiny]
model = { name = "MODEL", pooling = "statistics" }
[variants.full]
method = { name = "full" }
apply = ["tiny"]
[variants.probe]
tuned = "probe"
[variants.no-decay]
title = "without weight decay"
of = ["probe"]
settings = { optimisation = { weight_decay = 0.0 } }
[variants.old]
archived = "made by an earlier version"
[tables.methods]
columns = ["trainable", "accuracy", "auroc", "val_auroc"]
differences = ["accuracy"]
reference = "full"
"""


@pytest.fixture(scope="module")
def script():
    """The modules of the studies by name."""
    with pytest.MonkeyPatch.context() as patch:
        studies = ("calibration", "encoders", "pretraining", "real_tasks")
        for folder in ("benchmarks", "studies", *(f"studies/{name}" for name in studies)):
            patch.syspath_prepend(str(ROOT / folder))
        yield importlib.import_module


def rows_of(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def done(script, tmp_path_factory):
    """A folder with a finished study, and a function that runs it again."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny").mkdir()
    save_encoder(tiny_classifier().encoder, folder / "tiny", {})
    windows = ecgtune.simulate(90, seed=1, seconds=3)
    split = np.where(np.isin(windows.group, np.unique(windows.group)[::4]), "val", "train")
    arrays = {"signal": windows.signal, "label": windows.label, "record": windows.group, "split": split}
    np.savez(folder / "windows.npz", sampling_rate=windows.sampling_rate, **arrays)
    for name, text in (("sweep", SWEEP), ("methods", METHODS)):
        (folder / f"{name}.toml").write_text(text.replace("MODEL", str(folder / "tiny")))
    (folder / "space").write_text("[all.optimisation]\nlearning_rate = { around = 3 }\n")
    names = ("sweep", "methods")
    (folder / "page.md").write_text("".join(f"<!-- {name} -->\n<!-- end of {name} -->\n" for name in names))

    def run(*words):
        files = [str(folder / f"{name}.toml") for name in ("methods", "sweep")]
        script("run").main([*files, "--data", str(folder), "--runs", str(folder / "runs"), *words])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecgtune.workflows.run.write_run", lambda folder: None)  # a report takes longer than a run
        run("--variants", "probe", "--seeds", "1")  # a part of the work, as if it was stopped
        run()
    return folder, run


def test_the_runner_does_what_is_missing_and_nothing_twice(done, monkeypatch):
    folder, run = done
    rows = rows_of(folder / "results" / "runs.csv")
    assert [(row["variant"], row["seed"]) for row in rows] == [
        ("probe", "1"), ("full", "0"), ("probe", "0"), ("probe+no-decay", "0"), ("full", "1"), ("probe+no-decay", "1"),
    ]  # fmt: skip
    assert len(rows_of(folder / "results" / "trials.csv")) == 2
    before = {file: file.read_bytes() for file in (folder / "results").glob("*.csv")}
    for name in ("fine_tune", "sweep"):
        monkeypatch.setattr(f"run.{name}", lambda *_, **__: pytest.fail("run again"))
    run()
    assert {file: file.read_bytes() for file in before} == before
    methods = (folder / "methods.toml").read_text()
    (folder / "methods.toml").write_text(methods.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(pytest.fail.Exception):
        run()
    (folder / "methods.toml").write_text(methods)


def test_a_tuned_variant_has_the_settings_of_the_best_trial(done, script):
    folder, _ = done
    settings = script("settings")
    study = settings.Study(folder / "methods.toml")
    best = max(rows_of(folder / "results" / "trials.csv"), key=lambda row: float(row["val_auroc"]))
    recipe = study.recipe(settings.Run("abnormal", 1.0, "probe+no-decay", 1))
    assert recipe.optimisation.learning_rate == float(best["optimisation.learning_rate"])
    assert (recipe.optimisation.weight_decay, recipe.optimisation.epochs) == (0.0, 2)
    assert (recipe.data.split_seed, recipe.title) == (1, "probe without weight decay")
    held_out = settings.Study(folder / "methods.toml")
    held_out.held_out = 0.25
    quarter, whole = held_out.windows("abnormal", folder), study.windows("abnormal", folder)
    judging = set(whole.group[whole.split == "val"])
    assert judging.isdisjoint(quarter.group)
    assert set(quarter.group[quarter.split == "test"]).isdisjoint(quarter.group[quarter.split == "train"])


EACH = """
page = "page.md"
models = ["ecg-fm-tiny"]
seeds = 1
[tasks.windows]
file = "windows.npz"
title = "Windows"
[tasks.few]
file = "few.npz"
title = "Few"
at = [1]
[fractions."0.1"]
[fractions.1]
[variants.probe]
each = "models"
title = "linear probe"
method = { name = "probe" }
[variants.lora]
each = "models"
method = { name = "lora" }
settings = { optimisation = { learning_rate = 1e-3 } }
reference = ["probe"]
[variants.control]
each = ["ecg-fm-tiny-random"]
method = { name = "probe" }
"""


def test_each_model_has_the_variants_and_further_models_are_added(script, tmp_path):
    settings = script("settings")
    (tmp_path / "table.toml").write_text(EACH)
    further = {"ecg-jepa": "downloads/a.pth", "runs/mine": None}
    study = settings.Study(tmp_path / "table.toml", further)
    assert list(study.variants) == [
        *("ecg-fm-tiny-probe", "ecg-jepa-probe", "mine-probe", "ecg-fm-tiny-lora", "ecg-jepa-lora", "mine-lora"),
        "ecg-fm-tiny-random-control",
    ]
    run = settings.Run("windows", 0.1, "ecg-jepa-lora", 0)
    recipe = study.recipe(run)
    assert (recipe.model.name, recipe.model.checkpoint) == ("ecg-jepa", "downloads/a.pth")
    assert (recipe.title, recipe.optimisation.learning_rate) == ("ecg-jepa, lora", 1e-3)
    assert study.variants["ecg-jepa-lora"].reference == ("ecg-jepa-probe",)
    assert study.recipe(settings.Run("few", 1.0, "mine-probe", 0)).model.name == "runs/mine"
    elsewhere = settings.Study(tmp_path / "table.toml", {"ecg-jepa": "b.pth"})
    assert settings.digest(elsewhere.recipe(run)) == settings.digest(recipe)  # the weights are compared, not the path
    assert {(one.task, one.fraction) for one in study.runs()} == {("windows", 0.1), ("windows", 1.0), ("few", 1.0)}


def test_recordings_of_ptbxl_are_windows_of_one_lead(script, tmp_path):
    settings, generator = script("settings"), np.random.default_rng(0)
    names = ("00001_hr", "00145_hr", "00002_hr", "00003_hr", "00004_hr")
    classes = ((1, 0), (1, 0), (0, 1), (0, 0), (0, 1))  # NORM and MI
    lines = ["filename_hr,patient_id,strat_fold,NORM,MI,STTC,CD,HYP"]
    lines += [
        f"records500/00000/{n},{k}.0,{10 - k},{a},{b},0,0,0"
        for k, (n, (a, b)) in enumerate(zip(names, classes, strict=True))
    ]
    (tmp_path / "meta.csv").write_text("\n".join(lines) + "\n")
    signal = generator.integers(-900, 900, (5, 3, 5000)).astype(np.int16)
    np.savez(tmp_path / "recordings.npz", X=signal, leads=np.array(["I", "II", "V1"]))
    task = settings.Task("ptbxl", "recordings.npz", "PTB-XL", positive="NORM", table="meta.csv")
    dataset = task.read(tmp_path)
    assert (dataset.leads, dataset.sampling_rate, dataset.positive) == (("II",), 500, "no NORM")
    assert [dataset.classes[label] for label in dataset.label] == ["NORM", "no NORM", "no NORM"]
    assert dataset.split.tolist() == ["test", "train", "train"]
    np.testing.assert_allclose(dataset.signal[:, 0], signal[[0, 2, 4], 1] / 1000, atol=1e-6)
    assert task.read(tmp_path).source.sha256 == dataset.source.sha256


def test_statistics_are_those_of_the_rows(done):
    folder, _ = done
    rows = pd.read_csv(folder / "results" / "runs.csv")
    cells = {(c["variant"], c["reference"], c["metric"]): c for c in rows_of(folder / "results" / "statistics.csv")}
    for metric in ("accuracy", "auroc"):
        cell = cells["probe", "full", metric]
        own, other = (rows[rows.variant == name].sort_values("seed")[metric].to_numpy() for name in ("probe", "full"))
        assert float(cell["value"]) == pytest.approx(own.mean(), abs=1e-5)
        assert float(cell["difference"]) == pytest.approx((own - other).mean(), abs=2e-5)
        assert float(cell["difference_ci_low"]) <= float(cell["difference"]) <= float(cell["difference_ci_high"])
        interval = ttest_rel(own, other).confidence_interval()
        assert float(cell["seeds_ci_low"]) == pytest.approx(interval.low, abs=1e-4)
        assert float(cell["p_holm"]) >= float(cell["p"])
    assert cells["probe+no-decay", "probe", "accuracy"]["p_holm"] == ""
    assert cells["full", "full", "accuracy"]["difference"] == "0.00000"
    page = (folder / "page.md").read_text()
    assert "| without weight decay" not in page
    assert "| probe without weight decay | 2 |" in page


def test_kept_predictions_replace_those_of_another_machine(done, script, tmp_path):
    folder, run = done
    results, local = folder / "results", folder / "runs" / folder.name / "predictions"
    kept = script("predictions").read_kept(results / "predictions-methods.npz")
    names = [script("differences").prediction_file(row) for row in rows_of(results / "runs.csv")]
    assert list(kept) == names
    for name in names:
        own = script("predictions").load_run(local / name)
        assert own.keys() == kept[name].keys()
        assert all(np.array_equal(own[key], kept[name][key]) for key in own)
    cells = (results / "statistics.csv").read_bytes()
    (results / "statistics.csv").unlink()
    shutil.move(local, tmp_path / "lost")
    run()
    assert (results / "statistics.csv").read_bytes() == cells
    assert {file.name for file in local.iterdir()} == set(names)


def test_p_values(script):
    differences = script("differences")
    np.testing.assert_allclose(differences.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    assert differences.two_sided(np.array([-1.0, 1.0, 1.0, 1.0])) == 2 * 2 / 5
    assert differences.two_sided(np.array([1.0] * 99)) == 2 / 100
    assert np.isnan(differences.two_sided(np.array([np.nan])))


def test_several_commands_lose_no_row(script, tmp_path):
    rows, columns = script("rows"), ("name", "value")
    file = tmp_path / "results" / "rows.csv"
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(rows.replace_rows, file, [{"name": str(n), "value": "a, b"}], columns, ["name"])
            for n in range(20)
        ]
    assert all(job.exception() is None for job in jobs)
    rows.replace_rows(file, [{"name": "3", "value": "new"}], columns, ["name"])
    found = {row["name"]: row["value"] for row in rows.read_rows(file)}
    assert found == {str(n): "new" if n == 3 else "a, b" for n in range(20)}


def test_the_pages_hold_the_tables_of_the_kept_rows(script):
    run, tables = script("run"), script("tables")
    ptbxl, cinc2017, ship = script("ptbxl"), script("cinc2017"), script("ship")
    found = {}
    for study in map(script("settings").Study, STUDIES):
        texts = tables.contents(study, run.current_rows(study))
        assert "Not run yet" not in "".join(texts.values()), study.name
        found |= {(study.folder / study.page, name): text for name, text in texts.items()}
    page = ptbxl.PAGE
    found[page, "ptbxl"] = ptbxl.table(rows_of(ptbxl.RESULTS / "ptbxl.csv"), ptbxl.LABELS, ptbxl.FOLDS)
    folds = script("folds")
    for name, module in (("calibration", folds), *((each, script(each)) for each in ("certainty", "abstention"))):
        found[folds.PAGE, name] = module.table(tomllib.loads(folds.SETTINGS.read_text()))
    found[page, "cinc2017"] = cinc2017.table(rows_of(ptbxl.RESULTS / "cinc2017.csv"))
    frozen = script("frozen")
    found[frozen.PAGE, "frozen"] = frozen.table(rows_of(frozen.RESULTS))
    encoder = json.loads((ship.BUNDLED / "model.json").read_text())
    found[ship.PAGE, "data"] = ship.data_text(ship.KEPT)
    found[ship.PAGE, "run"] = ship.run_table(ship.KEPT, encoder["sha256"])
    for (page, name), text in found.items():
        assert f"<!-- {name} -->\n{text}<!-- end of {name} -->" in page.read_text("utf-8"), f"{name} of {page.name}"
    card = (ship.BUNDLED / "README.md").read_text("utf-8")
    files = json.loads((ship.KEPT / "metrics.json").read_text())["data"]
    digests = [line.split("`")[0] for line in card.split("sha256 `")[1:]]
    assert sha256(b"".join(map(bytes.fromhex, digests[:2]))).hexdigest() == files["sha256"]


def test_a_probe_of_frozen_tokens_is_judged_on_the_test_windows(script, tmp_path):
    frozen, generator = script("frozen"), np.random.default_rng(0)
    windows = ecgtune.simulate(90, seed=1, seconds=3)
    split = np.array(["train", "val", "test"])[np.unique(windows.group, return_inverse=True)[1] % 3]
    dataset = replace(windows, split=split)
    chosen = frozen.parts(dataset, 20)
    assert {len(rows) for rows in frozen.parts(dataset, 5).values()} == {5}
    assert all(set(split[rows]) == {name} for name, rows in chosen.items())
    features = dataset.label[:, None] + generator.standard_normal((90, 3))
    row = frozen.probe(dict(enumerate(features)), dataset, chosen, tmp_path / "test.npz")
    kept = script("predictions").load_run(tmp_path / "test.npz")
    assert float(row["auroc"]) == pytest.approx(roc_auc_score(kept["label"], kept["probability"]), abs=1e-5)
    assert float(row["ci_low"]) <= float(row["auroc"]) <= float(row["ci_high"])
    assert row["training_windows"] == str(len(chosen["train"]))
    row = {"encoder": "made", **row}
    assert f"| made | {len(chosen['train'])} | {float(row['val_auroc']):.3f} |" in frozen.table([row])


def test_recipes_have_the_settings_that_the_sweep_found(script):
    settings = script("settings")
    study = settings.Study(ROOT / "studies" / "peft" / "sweep.toml")
    for name in study.variants:
        recipe = tomllib.loads((ROOT / "recipes" / f"{name}.toml").read_text())
        for setting, value in settings.best_settings(study.trials, name).items():
            table, _, key = setting.partition(".")
            rounded = float(f"{value:.3g}") if isinstance(value, float) else value
            assert recipe[table][key] == rounded, f"{setting} of {name}"


def test_the_default_method_has_the_highest_validation_auroc_of_those_with_few_weights(script):
    rows = pd.read_csv(ROOT / "studies" / "peft" / "results" / "runs.csv")
    rows = rows[(rows.study == "methods") & (rows.task == "abnormal") & (rows.trainable_fraction <= 0.0326)]
    rows = rows[~rows.variant.isin(["lora-ensemble"])]
    whole = rows.groupby("variant").filter(lambda own: own.fraction.nunique() == 3 and len(own) == 15)
    scores = whole.groupby("variant").apply(
        lambda own: np.average(own.val_auroc, weights=own.validation_windows), include_groups=False
    )
    assert set(scores.index) == {"lora", "dora", "side", "oft", "probe"}
    main = importlib.import_module("inspect").signature(ecgtune.fine_tune).parameters["recipe"]
    assert scores.idxmax() == main.default


def test_recordings_left_out_of_ptbxl_have_a_reason(script, tmp_path):
    ptbxl, beats = script("ptbxl"), heartbeats(6)
    rows = ["filename_hr,patient_id," + ",".join(ptbxl.LABELS)]
    for number, signal in enumerate([*beats, 0.5 * beats[0], 2 * beats[1]]):
        write_record(tmp_path / "records", f"r{number}", signal)
        patient = {7: 1}.get(number, number)  # 7 is 1 again, of the same patient; 6 is 0 again, of another
        rows.append(f"r{number},{patient},{int(number % 2 == 0)},{int(number in (1, 7))}" + f",{int(number == 5)}" * 3)
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    dataset, reasons = ptbxl.read(tmp_path / "table.csv", tmp_path / "records", tmp_path / "out" / "own.csv")
    assert sorted(reasons) == ["r0", "r3", "r6"]
    assert "another patient" in reasons["r0"]
    assert reasons["r3"] == "none of the superclasses"
    assert dataset.recording.tolist() == ["r1", "r2", "r4", "r5", "r7"]


def test_means_over_folds_are_of_those_that_have_the_label(script, monkeypatch):
    ptbxl, generator = script("ptbxl"), np.random.default_rng(0)
    decision = importlib.import_module("ecgtune.evaluation.decision").Decision
    predictions = importlib.import_module("ecgtune.training.predictions").Predictions
    threshold = importlib.import_module("ecgtune.evaluation.decision").choose_decision
    training = {"epochs": 2, "best_epoch": 1, "seconds": 1.0}
    metrics = {"title": "T", "weights": "w", "training": training, "parameters": {"trainable_fraction": 0.5}}
    metrics["split"] = {"counts": {"train": {"windows": 3}}}
    folds, truths = [], []
    for fold in range(2):
        label = generator.integers(0, 2, (40, 2)).astype(np.int8)
        label[:, 1] *= fold  # the first fold has none of the second label
        runs = []
        for method in ("probe", "full"):
            probability = np.clip(0.2 * label + generator.random((40, 2)) * 0.8, 0, 1)
            chosen: decision = threshold("multilabel", label, probability, "fixed")
            test = predictions(np.arange(40), np.arange(40) // 2, np.full(40, "test"), label, probability)
            runs.append(ptbxl.FinishedRun(method, {**metrics, "threshold": chosen.to_dict(["a", "b"])}, test))
        folds.append(runs)
        truths.append(label)
    monkeypatch.setattr(ptbxl, "finished_runs", lambda folder: folds[folder])
    rows = {(row["method"], row["label"]): row for row in ptbxl.mean_rows([0, 1], ("a", "b"))}
    areas = [
        [roc_auc_score(truth[:, i], runs[0].test.probability[:, i]) for i in range(1 + fold)]
        for fold, (truth, runs) in enumerate(zip(truths, folds, strict=True))
    ]
    assert float(rows["probe", "a"]["auroc"]) == pytest.approx((areas[0][0] + areas[1][0]) / 2, abs=1e-5)
    assert float(rows["probe", "b"]["auroc"]) == pytest.approx(areas[1][1], abs=1e-5)
    assert [rows["probe", label]["folds_in_mean"] for label in ("a", "b")] == ["2", "1"]
    difference = float(rows["probe", "a"]["auroc"]) - float(rows["full", "a"]["auroc"])
    assert float(rows["probe", "a"]["difference"]) == pytest.approx(difference, abs=2e-5)
    folds_told = [{"fold": "1", "method": "probe"}, {"fold": "2", "method": "probe"}]
    assert "1 of 2 folds" in ptbxl.table([*rows.values(), *folds_told], ("a", "b"), 2)


def test_a_run_is_bundled_with_its_card(script, tmp_path):
    ship, run = script("ship"), tmp_path / "run"
    for name, text in {
        "float16/model.safetensors": "weights", "float16/model.json": '{"sha256": "abc"}', "figures/curves.svg": "svg",
        **{name: (ship.KEPT / name).read_text() for name in ship.FACTS},
    }.items():  # fmt: skip
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(text)
    page, bundled, kept = tmp_path / "page.md", tmp_path / "bundled", tmp_path / "kept"
    page.write_text("<!-- data -->\n<!-- end of data -->\n<!-- run -->\n<!-- end of run -->\n")
    bundled.mkdir()
    (bundled / "README.md").write_text("card")
    ship.ship(run, bundled, kept, page)
    assert {file.name: file.read_text() for file in bundled.iterdir()} == {
        "model.safetensors": "weights", "model.json": '{"sha256": "abc"}', "curves.svg": "svg", "README.md": "card",
    }  # fmt: skip
    assert {file.name for file in kept.iterdir()} == set(ship.FACTS)
    assert "`abc`" in page.read_text()
    before = page.read_text()
    (run / "figures" / "curves.svg").unlink()
    with pytest.raises(OSError, match=r"curves\.svg"):
        ship.ship(run, bundled, kept, page)
    assert page.read_text() == before


def test_a_study_refuses_windows_without_a_split(script, tmp_path):
    settings = script("settings")
    windows = replace(ecgtune.simulate(20, seed=1, seconds=3), split=None)
    arrays = {"signal": windows.signal, "label": windows.label, "record": windows.group}
    np.savez(tmp_path / "windows.npz", sampling_rate=windows.sampling_rate, **arrays)
    with pytest.raises(SettingError, match="has no split"):
        settings.Task("abnormal", "windows.npz", "").read(tmp_path)

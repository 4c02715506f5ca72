"""The harness of the study on simulated windows: it goes on where it stopped, and its page holds what its rows say."""

import csv
import importlib
import inspect
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

import ecgtune
from ecgtune.cli.main import train
from ecgtune.config.space import Choice
from ecgtune.errors import SettingError
from ecgtune.methods.attach import attach
from ecgtune.methods.audits import count_parameters
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.classifier import Head
from ecgtune.models.loading import load_model
from ecgtune.recipe.recipe import load_recipes
from helpers.models import tiny_classifier

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def _scripts():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks" / "peft_study"))
        yield


@pytest.fixture(scope="module")
def harness(_scripts):
    return importlib.import_module("peft_study")


@pytest.fixture(scope="module")
def study(harness, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    save_encoder(tiny_classifier().encoder, folder, {})
    settings = importlib.import_module("peft_settings")
    return settings.Study(
        model=str(folder), precision="fp32", methods=("full", "norm-bias", "probe"), sizes={}, space={}, trials=2,
        trial_epochs=1, trial_batch=32, finalists=1, ensembles={}, always=("full", "probe"), seeds=2, change_seeds=1,
        loops={1.0: settings.Loop(1, 32)}, own_loops={"resnet": {1.0: settings.Loop(2, 32)}}, own_views={},
        tasks=("abnormal",), presets=("paper-full",),
        changes=settings.Study().changes[1:], resamples=50, trial_share=1.0, parts_share=1.0,
        parts=tuple(part for part in settings.PARTS if part.name in ("no-ema", "layer-decay", "mix")),
    )  # fmt: skip


def rows(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


class Done:
    """What one whole study left, and how often it trained."""

    def __init__(self, harness, study, folder: Path) -> None:
        self.harness, self.study, self.folder = harness, study, folder
        self.results, self.page = folder / "results", folder / "page.md"
        self.choices = folder / "choices.md"
        for file, name in ((self.page, "peft_study.md"), (self.choices, "peft_study_choices.md")):
            file.write_text((ROOT / "docs" / name).read_text())
        self.recipes = Path(shutil.copytree(ROOT / "recipes", folder / "recipes"))
        windows = ecgtune.simulate(90, seed=1, seconds=3)
        held_out = np.isin(windows.group, np.unique(windows.group)[::4])
        self.tasks = {"abnormal": replace(windows, split=np.where(held_out, "val", "train"))}

    def run(self, *stages, study=None, tasks=None, **asked):
        self.harness.run(
            study or self.study, self.tasks if tasks is None else tasks, stages or self.harness.STAGES,
            results=self.results, runs=self.folder / "runs", page=self.page, choices=self.choices, recipes=self.recipes,
            **asked,
        )  # fmt: skip


@pytest.fixture(scope="module")
def done(harness, study, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "ecgtune.workflows.run.write_run", lambda folder: None
        )  # a report of each run takes longer than it
        whole = Done(harness, study, tmp_path_factory.mktemp("study"))
        whole.run("sweep")
        whole.run("finals", methods=["full", "probe"], seeds=[1])  # a part of the work, as if it was stopped
        whole.run()
    return whole


def test_a_row_per_run_and_none_twice(done):
    finals = rows(done.results / "finals.csv")
    steps = ["paper-full+loop", "paper-full+care", "paper-full+rate"]
    parts = ["full+no-ema", "full+layer-decay", "probe+mix"]
    runs = sorted((row["method"], row["seed"]) for row in finals)
    assert runs == sorted(
        [(name, seed) for name in ("full", "norm-bias", "probe", "paper-full", "resnet") for seed in "01"]
        + [(name, "0") for name in (*steps, *parts)]
    )
    assert [(row["method"], row["seed"]) for row in finals[:2]] == [("full", "1"), ("probe", "1")]
    assert {row["method"] for row in rows(done.results / "trials.csv")} == {"full", "norm-bias", "probe"}


def test_the_same_command_again_trains_nothing(done, monkeypatch):
    before = {file: file.read_bytes() for file in done.results.rglob("*.csv")}
    for name in ("train", "sweep"):
        monkeypatch.setattr(f"ecgtune.workflows.{name}", lambda *_, **__: pytest.fail("run again"), raising=True)
    done.run()
    assert {file: file.read_bytes() for file in done.results.rglob("*.csv")} == before


def test_finals_use_what_the_sweep_found(done):
    stages = importlib.import_module("peft_stages")
    recipes = stages.final_recipes(done.study, done.results, "abnormal", 1.0)
    for name in ("full", "norm-bias", "probe"):
        (best,) = load_recipes(str(done.results / "best" / f"{name}.toml"))
        assert recipes[name] == best
    assert recipes["paper-full+rate"].optimisation.learning_rate == recipes["full"].optimisation.learning_rate
    assert recipes["paper-full"].optimisation.learning_rate == 1e-3
    assert recipes["paper-full+loop"].optimisation.schedule == "cosine"
    assert recipes["paper-full"].model.head_hidden == 512


def test_recipes_get_what_the_sweep_found_and_keep_their_comments(done):
    recipes = importlib.import_module("peft_recipes")
    for name in done.study.methods:
        (best,) = load_recipes(str(done.results / "best" / f"{name}.toml"))
        (made,) = load_recipes(str(done.recipes / f"{name}.toml"))
        settings = recipes.won(done.study, name, best)
        assert settings == recipes.won(done.study, name, made)
        assert settings["optimisation.learning_rate"] == pytest.approx(best.optimisation.learning_rate, rel=5e-3)
        assert ("optimisation.ema" in settings) == (name != "probe")
        assert made.optimisation.epochs != best.optimisation.epochs  # how long is no matter of the sweep
        assert made.augmentation.polarity_flip == 0.0  # leads that stand still are not turned upside down
    comments = [line for line in (ROOT / "recipes" / "norm-bias.toml").read_text().splitlines() if "#" in line]
    told = (done.recipes / "norm-bias.toml").read_text()
    (changed,) = set(comments) - set(told.splitlines())
    width = load_model(done.study.model).encoder.head_width
    assert changed.replace("192", str(width)) in told
    assert changed.startswith("rate_width = 192")
    assert (done.recipes / "lora.toml").read_text() == (ROOT / "recipes" / "lora.toml").read_text()
    more = replace(done.study, methods=(*done.study.methods, "lora"))
    (done.recipes / "probe.toml").write_text((ROOT / "recipes" / "probe.toml").read_text())
    assert recipes.write_recipes(more, done.results, done.recipes) == []  # one has had no trials
    assert recipes.write_recipes(done.study, done.results, done.recipes) == ["probe"]


def test_the_recipes_that_ship_are_what_the_study_found(harness, tmp_path):
    settings, recipes = importlib.import_module("peft_settings"), importlib.import_module("peft_recipes")
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    assert recipes.write_recipes(settings.Study(), harness.RESULTS, tmp_path / "recipes") == []


def test_statistics_are_those_of_the_predictions(done):
    cells = rows(done.results / "statistics.csv")
    finals = rows(done.results / "finals.csv")
    found = {(cell["method"], cell["reference"], cell["metric"]): cell for cell in cells}
    mean = {m: np.mean([float(r["accuracy"]) for r in finals if r["method"] == m]) for m in ("full", "probe", "resnet")}
    cell = found["probe", "full", "accuracy"]
    assert float(cell["value"]) == pytest.approx(mean["probe"], abs=1e-5)
    assert float(cell["difference"]) == pytest.approx(mean["probe"] - mean["full"], abs=2e-5)
    assert float(cell["difference_low"]) <= float(cell["difference"]) <= float(cell["difference_high"])
    assert float(cell["p_holm"]) >= float(cell["p"])
    assert cell["not_inferior"] == str(float(cell["difference_low"]) > -done.study.margin)
    assert found["full", "full", "accuracy"]["difference"] == "0.00000"
    assert ("probe", "resnet", "auroc") in found
    assert ("probe", "paper-full", "auroc") in found
    assert found["probe+mix", "probe", "accuracy"]["p_holm"] == ""
    assert ("full+no-ema", "full", "accuracy") in found
    assert ("full+no-ema", "full+layer-decay", "accuracy") not in found
    assert found["paper-full+loop", "full", "accuracy"]["p_holm"] == ""
    assert cell["seeds"] == "2"


def test_the_page_holds_the_tables(done, harness):
    page, tables = done.page.read_text(), importlib.import_module("peft_tables").tables(done.study, done.results)
    assert tables.keys() == {"abnormal", "presets", "parts", "answer"}
    for name, text in tables.items():
        assert f"<!-- {name} -->\n{text}<!-- end of {name} -->" in page
    assert "not run" not in "".join(tables.values())
    found = importlib.import_module("peft_contest").winner(done.study, rows(done.results / "finals.csv"))
    small = [r for r in rows(done.results / "finals.csv") if float(r["trainable_share"]) <= 0.0326]
    means = {
        name: np.mean([float(r["val_auroc"]) for r in small if r["method"] == name])
        for name in ("norm-bias", "probe")
        if any(r["method"] == name for r in small)
    }
    assert found == max(means, key=means.get)
    assert f"**`{found}`**" in tables["answer"]
    for other, name in (
        ("full fine-tuning as published", "paper-full"),
        ("the frozen probe", "probe"),
        ("the network from scratch", "resnet"),
    ):
        assert (f"`{found}` minus {other} |" in tables["answer"]) == (found != name)
    assert all((done.results / f"{name}.svg").is_file() for name in ("differences", "auroc_differences", "shares"))
    done.run("page", tasks={})
    assert done.page.read_text() == page
    sweep = importlib.import_module("peft_tables").sweep_table(done.study, rows(done.results / "trials.csv"))
    assert f"<!-- sweep -->\n{sweep}<!-- end of sweep -->" in done.choices.read_text()


def test_what_lies_far_below_is_an_arrow_with_its_number(harness, tmp_path):
    settings, figure = importlib.import_module("peft_settings"), importlib.import_module("peft_figure")
    place = {"task": "abnormal", "share": "1", "reference": "full", "metric": "accuracy"}

    def cell(method, points):
        ends = {"difference_low": points - 1, "difference": points, "difference_high": points + 1}
        return place | {"method": method} | {name: f"{value / 100:.5f}" for name, value in ends.items()}

    cells = [cell("resnet", -12.3), cell("lora", -5.9), cell("probe", 0.2)]
    (file,) = figure.write_differences(tmp_path / "differences.svg", settings.Study(), cells)
    text = re.findall(r">([^<>]+)</text>", file.read_text("utf-8"))
    assert [name for name in text if name in ("lora", "probe", "resnet")] == ["resnet", "probe", "lora"]
    assert [number for number in text if "." in number and "points" not in number] == ["\N{MINUS SIGN}12.3"]


def test_the_winner_is_of_those_that_ran_everywhere_and_by_as_many_windows_as_there_are(harness):
    settings, contest = importlib.import_module("peft_settings"), importlib.import_module("peft_contest")

    loop = settings.Loop(1, 1)
    study = settings.Study(loops={1.0: loop}, seeds=1, always=("lora", "oft"))

    def row(method, seed, score, share="1", windows=100, **other):
        place = {"task": "abnormal", "share": share, "method": method, "seed": seed, "trainable_share": "0.01"}
        place |= {"precision": "bf16", "device": "cpu"}
        return {**place, "val_auroc": str(score), "validation_windows": str(windows), **other}

    def winner(*told):
        return contest.winner(study, told)

    both = [row("lora", "0", 0.8), row("oft", "0", 0.7)]
    assert winner(*both) == "lora"
    assert winner(*both, row("vera", "0", 0.9, task="fibrillation"), row("vera+mean", "0", 0.9)) == "lora"
    assert winner(*both, row("full", "0", 0.9, trainable_share="1.0"), row("resnet", "0", 0.9)) == "lora"
    assert winner(row("lora", "0", 0.8)) == winner() == ""
    study = replace(study, seeds=2)
    assert winner(*both, row("oft", "1", 0.99)) == ""  # of an easy seed that lora has not seen
    assert winner(*both, row("oft", "1", 0.99), row("lora", "1", 0.7)) == "oft"
    study = replace(study, seeds=1, loops={1.0: loop, 0.01: loop})
    assert winner(*both) == ""  # not all shares have run
    few = [row("lora", "0", 0.1, "0.01", 10), row("oft", "0", 0.9, "0.01", 10)]
    assert winner(*both, *few) == "lora"  # few windows count little
    assert winner(*both, *few, row("dora", "0", 0.99, "0.01")) == "lora"  # not of all shares
    dora = [row("dora", "0", 0.99), row("dora", "0", 0.99, "0.01")]
    assert winner(*both, *few, *dora) == "dora"
    ensemble = [row("lora-ensemble", "0", 1.0), row("lora-ensemble", "0", 1.0, "0.01")]
    assert winner(*both, *few, *dora, *ensemble) == "dora"  # an ensemble had no trials
    told = contest.lead(study, [*both, *few, *dora, *ensemble])
    assert told == "`lora` -25.36, `oft` -27.18, `lora-ensemble` +1.00"
    study = replace(study, always=("lora", "oft", "side"))
    assert winner(*both, *few, *dora) == ""  # side has not run


@pytest.mark.parametrize(("column", "value"), [("precision", "fp32"), ("device", "NVIDIA H100")])
def test_no_method_wins_over_runs_of_other_formats_or_devices(harness, column, value):
    settings, contest = importlib.import_module("peft_settings"), importlib.import_module("peft_contest")
    loop = settings.Loop(1, 1)
    study = settings.Study(loops={0.1: loop, 1.0: loop}, seeds=1, always=("lora", "oft"))
    told = [
        {"task": "abnormal", "share": share, "method": method, "seed": "0", "trainable_share": "0.01",
         "val_auroc": "0.9" if method == "oft" else "0.8", "validation_windows": "100", "precision": "bf16",
         "device": "cpu"}
        for share in ("0.1", "1") for method in ("lora", "oft")
    ]  # fmt: skip
    assert contest.winner(study, told) == "oft"
    share_by_itself = [{**row, column: value} if row["share"] == "1" else row for row in told]
    assert contest.winner(study, share_by_itself) == "oft"
    assert contest.winner(study, [*told[:-1], {**told[-1], column: value}]) == ""


def test_the_lead_of_the_winner_has_the_error_of_paired_seeds(harness):
    settings, contest = importlib.import_module("peft_settings"), importlib.import_module("peft_contest")
    study = settings.Study(loops={1.0: settings.Loop(1, 1)}, seeds=3, always=("lora", "oft"))
    scores = {"oft": (0.90, 0.80, 0.85), "lora": (0.88, 0.79, 0.85)}
    told = [
        {"task": "abnormal", "share": "1", "method": method, "seed": str(seed), "trainable_share": "0.01",
         "val_auroc": str(score), "validation_windows": "100", "precision": "bf16", "device": "cpu"}
        for method, own in scores.items() for seed, score in enumerate(own)
    ]  # fmt: skip
    assert contest.winner(study, told) == "oft"
    assert contest.lead(study, told) == "`lora` -1.00 ± 0.58"  # of -2, -1 and 0


@pytest.mark.parametrize(
    ("not_inferior", "seeds_low", "told"),
    [("True", "-0.004", "yes"), ("True", "-0.006", "for these seeds"), ("True", "nan", "for these seeds"),
     ("False", "-0.004", "not shown")],
)  # fmt: skip
def test_not_inferior_is_said_of_recordings_and_of_seeds(harness, not_inferior, seeds_low, told):
    settings, tables = importlib.import_module("peft_settings"), importlib.import_module("peft_tables")
    assert tables._verdict(settings.Study(), {"not_inferior": not_inferior, "seeds_low": seeds_low}) == told


def test_the_interval_over_seeds_is_that_of_a_paired_t_test(harness):
    random = np.random.default_rng(0)
    own, other = random.normal(0.8, 0.02, (2, 5))
    found = importlib.import_module("peft_stages").over_seeds(own - other)
    np.testing.assert_allclose(found, ttest_rel(own, other).confidence_interval(0.95))
    assert all(np.isnan(importlib.import_module("peft_stages").over_seeds([0.1])))


@pytest.mark.parametrize(("column", "told"), [("precision", "other on a CPU"), ("device", "{own} on other")])
def test_pairs_are_of_one_number_format_on_one_device(done, tmp_path, column, told):
    stages, tables = importlib.import_module("peft_stages"), importlib.import_module("peft_tables")
    finals = rows(done.results / "finals.csv")
    mixed = [{**row, column: "other"} if (row["method"], row["seed"]) == ("probe", "1") else row for row in finals]
    shutil.copytree(done.results / "predictions", tmp_path / "predictions")
    stages.run_statistics(done.study, mixed, done.tasks, tmp_path)
    cells = rows(tmp_path / "statistics.csv")
    seeds = {(c["method"], c["reference"]): c["seeds"] for c in cells}
    assert (seeds["probe", "full"], seeds["norm-bias", "full"]) == ("1", "2")
    (own,) = {row["precision"] for row in finals}
    assert tables._trained_in(finals) == f"Trained in {own} on a CPU."
    whole = sum("+" not in row["method"] for row in finals)
    text = tables.finals_table(done.study, ["full", "probe"], mixed, cells)
    assert f"{own} on a CPU ({whole - 1} runs)" in text
    assert f"{told.format(own=own)} (1 run)" in text
    assert "| norm-bias | 2 |" in text  # which ran, though it is no finalist


@pytest.mark.parametrize(
    ("column", "device", "again"),
    [("precision", None, True), ("device", None, False), ("device", "cpu", True)],
)
def test_a_run_in_another_number_format_or_on_a_device_not_asked_for_is_made_again(
    done, tmp_path, monkeypatch, column, device, again
):
    peft_rows, stages = importlib.import_module("peft_rows"), importlib.import_module("peft_stages")
    shutil.copytree(done.results, tmp_path / "results")
    file = tmp_path / "results" / "finals.csv"
    before = rows(file)
    mixed = [{**row, column: "other"} if (row["method"], row["seed"]) == ("probe", "1") else row for row in before]
    peft_rows.write_rows(file, mixed, stages.RUN_COLUMNS)
    trained, train = [], ecgtune.fine_tune
    monkeypatch.setattr(
        "ecgtune.fine_tune", lambda *given, **named: trained.append(given[1].name) or train(*given, **named)
    )
    done.harness.run(
        done.study, done.tasks, ("finals",), results=tmp_path / "results", runs=tmp_path / "runs", device=device
    )
    assert trained == (["probe"] if again else [])
    assert {row[column] for row in rows(file)} - {before[0][column]} == (set() if again else {"other"})
    assert len(rows(file)) == len(before)


def test_a_table_that_another_device_began_is_not_ended_on_this_one(done, tmp_path):
    peft_rows, stages = importlib.import_module("peft_rows"), importlib.import_module("peft_stages")
    shutil.copytree(done.results, tmp_path / "results")
    file = tmp_path / "results" / "finals.csv"
    left = [{**row, "device": "other"} for row in rows(file) if row["method"] != "probe"]
    peft_rows.write_rows(file, left, stages.RUN_COLUMNS)
    with pytest.raises(SettingError, match="are of other, and one of cpu could not be compared"):
        done.harness.run(done.study, done.tasks, ("finals",), results=tmp_path / "results", runs=tmp_path / "runs")
    assert rows(file) == left
    with pytest.raises(SettingError, match="device 'tpu' is not on this machine"):
        stages.run_finals(done.study, done.tasks, tmp_path / "results", tmp_path / "runs", device="tpu")


def test_an_ensemble_is_its_method_with_changes_as_long_as_that_and_no_larger_than_published(harness):
    settings, contest = importlib.import_module("peft_settings"), importlib.import_module("peft_contest")
    study, found = settings.Study(), settings.tuned(harness.RESULTS)
    made = study.ensembled(found)
    assert made.keys() == study.ensembles.keys()
    for name, recipe in made.items():
        method, changed = study.ensembles[name]
        assert recipe.name == name
        assert recipe.training == found[method].training
        assert changed["model.members"] == recipe.model.members > 1
        for share in study.loops:
            final = study.final(recipe, name, "abnormal", share, 3)
            alone = study.final(found[method], method, "abnormal", share, 3)
            for part in ("training", "augmentation", "input"):
                assert getattr(final, part) == getattr(alone, part)
        head = Head(recipe.model.head_hidden, pooling=recipe.model.pooling)
        model = attach(load_model(study.model, head=head), recipe.method, members=recipe.model.members)
        assert count_parameters(model, recipe.method).fraction <= contest.CAP
    assert study.ensembled({}) == {}


def test_train_without_a_method_takes_the_one_that_won(harness):
    settings, tables = importlib.import_module("peft_settings"), importlib.import_module("peft_tables")
    contest = importlib.import_module("peft_contest")
    study = settings.Study()
    won = contest.winner(study, tables.current_rows(study, harness.RESULTS))
    assert inspect.signature(train).parameters["method"].default == (won or study.default)


def test_rows_of_other_settings_do_not_count(done, tmp_path, monkeypatch):
    stages = importlib.import_module("peft_stages")
    finals = rows(done.results / "finals.csv")
    data = {"abnormal": done.tasks["abnormal"].source.sha256}
    assert stages.current(done.study, finals, done.results, data) == finals
    assert stages.current(done.study, finals, done.results, {"abnormal": "0" * 64}) == []
    loops = {1.0: replace(done.study.loops[1.0], epochs=2)}
    longer = replace(done.study, loops=loops, own_loops={"resnet": {1.0: replace(loops[1.0], epochs=3)}})
    assert stages.current(longer, finals, done.results, data) == []
    key = stages.sweep_key(done.study, "full", "data")
    assert stages.sweep_key(longer, "full", "data") == key  # finals are no part of the sweep
    assert stages.sweep_key(replace(done.study, trials=3), "full", "data") != key
    assert stages.sweep_key(done.study, "probe", "data") != key
    changed = replace(done.study, space={"all": {"optimisation.weight_decay": Choice((0.3,))}})
    assert stages.sweep_key(changed, "full", "data") != key


def test_statistics_need_nothing_but_what_is_kept_in_the_repository(done):
    file = done.results / "statistics.csv"
    before = rows(file)
    assert len(list((done.results / "predictions").glob("*.npy"))) == len(rows(done.results / "finals.csv"))
    file.unlink()
    shutil.rmtree(done.folder / "runs")
    done.run("statistics")
    assert rows(file) == before


def test_statistics_without_predictions_stay_until_a_run_is_made_again(done, tmp_path):
    stages = importlib.import_module("peft_stages")
    finals, before = rows(done.results / "finals.csv"), rows(done.results / "statistics.csv")
    bare = tmp_path / "results"  # without predictions
    bare.mkdir()
    shutil.copy(done.results / "statistics.csv", bare)
    stages.run_statistics(done.study, finals, done.tasks, bare)
    assert rows(bare / "statistics.csv") == before
    again = [{**row, "accuracy": "0.5"} if row["method"] == "probe" else row for row in finals]
    stages.run_statistics(done.study, again, done.tasks, bare)
    left = [row for row in before if "probe" not in (row["method"], row["reference"])]
    assert [{**row, "p_holm": ""} for row in rows(bare / "statistics.csv")] == [{**row, "p_holm": ""} for row in left]


def test_statistics_of_other_tasks_stay(done):
    stages = importlib.import_module("peft_stages")
    file = done.results / "statistics.csv"
    before = rows(file)
    other = [{**row, "task": "other"} for row in before]
    importlib.import_module("peft_rows").write_rows(file, [*before, *other], stages.CELL_COLUMNS)
    done.run("statistics")
    after = rows(file)
    assert sorted(map(str, after)) == sorted(map(str, [*before, *other]))
    importlib.import_module("peft_rows").write_rows(file, before, stages.CELL_COLUMNS)


def test_a_run_without_its_predictions_is_made_again(done):
    before = {file: np.load(file) for file in (done.results / "predictions").glob("*.npy")}
    finals = [row for row in rows(done.results / "finals.csv") if (row["method"], row["seed"]) == ("probe", "1")]
    lost = importlib.import_module("peft_predictions").file_of(done.results, finals[0])
    lost.unlink()
    done.run("finals", methods=["probe"], seeds=[1])
    np.testing.assert_array_equal(np.load(lost), before[lost])
    again = [row for row in rows(done.results / "finals.csv") if (row["method"], row["seed"]) == ("probe", "1")]
    measured = ("seconds", "seconds_per_epoch", "peak_memory_bytes", "date")
    assert [{k: v for k, v in row.items() if k not in measured} for row in again] == [
        {k: v for k, v in row.items() if k not in measured} for row in finals
    ]


def test_a_final_that_was_stopped_goes_on_where_it_stood(done, tmp_path, monkeypatch):
    def finals():
        done.harness.run(
            done.study, done.tasks, ("finals",), results=tmp_path / "results", runs=tmp_path / "runs",
            methods=["norm-bias"], seeds=[1],
        )  # fmt: skip

    shutil.copytree(done.results, tmp_path / "results", ignore=shutil.ignore_patterns("predictions"))
    with monkeypatch.context() as patch:
        patch.setattr("ecgtune.workflows.run.logits_of", lambda *_, **__: pytest.exit("stopped"))
        with pytest.raises(pytest.exit.Exception, match="stopped"):
            finals()
    (log,) = (tmp_path / "runs").rglob("log.jsonl")
    trained = log.read_text()
    written = []
    with monkeypatch.context() as patch:
        patch.setattr("ecgtune.workflows.run.write_run", lambda folder: None)
        patch.setattr("peft_stages.save", lambda *_: written.append(log.read_text()))
        finals()
    assert written == [trained]  # with its seconds, so it was not trained again
    assert not log.parent.exists()


def test_predictions_go_with_the_row_that_another_takes_the_place_of(done, tmp_path):
    shutil.copytree(done.results, tmp_path / "results")
    loops = {1.0: replace(done.study.loops[1.0], epochs=2)}
    done.harness.run(
        replace(done.study, loops=loops), done.tasks, ("finals",), results=tmp_path / "results",
        runs=tmp_path / "runs", methods=["probe"], seeds=[1],
    )  # fmt: skip
    for folder in (done.results, tmp_path / "results"):
        finals = rows(folder / "finals.csv")
        kept = {importlib.import_module("peft_predictions").file_of(folder, row) for row in finals}
        assert kept == set((folder / "predictions").glob("*.npy"))
        assert len(finals) == len(rows(done.results / "finals.csv"))
    assert rows(tmp_path / "results" / "finals.csv") != rows(done.results / "finals.csv")


def test_kept_predictions_have_the_side_and_rank_of_what_was_predicted(done, tmp_path):
    predictions = importlib.import_module("peft_predictions")
    dataset = done.tasks["abnormal"]
    judging = predictions.judging_windows(dataset)
    random = np.random.default_rng(0)
    cut = 0.3
    probability = random.random(len(judging))
    probability[:5] = [0.0, 1.0, cut, np.nextafter(cut, 0), 1e-30]
    predictions.save(tmp_path / "run.npy", probability, cut)
    kept = np.load(tmp_path / "run.npy")
    assert kept.nbytes == 2 * len(judging)
    np.testing.assert_array_equal(kept >= 0, probability >= cut)
    found = predictions.resampled([tmp_path / "run.npy"], dataset, 20)
    direct = importlib.import_module("paired").resample(
        dataset.label[judging], probability, dataset.group[judging], threshold=cut, resamples=20
    )
    for metric in ("accuracy", "f1"):
        np.testing.assert_array_equal(found.draws[metric], direct.draws[metric])
    np.testing.assert_allclose(found.draws["auroc"], direct.draws["auroc"], atol=1e-3)


def test_windows_without_a_split_of_their_own_are_refused(done):
    with pytest.raises(SettingError, match="abnormal have no split of their own"):
        done.run(tasks={"abnormal": ecgtune.simulate(90, seed=1, seconds=3)})


def test_finalists_are_the_best_on_validation(harness):
    settings, stages = importlib.import_module("peft_settings"), importlib.import_module("peft_stages")
    scores = {"full": 0.5, "lora": 0.6, "vera": 0.9, "oft": 0.8, "ia3": 0.7, "dora": 0.95}
    trials = [{"method": name, "val_auroc": str(score)} for name, score in scores.items()]
    trials.append({"method": "ia3", "val_auroc": ""})
    study = settings.Study(finalists=2)
    assert stages.finalists(study, trials) == ["full", "lora", "dora", "side", "vera", "probe"]


def test_every_recipe_of_the_study_can_be_made(harness):
    settings = importlib.import_module("peft_settings")
    space_of = importlib.import_module("ecgtune.recipe").space_of
    study = settings.Study()
    for name in study.methods:
        recipe = study.swept(name)
        assert (recipe.model.name, recipe.model.pooling) == ("ecg-fm-tiny", "statistics")
        assert "optimisation.learning_rate" in space_of(recipe, study.space)
    for name in study.presets:
        steps = [f"{name}+{step}" for step in ("head", "loop", "care", "rate")]
        assert list(study.preset(name, 1e-3)) == [name, *steps]
        assert study.preset(name, None)[f"{name}+head"].model.head_hidden is None
    assert study.swept("lora").augmentation.acting
    assert (study.swept("side").augmentation.augmented_copies, study.swept("lora").augmentation.augmented_copies) == (
        2,
        None,
    )
    assert study.swept("side").augmentation.acting == study.swept("lora").augmentation.acting
    assert not study.swept("probe").augmentation.acting
    parts = [name for method in study.methods for name in study.with_parts(method, study.swept(method))]
    assert len(parts) == len(set(parts)) == sum(len(part.of) for part in study.parts)
    final = study.final(study.swept("lora"), "lora", "fibrillation", 0.1, 3)
    assert (final.evaluation.threshold, final.data.label_fraction, final.data.split_seed) == ("f1", 0.1, 3)


def test_lengths_are_chosen_on_recordings_that_no_final_is_judged_on(harness, done):
    settings, lengths = importlib.import_module("peft_settings"), importlib.import_module("few_label_lengths")
    dataset = done.tasks["abnormal"]
    quarter = lengths.without_a_quarter(dataset)
    judging = set(dataset.group[dataset.split == "val"])
    assert judging.isdisjoint(quarter.group)
    away, left = (set(quarter.group[quarter.split == part]) for part in ("test", "train"))
    assert away.isdisjoint(left)
    assert len(away) == len(away | left) // 4
    recipe = lengths.recipe_of(settings.Study(), "lora", 0.1, lengths.Length(7, 3), 2)
    assert (
        recipe.optimisation.epochs,
        recipe.optimisation.checkpoint_metric,
        recipe.augmentation.augmented_copies,
    ) == (7, "last", 3)
    assert (recipe.data.label_fraction, recipe.data.split_seed) == (0.1333, 2)


def test_parts_on_held_out_recordings_are_those_of_the_finals(harness):
    settings, parts = importlib.import_module("peft_settings"), importlib.import_module("few_label_parts")
    members = importlib.import_module("few_label_members")
    study, found = settings.Study(), settings.tuned(harness.RESULTS)
    for name, arm in parts.arms(study).items():
        made = members.own_recipe(study, 0.1, arm, 0)
        method, _, part = name.partition("+")
        recipe = study.with_parts(method, found[method])[name] if part else found[method]
        final = study.final(recipe, name, "abnormal", 0.1, 0)
        for own in ("method", "model", "training", "augmentation"):
            assert getattr(made, own) == getattr(final, own)
        assert parts.title(study, name) == (recipe.title if part else f"{method} as tuned")


def test_arms_are_paired_by_seed_and_number_format_with_the_arm_they_belong_to(harness):
    members = importlib.import_module("few_label_members")

    def row(arm, seed, accuracy, precision="bf16"):
        told = {"share": "0.1", "arm": arm, "seed": str(seed), "title": arm, "trainable_share": "1", "seconds": "2"}
        return told | {"accuracy": str(accuracy), "auroc": str(accuracy), "precision": precision}

    told = [row(arm, seed, base + seed / 100) for arm, base in (("a", 0.5), ("b", 0.7)) for seed in range(3)]
    told += [row("a+x", 0, 0.51), row("a+x", 1, 0.53), row("a+x", 2, 0.9, "fp32"), row("b+x", 0, 0.7)]
    text = members.arms_table(told, {"a": "a", "a+x": "a", "b": "b", "b+x": "b"}, "its own")
    assert "accuracy minus its own | AUROC minus its own |" in text
    (line,) = (line for line in text.splitlines() if "| a+x |" in line)
    assert "| +1.50 (-4.85 to +7.85) | +1.50" in line  # of 1 and 2 points; the third is in another format
    assert text.splitlines()[-1].endswith("|  |  |")  # one seed


def test_finals_keep_the_last_epoch_but_where_that_is_the_part(harness):
    settings = importlib.import_module("peft_settings")
    study = settings.Study()
    recipe = study.swept("lora")
    part = study.with_parts("lora", recipe)["lora+best-epoch"]
    assert study.final(part, "lora+best-epoch", "abnormal", 0.1, 0).optimisation.checkpoint_metric == "auroc"
    side = study.swept("side")
    views = {
        share: study.final(side, "side", "abnormal", share, 0).augmentation.augmented_copies for share in study.loops
    }
    assert views == study.own_views["side"]
    for part in ("fresh", "no-augmentation"):
        changed = study.with_parts("side", side)[f"side+{part}"]
        assert study.final(changed, f"side+{part}", "abnormal", 0.1, 0).augmentation.augmented_copies is None
    for name in ("lora", "lora+mean", "paper-lora+head"):
        assert study.final(recipe, name, "abnormal", 0.1, 0).optimisation.checkpoint_metric == "last"


def test_fibrillation_is_one_label_of_four(harness, tmp_path):
    rhythms = np.array(["N", "A", "O", "~"] * 5)
    signal = np.random.default_rng(0).integers(-500, 500, (20, 600)).astype(np.int16)
    np.savez(
        tmp_path / "rhythms.npz", signal=signal, label=rhythms, record=np.repeat(list("abcde"), 4),
        split=np.array(["train"] * 12 + ["val"] * 8), sampling_rate=100, start_sample=np.zeros(20),
    )  # fmt: skip
    dataset = importlib.import_module("peft_rows").fibrillation(tmp_path / "rhythms.npz")
    assert dataset.label.tolist() == [0, 1, 0, 0] * 5
    assert dataset.classes == ("other", "fibrillation")
    np.testing.assert_allclose(dataset.signal[:, 0] * 1000, signal, atol=1e-3)


def test_the_pages_in_the_docs_hold_the_tables_of_the_kept_rows(harness):
    settings, tables = importlib.import_module("peft_settings"), importlib.import_module("peft_tables")
    page = (ROOT / "docs" / "peft_study.md").read_text("utf-8")
    for name, text in tables.tables(settings.Study(), harness.RESULTS).items():
        assert f"<!-- {name} -->\n{text}<!-- end of {name} -->" in page
    page, study = (ROOT / "docs" / "peft_study_choices.md").read_text("utf-8"), settings.Study()
    sweep = tables.sweep_table(study, rows(harness.RESULTS / "trials.csv"))
    assert f"<!-- sweep -->\n{sweep}<!-- end of sweep -->" in page
    for name in (
        "side_rates",
        "final_lengths",
        "few_label_lengths",
        "few_label_members",
        "few_label_parts",
        "number_formats",
    ):
        module = importlib.import_module(name)
        assert f"<!-- {name} -->\n{module.table(rows(module.FILE))}<!-- end of {name} -->" in page
    assert re.search(r"^peft-study:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)

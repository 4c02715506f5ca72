"""`ecgtune sweep` as a user types it."""

import csv

import pytest

import ecgtune
from ecgtune.cli.main import main
from ecgtune.io.writing import write_csv
from ecgtune.recipes.recipe import load_recipes
from helpers.cli import refused, run

QUICK = ["--epochs", "2", "--batch-size", "32", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "windows.csv"
    write_csv(ecgtune.simulate(90, seed=1, seconds=3), file)
    return file


@pytest.fixture(autouse=True)
def _own_place(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_sweep_prints_the_best_files_and_train_takes_them(windows, capsys, tmp_path):
    (tmp_path / "space.toml").write_text("[probe.model]\nhead_hidden = { choices = [8, 16] }\n")
    tokens = ["sweep", windows, "--sampling-rate", "100", "--methods", "probe", "--trials", "2", "--out", "s", *QUICK]
    run(*tokens, "--space", "space.toml", "--weight-decay", "0.02")
    out = capsys.readouterr().out
    assert "best probe: s/best/probe.toml\nreport: s/report.html" in out
    with (tmp_path / "s" / "trials.csv").open(newline="") as file:
        columns = csv.DictReader(file).fieldnames or []
    assert {"optimisation.learning_rate", "model.head_hidden"} <= set(columns)
    assert "optimisation.weight_decay" not in columns  # given as a flag: not searched
    (best,) = load_recipes("s/best/probe.toml")
    assert (best.optimisation.weight_decay, best.optimisation.epochs) == (0.02, 2)
    assert "the space of" in refused(capsys, *tokens)
    run("fine-tune", windows, "--sampling-rate", "100", "--method", "s/best/probe.toml", "--out", "run", "--quiet")
    assert ecgtune.load_run("run").metrics["name"] == "probe"


@pytest.mark.parametrize("methods", [["full", "lora", "probe"], ["full,lora,probe"], ["full,", "lora,probe"]])
def test_methods_are_joined_by_commas_or_spaces(windows, monkeypatch, methods):
    asked = []
    monkeypatch.setattr(ecgtune, "sweep", lambda data, recipes, settings, **_: asked.extend(recipes) or {})
    main(["sweep", str(windows), "--sampling-rate", "100", "--methods", *methods, "--epochs", "7"])
    assert [recipe.name for recipe in asked] == ["full", "lora", "probe"]
    assert {recipe.optimisation.epochs for recipe in asked} == {7}


@pytest.mark.parametrize(
    ("tokens", "parts"),
    [
        (["--methods", "lorra"], ["did you mean 'lora'"]),
        (["--trials", "0"], ["trials is 0", "1 or more"]),
        (["--seed", "-1"], ["seed is -1"]),
        (["--space", "nowhere.toml"], ["nowhere.toml", "no such file"]),
        (["--backend", "slurm"], ["--backend", "ray"]),
        (["--learning-rate", "0"], ["learning_rate"]),
        (["--label-fraction", "0.0001"], ["label_fraction"]),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(windows, capsys, tmp_path, tokens, parts):
    line = refused(capsys, "sweep", windows, "--sampling-rate", "100", *tokens)
    assert all(part in line for part in parts), line
    assert not (tmp_path / "runs").exists()


def test_help_shows_the_command(capsys):
    main(["--help"])
    assert "sweep" in capsys.readouterr().out

"""`compare(..., model=[...])`: encoders x methods on the same windows, each at its own rate, leads and preset."""

import csv
import json
import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

import ecgtune
from ecgtune.cli.main import main
from ecgtune.data.dataset import Dataset
from ecgtune.errors import CheckpointError, DataError, SettingError
from ecgtune.evaluation.statistics.estimate import holm
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.inception_1d.network import Inception1d, Inception1dConfig
from ecgtune.models.s4d.network import S4D, S4DConfig
from ecgtune.recipes.comparison import check_variants, encoder_pairs, method_name, short_name, with_models
from ecgtune.recipes.lookup import as_recipes
from ecgtune.recipes.preset import changed_preset
from ecgtune.reporting.encoders import pareto, write_pareto
from ecgtune.training.predictions import read_predictions
from ecgtune.training.run_folder import RunFolder
from ecgtune.workflows.baselines import variants_of
from ecgtune.workflows.preparation import prepare
from helpers.encoders import registered
from helpers.published import TINY

METHODS = (
    ecgtune.recipe("probe", epochs=2, batch_size=16, device="cpu", precision="fp32"),
    ecgtune.recipe("lora", epochs=2, batch_size=16, device="cpu", precision="fp32"),
)


def two_leads(windows: int = 60, seconds: float = 4.0, rate: float = 250.0) -> Dataset:
    """Simulated windows of leads I and II."""
    made = ecgtune.simulate(windows, seconds=seconds, sampling_rate=rate, seed=3)
    signal = np.concatenate([0.5 * made.signal, made.signal], axis=1)
    return replace(made, signal=signal, leads=("I", "II"))


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Folders of a convolutional network, and of two transformers of other rates, leads and lengths."""
    folder = tmp_path_factory.mktemp("encoders")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name in ("merl-resnet18", "openecg", "st-mem"):
            save_encoder(TINY[name](), folder / name)
    return folder


@pytest.fixture(scope="module")
def done(encoders, tmp_path_factory):
    """A comparison of two encoders, of 500 Hz and one lead and of 250 Hz and two, on windows of 2.1 s."""
    out = tmp_path_factory.mktemp("comparison") / "out"
    models = [str(encoders / name) for name in ("openecg", "st-mem")]
    data = two_leads(seconds=2.1)
    results = ecgtune.compare(data, METHODS, ecgtune.CompareSettings(seeds=1, baselines=False), model=models, out=out)
    return out, results, data, models


def test_every_encoder_has_every_method_on_the_same_windows(done):
    out, results, _, _ = done
    names = [row["method"] for row in results["rows"]]
    assert names == ["openecg-probe", "openecg-lora", "st-mem-probe", "st-mem-lora"]
    tests = [read_predictions(RunFolder(out / name / "seed-0").predictions).of("test") for name in names]
    assert all(np.array_equal(each.row, tests[0].row) for each in tests)
    inputs = {name: json.loads((out / name / "seed-0" / "best" / "model.json").read_text()) for name in names}
    assert inputs["openecg-probe"]["config"]["leads"] == ["I"]
    assert inputs["st-mem-probe"]["config"]["leads"] == ["I", "II"]
    assert [inputs[name]["preprocessing"]["sampling_rate"] for name in names[1:3]] == [500.0, 250.0]
    steps = inputs["st-mem-probe"]["preprocessing"]["steps"]
    assert steps[0] == {"step": "Middle", "seconds": 2.0}
    assert any("reads the middle 2 s of windows of 2.1 s" in note for note in results["notes"])
    assert any("reads lead I of I, II" in note for note in results["notes"])


def test_differences_between_encoders_are_paired_and_adjusted_for_all_pairs(done):
    _, results, _, _ = done
    pairs = {(pair["first"], pair["second"]): pair for pair in results["pairs"]}
    assert list(pairs) == [("openecg-probe", "st-mem-probe"), ("openecg-lora", "st-mem-lora")]
    means = {row["method"]: row["metrics"]["accuracy"]["mean"] for row in results["rows"]}
    for (first, second), pair in pairs.items():
        assert pair["value"] == pytest.approx(means[first] - means[second])
        assert pair["ci_low"] <= pair["value"] <= pair["ci_high"]
    tested = [pair for pair in pairs.values() if "p" in pair]
    assert [pair["p_holm"] for pair in tested] == pytest.approx(list(holm([pair["p"] for pair in tested])))


def test_cost_stands_beside_the_scores(done):
    out, results, _, _ = done
    rows = list(csv.DictReader((out / "table.csv").open()))
    assert [row["Model"] for row in rows] == [row["model"] for row in results["rows"]]
    assert all(float(row["Seconds"]) > 0 and int(row["Trained"]) > 0 for row in rows)
    table = (out / "table.md").read_text()
    assert "| Encoders | Δ accuracy | p (Holm) |" in table
    assert "paired by test window and seed" in table
    report = (out / "report.html").read_text()
    assert "not beaten at its cost" in (out / "figures" / "pareto.svg").read_text()
    assert "Training time" in report
    assert not (out / "figures" / "costs.svg").exists()


def test_a_run_of_one_lead_predicts_windows_of_its_leads(done):
    out, _, data, _ = done
    run = ecgtune.load_run(out / "st-mem-probe" / "seed-0")
    test = read_predictions(RunFolder(run.folder).predictions).of("test")
    found = run.predict(data.signal[test.row])[:, 1]
    np.testing.assert_allclose(found, test.probability, atol=1e-4)
    one = ecgtune.load_run(out / "openecg-probe" / "seed-0")
    assert one.predict(data.signal[:3, :1]).shape == (3, 2)


def test_cases_have_the_leads_of_their_run(done):
    out, results, _, _ = done
    run = out / results["recommendation"]["run"]
    (leads,) = {tuple(case["leads"]) for case in json.loads((run / "cases/cases.json").read_text())["cases"]}
    assert set(leads) <= set(ecgtune.load_run(run).leads)


@pytest.mark.slow
def test_the_same_command_resumes(done, monkeypatch):
    out, results, data, models = done
    monkeypatch.setattr("ecgtune.workflows.run.train", lambda *_, **__: pytest.fail("a finished run is trained again"))
    again = ecgtune.compare(data, METHODS, ecgtune.CompareSettings(seeds=1, baselines=False), model=models, out=out)
    assert again["rows"] == results["rows"]


def test_windows_much_longer_than_the_encoder_takes_are_refused(encoders, tmp_path):
    data, models = two_leads(seconds=4.0), [str(encoders / name) for name in ("merl-resnet18", "st-mem")]
    with pytest.raises(DataError, match=r"windows of 4 s do not fit .*st-mem.*cut from recordings with --window 2"):
        ecgtune.compare(
            data, METHODS, ecgtune.CompareSettings(seeds=1, baselines=False), model=models, out=tmp_path / "out"
        )
    assert not list(tmp_path.glob("out/*/*/metrics.json"))


def test_an_encoder_without_a_preset_is_shortened_too():
    from helpers.encoders import PatchNet, classifier

    with registered(("patches", PatchNet)):
        model = classifier(PatchNet, PatchNet.config_type())
        made = ecgtune.simulate(60, seconds=2, sampling_rate=200, seed=3)
        data = replace(made, signal=np.repeat(made.signal, 3, axis=1), leads=("I", "II", "V1"), classes=("0", "1"))
        split = ecgtune.split_dataset(data)
        settings = replace(ecgtune.recipe("probe").data, fit="encoder")
        prepared = prepare(model, data, split, settings)
        windows = prepared.windows(split.train).inputs
        assert windows.shape[1:] == (3, 160)
        np.testing.assert_allclose(windows.mean(axis=-1), 0, atol=1e-5)
        direct = replace(data, signal=data.signal[..., 40:360])
        plain = prepare(model, direct, split, replace(settings, fit="refuse")).windows(split.train).inputs
        np.testing.assert_allclose(windows, plain, atol=1e-5)


@pytest.mark.parametrize(
    ("models", "error", "said"),
    [
        (["ecg-fm-tiny", "openecgg"], SettingError, "did you mean 'openecg'"),
        (["ecg-fm-tiny", "ecg-fm-tiny"], SettingError, "two models are called 'ecg-fm-tiny'"),
        (
            ["openecg=a", "openecg=b"],
            SettingError,
            r"'openecg' \(openecg=a, openecg=b\); give each once, .*without NAME=",
        ),
        ([], SettingError, "no model is named"),
        (
            ["ecg-fm-tiny", "ecg-jepa"],
            CheckpointError,
            r"get multiblock_epoch100.pth from .*, or --models ecg-jepa=PATH; or leave ecg-jepa out",
        ),
    ],
)
def test_names_are_checked_before_anything_is_trained(models, error, said, tmp_path):
    with pytest.raises(error, match=said):
        ecgtune.compare(two_leads(20), METHODS, model=models, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recipe_with_its_own_encoder_is_no_method_of_several():
    with pytest.raises(SettingError, match="resnet names an encoder itself"):
        with_models(as_recipes(["probe", "resnet"]), ["ecg-fm-tiny", "openecg"])


def test_variants_baselines_and_pairs():
    variants = with_models(METHODS, ["ecg-fm-tiny", "ecg-fm-tiny-random", "resnet-1d"])
    assert check_variants(variants, ecgtune.CompareSettings()) == "ecg-fm-tiny-probe"
    assert [method_name(each) for each in variants] == ["probe", "lora"] * 3
    assert "epochs 2 instead of 20" in changed_preset(variants[0]).changes
    models = ("ecg-fm-tiny", "ecg-fm-tiny-random", "resnet-1d")
    wanted = [(f"{a}-{m}", f"{b}-{m}") for m in ("probe", "lora") for a, b in combinations(models, 2)]
    assert encoder_pairs(variants) == wanted
    assert encoder_pairs(METHODS) == []
    kinds = {one.name: (kind, one.optimisation.epochs) for one, kind in variants_of(variants, True)}
    assert {name: kinds[name] for name in ("resnet", "inception", "s4d")} == dict.fromkeys(
        ("resnet", "inception", "s4d"), ("baseline", 2)
    )
    assert [one.name for one, _ in variants_of(METHODS, True)] == ["probe", "lora", "resnet"]


@pytest.mark.parametrize(
    ("model", "name"),
    [("ecg-fm", "ecg-fm"), ("runs/continued/best", "continued"), ("wanglab/ecg-fm", "ecg-fm"), ("a b", "a-b")],
)
def test_short_names(model, name):
    assert short_name(model) == name


def test_the_front_is_what_nothing_cheaper_beats():
    assert pareto([(3, 0.9), (1, 0.5), (2, 0.4), (3, 0.95), (1, 0.6), (9, 0.95)]) == [4, 3]


def test_the_command_takes_files_of_named_models(capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main(["compare", str(tmp_path), "--models", "ecg-fm-tiny,openecg", "--model", "ecg-fm"])
    assert stopped.value.code == 2
    assert re.search(r"--models and --model .* are both given; give --models alone", capsys.readouterr().err)
    assert with_models(METHODS, ["openecg=codec.pt"])[0].model.checkpoint == "codec.pt"


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoder", [Inception1d(Inception1dConfig(filters=4, kernels=(9, 5, 3))), S4D(S4DConfig(width=8, depth=2))]
)
def test_networks_from_scratch_keep_the_contract_of_methods(encoder):
    from ecgtune.testing import check_method

    check_method(ecgtune.LoRA(rank=2), encoder)


@pytest.mark.parametrize("memory", [None, 24e9])
def test_the_figure_of_costs_takes_what_large_machines_need(done, tmp_path, memory):
    """Above 10 GB no tick was found; a cost that was not measured has an empty panel."""
    rows = [row | {"peak_memory_bytes": memory} for row in done[1]["rows"]]
    write_pareto(tmp_path / "pareto.svg", done[1] | {"rows": rows})
    text = (tmp_path / "pareto.svg").read_text()
    assert ("20 GB" in text) == (memory is not None)

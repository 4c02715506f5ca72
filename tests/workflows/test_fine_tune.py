"""One run from windows to a folder, and back to predictions from the folder alone."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, roc_auc_score

import ecgtune
from ecgtune.errors import CheckpointError, DataError, RunError, SettingError
from ecgtune.recipes.recipe import load_recipes
from ecgtune.training.predictions import read_predictions
from ecgtune.utils.locks import exclusive
from helpers import methods
from helpers.methods import slow
from helpers.settings import loop
from helpers.training import stopped_in_the_second_epoch

SHORT = loop(epochs=2, batch_size=32, device="cpu")
METHODS = [ecgtune.Full(), ecgtune.LinearProbe(), ecgtune.LoRA(rank=2), ecgtune.Adapter(width=4)]
#: One that prunes, one around the encoder, and one of its own weights.
QUICK = (ecgtune.AdaLoRA, ecgtune.SideTuning, ecgtune.NormBias)
OTHERS = [m for m in methods.METHODS if type(m) not in map(type, METHODS)]
OTHERS = [
    *(m for m in OTHERS if isinstance(m, QUICK)),
    ecgtune.LoRA(4, init="pissa"),
    *methods.slow(*(m for m in OTHERS if not isinstance(m, QUICK))),
]
#: Of the methods above, the one that most people take; the others in `make test-all`.
ONE = [METHODS[2], *methods.slow(*(m for m in METHODS if m is not METHODS[2]))]
DATA = ecgtune.simulate(120, seed=1, seconds=3)


def fine_tune(out, method, **settings):
    model = ecgtune.load_model("ecg-fm-tiny")
    return ecgtune.fine_tune(DATA, ecgtune.Recipe(method=method, **SHORT._asdict()), model=model, out=out, **settings)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {method: fine_tune(folder / method.name, method) for method in METHODS}


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_run_folder_keeps_its_contract(runs, method):
    folder = runs[method].folder
    expected = {
        "recipe.toml", "environment.json", "split.csv", "log.jsonl", "best", "predictions.csv", "metrics.json",
        "calibration.json", "certainty.json",
        "figures", "report.html", "README.md",
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} == expected
    assert len((folder / "log.jsonl").read_text().splitlines()) == 2
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["weights"] == ecgtune.load_model("ecg-fm-tiny").weights.describe()
    assert environment["data"]["sha256"] == DATA.source.sha256


def test_a_changed_preset_is_told_in_summary_report_and_card(runs):
    run = runs[METHODS[2]]
    assert run.metrics["preset"]["changes"][:1] == ["rank 2 instead of 3"]
    for text in (run.summary(), *((run.folder / name).read_text() for name in ("report.html", "README.md"))):
        assert "Far fewer epochs than in the recipe, so scores may be too low: lora (2 of 20)." in text


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_metrics_are_scikit_learns_on_the_stored_predictions(runs, method):
    test = read_predictions(runs[method].folder / "predictions.csv").of("test")
    window = runs[method].metrics["window"]
    assert window["n"] == len(test.label)
    assert window["metrics"]["auroc"]["value"] == pytest.approx(roc_auc_score(test.label, test.probability))
    assert window["metrics"]["accuracy"]["value"] == pytest.approx(accuracy_score(test.label, test.probability >= 0.5))
    assert np.sum(window["confusion"]) == len(test.label)
    assert np.array_equal(test.label, DATA.label[test.row])
    assert np.array_equal(test.group, DATA.group[test.row].astype(str))


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_loaded_run_predicts_what_the_run_predicted(runs, method):
    again = ecgtune.load_run(runs[method].folder)
    test = read_predictions(again.folder / "predictions.csv").of("test")
    probability = again.predict(DATA.signal[test.row])
    np.testing.assert_allclose(probability[:, 1], test.probability, rtol=0, atol=1e-6)
    np.testing.assert_allclose(probability.sum(1), 1)
    one = again.predict(DATA.signal[test.row[0], 0])
    np.testing.assert_allclose(one[0], probability[0], rtol=0, atol=1e-6)
    assert again.classify(DATA.signal[test.row]) == [DATA.classes[int(p >= again.threshold)] for p in probability[:, 1]]


@pytest.mark.parametrize("method", OTHERS, ids=str)
def test_every_other_method_goes_through_a_run_and_back_on_the_same_bits(encoder, tmp_path, method):
    short = loop(SHORT, epochs=1, learning_rate=1e-2)
    recipe = ecgtune.Recipe(method=method, **short._asdict())
    run = ecgtune.fine_tune(DATA, recipe, model=encoder, out=tmp_path / "run")
    stored = read_predictions(run.folder / "predictions.csv")
    again = ecgtune.load_run(run.folder).predict(DATA.signal[stored.row])  # the same batch as in the run
    assert np.array_equal(again[:, 1], stored.probability)
    parameters = run.metrics["parameters"]
    own = isinstance(method, (ecgtune.TopLayers, ecgtune.NormBias))
    assert (parameters["encoder"] > 0, parameters["method"] > 0) == (own, not own)


def test_prediction_resamples_to_the_models_rate(runs):
    run = runs[METHODS[2]]
    at_200 = ecgtune.Preprocessing(
        sampling_rate=200.0, normalisation="none", resampling="polyphase"
    )(DATA.signal[:20], 100.0)  # fmt: skip
    np.testing.assert_allclose(run.predict(at_200, sampling_rate=200), run.predict(DATA.signal[:20]), atol=0.05)


@pytest.mark.parametrize(
    "signal",
    [np.zeros((2, 3, 300)), np.zeros((1, 2, 3, 4)), np.full((2, 300), np.nan), DATA.signal[:2, :, ::10]],
    ids=["leads", "shape", "nan", "length"],
)
def test_signals_that_cannot_be_predicted(runs, signal):
    with pytest.raises(DataError):
        runs[METHODS[0]].predict(signal)


def test_the_whole_run_is_the_same_again(runs, tmp_path):
    again = fine_tune(tmp_path / "again", METHODS[2])
    first = runs[METHODS[2]].folder
    assert (again.folder / "predictions.csv").read_bytes() == (first / "predictions.csv").read_bytes()
    for name, tensor in load_file(first / "best" / "adapter_model.safetensors").items():
        assert torch.equal(tensor, load_file(again.folder / "best" / "adapter_model.safetensors")[name])


def test_saved_weights_are_the_share_that_was_counted(runs):
    for method, run in runs.items():
        tensors = [t for file in (run.folder / "best").glob("*.safetensors") for t in load_file(file).values()]
        assert sum(t.numel() for t in tensors) == run.metrics["parameters"]["trainable"], method


def test_threshold_is_fitted_on_validation_alone(tmp_path):
    evaluation = ecgtune.Evaluation(threshold="youden")
    recipe = ecgtune.Recipe(method=ecgtune.LinearProbe(), evaluation=evaluation, **SHORT._asdict())
    run = ecgtune.fine_tune(DATA, recipe, out=tmp_path / "r")
    val = read_predictions(run.folder / "predictions.csv").of("val")
    youden = [
        ((val.probability >= t) & (val.label == 1)).sum() / (val.label == 1).sum()
        - ((val.probability >= t) & (val.label == 0)).sum() / (val.label == 0).sum()
        for t in val.probability
    ]
    chosen = run.metrics["threshold"]["value"]
    reached = (val.probability[val.label == 1] >= chosen).mean() - (val.probability[val.label == 0] >= chosen).mean()
    assert reached == pytest.approx(max(youden))
    assert run.threshold == chosen


def test_a_second_run_needs_resume_and_resume_needs_the_same_run(runs):
    method, run = METHODS[1], runs[METHODS[1]]
    before = (run.folder / "metrics.json").read_bytes()
    with pytest.raises(RunError, match="--resume"):
        fine_tune(run.folder, method)
    with pytest.raises(RunError, match=r"method was LinearProbe.*now LoRA"):
        fine_tune(run.folder, METHODS[2], resume=True)
    with pytest.raises(RunError, match="seed was 0, now 1"):
        fine_tune(run.folder, method, resume=True, seed=1)
    others = {
        "the data were simulated, seed 1, now simulated, seed 2; choose": ecgtune.simulate(120, seed=2, seconds=3),
        "the labels, groups or split of the windows differ": replace(DATA, label=1 - DATA.label),
        r"data\.windows was 120, now 60": DATA.select(range(60)),
    }
    for words, data in others.items():
        recipe, model = ecgtune.Recipe(method=method, **SHORT._asdict()), ecgtune.load_model("ecg-fm-tiny")
        with pytest.raises(RunError, match=words):
            ecgtune.fine_tune(data, recipe, model=model, out=run.folder, resume=True)
    (run.folder / "last").mkdir()
    (run.folder / "last/state.pt").touch()  # of a process that was killed after its results
    fine_tune(run.folder, method, resume=True)
    assert (run.folder / "metrics.json").read_bytes() == before
    assert not (run.folder / "last").exists()


@pytest.mark.parametrize("began", ["fp32", *methods.slow("bf16")])
def test_a_run_of_auto_does_not_go_on_in_another_format(monkeypatch, tmp_path, began):
    def on_a_machine_of(name):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": name == "bf16"})

    def probe(precision, resume=False):
        model, settings = ecgtune.load_model("ecg-fm-tiny"), loop(SHORT, precision=precision)
        method, folder = ecgtune.LinearProbe(), tmp_path / precision
        ecgtune.fine_tune(
            DATA,
            ecgtune.Recipe(method=method, **settings._asdict()),
            model=model,
            out=folder,
            resume=resume,
        )

    other = {"bf16": "fp32", "fp32": "bf16"}[began]
    on_a_machine_of(began)
    for precision in ("auto", began):
        probe(precision)
    probe("auto", resume=True)
    on_a_machine_of(other)
    with pytest.raises(RunError, match=f"auto_precision was {began}, now {other}"):
        probe("auto", resume=True)
    probe(began, resume=True)  # a format by its name is the same everywhere


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sampling_rate": 250.0}, r"data\.sampling_rate was"),
        ({"leads": ("V1",)}, r"data\.leads was"),
        ({"unit": "unknown"}, r"data\.unit was"),
        ({"group": DATA.group[::-1]}, "the labels, groups or split of the windows differ"),
    ],
)
def test_the_same_file_read_in_another_way_is_another_run(runs, change, words):
    other = replace(DATA, **change)
    with pytest.raises(RunError, match=words):
        ecgtune.fine_tune(
            other,
            ecgtune.Recipe(method=METHODS[1], **SHORT._asdict()),
            model=ecgtune.load_model("ecg-fm-tiny", leads=other.leads),
            out=runs[METHODS[1]].folder,
            resume=True,
        )


@pytest.mark.parametrize("method", ONE, ids=str)
def test_a_model_is_fine_tuned_once(tmp_path, method):
    """A second training would start from the first one's weights while the results say otherwise."""
    model = ecgtune.load_model("ecg-fm-tiny")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(RunError):  # a refused folder leaves the model as it was
        ecgtune.fine_tune(DATA, ecgtune.Recipe(method=method, **SHORT._asdict()), model=model, out=tmp_path / "taken")
    ecgtune.fine_tune(DATA, ecgtune.Recipe(method=method, **SHORT._asdict()), model=model, out=tmp_path / "first")
    with pytest.raises(SettingError, match="attached; load the model again"):
        ecgtune.fine_tune(DATA, ecgtune.Recipe(method=method, **SHORT._asdict()), model=model, out=tmp_path / "second")
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"recipe": 16}, r"recipe is 16.*LoRA\(rank=16\)"),
        ({"recipe": "lor"}, "lora"),
        ({"dataset": ecgtune.load_model}, r"fine_tune got a function first; write fine_tune\(dataset, recipe"),
        ({"model": 16}, "model is 16; give a name such as 'ecg-fm-tiny'"),
        ({"resume": True}, "holds no run to continue"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, options, message):
    recipe = ecgtune.Recipe(method=ecgtune.LinearProbe(), **SHORT._asdict())
    options = {"dataset": DATA, "recipe": recipe, "out": tmp_path / "never", **options}
    with pytest.raises((SettingError, RunError), match=message):
        ecgtune.fine_tune(**options)
    assert not (tmp_path / "never").exists()


def test_windows_shorter_than_a_token(tmp_path):
    short = replace(DATA, sampling_rate=10_000.0)
    with pytest.raises(DataError, match="are 3 at the model's 100 Hz; allowed: 8 or more"):
        ecgtune.fine_tune(
            short,
            ecgtune.Recipe(**SHORT._asdict()),
            model=ecgtune.load_model("ecg-fm-tiny"),
            out=tmp_path / "never",
        )
    assert not (tmp_path / "never").exists()


def test_several_processes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingError, match="without torchrun"):
        fine_tune(tmp_path / "never", METHODS[1])


def test_a_log_line_lost_in_a_stop_comes_back(tmp_path):
    with stopped_in_the_second_epoch():
        fine_tune(tmp_path / "run", METHODS[1])
    fine_tune(tmp_path / "run", METHODS[1], resume=True)
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("file", "content"), [("best/model.json", "{"), ("best/model.json", "{}"), ("metrics.json", "{")]
)
def test_loading_damaged_files_is_told(tmp_path, runs, file, content):
    folder = shutil.copytree(runs[METHODS[1]].folder, tmp_path / "copy")
    (folder / file).write_text(content)
    with pytest.raises(RunError, match=file):
        ecgtune.load_run(folder)


@pytest.mark.parametrize(("file", "content"), [("recipe.toml", "[1"), ("environment.json", "{")])
def test_resuming_on_damaged_files_is_told(tmp_path, runs, file, content):
    folder = shutil.copytree(runs[METHODS[1]].folder, tmp_path / "copy")
    (folder / file).write_text(content)
    with pytest.raises(RunError, match=file):
        fine_tune(folder, METHODS[1], resume=True)


def test_a_folder_that_is_not_a_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        fine_tune(tmp_path, METHODS[1])
    with pytest.raises(RunError, match="no run with a model"):
        ecgtune.load_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_base_model_that_has_changed_is_refused(tmp_path, runs):
    run = runs[METHODS[2]]
    file = run.folder / "best" / "model.json"
    original = file.read_text()
    saved = json.loads(original)
    saved["weights"]["seed"] = 7
    try:
        file.write_text(json.dumps(saved))
        with pytest.raises(CheckpointError, match="has changed"):
            ecgtune.load_run(run.folder)
    finally:
        file.write_text(original)


def test_an_adapter_file_with_a_tensor_missing_is_refused(runs):
    file = runs[METHODS[3]].folder / "best" / "adapter_model.safetensors"
    original = file.read_bytes()
    try:
        tensors = load_file(file)
        tensors.pop(sorted(tensors)[0])
        save_file(tensors, file)
        with pytest.raises(RunError, match="1 tensor missing"):
            ecgtune.load_run(runs[METHODS[3]].folder)
    finally:
        file.write_bytes(original)


def test_classes_must_agree():
    model = ecgtune.load_model("ecg-fm-tiny", classes=("healthy", "ill"))
    with pytest.raises(SettingError, match="healthy, ill"):
        ecgtune.fine_tune(DATA, ecgtune.Recipe(**SHORT._asdict()), model=model, out="never")


@pytest.mark.parametrize("normalisation", ["zscore", *methods.slow("global", "none")])
def test_gain_and_offset_cannot_matter_to_ecg_fm_with_one_lead(tmp_path, normalisation):
    """Its first norm runs over time per record and removes both; what is left is the norm's epsilon, 1e-5, against the
    variance of windows in millivolts."""
    recipe = load_recipes("probe")[0]
    recipe = replace(recipe, **SHORT._asdict(), data=ecgtune.DataSettings(normalisation=normalisation))
    ecgtune.fine_tune(DATA, recipe, out=tmp_path)
    run = ecgtune.load_run(tmp_path)
    plain = run.predict(DATA.signal[:10])
    np.testing.assert_allclose(run.predict(3 * DATA.signal[:10] + 0.7), plain, atol=1e-2)


@pytest.mark.parametrize("method", ONE, ids=str)
def test_a_head_on_statistics_is_kept_with_its_run(tmp_path, method):
    head = ecgtune.Head(hidden=5, pooling="statistics")
    model = ecgtune.load_model("ecg-fm-tiny", head=head)
    run = ecgtune.fine_tune(DATA, ecgtune.Recipe(method=method, **SHORT._asdict()), model=model, out=tmp_path / "run")
    tensors = load_file(run.folder / "best" / "head.safetensors")
    assert [tuple(tensors[name].shape) for name in ("0.weight", "2.weight")] == [(5, 3 * 192), (2, 5)]
    assert 'pooling = "statistics"' in (run.folder / "recipe.toml").read_text()
    again = ecgtune.load_run(run.folder)
    assert again.model.head_spec == head
    assert np.array_equal(again.predict(DATA.signal[:8]), run.predict(DATA.signal[:8]))
    model = ecgtune.load_model("ecg-fm-tiny", head=ecgtune.Head(hidden=5))
    with pytest.raises(RunError, match=r"model\.pooling was statistics, now auto"):
        ecgtune.fine_tune(
            DATA, ecgtune.Recipe(method=method, **SHORT._asdict()), model=model, out=run.folder, resume=True
        )


def test_a_run_on_few_labels_says_so_and_is_not_resumed_with_more(tmp_path):
    data = ecgtune.simulate(120, patients=60, seed=1, seconds=3)
    recipe = replace(load_recipes("probe")[0], **SHORT._asdict(), data=ecgtune.DataSettings(label_fraction=0.3))
    ecgtune.fine_tune(data, recipe, out=tmp_path / "run")
    run = ecgtune.load_run(tmp_path / "run")
    counts = run.metrics["split"]["counts"]
    whole = ecgtune.split_dataset(data)
    assert "only 30 % of the labels, drawn by patient" in run.metrics["split"]["origin"]
    assert counts["test"]["windows"] == len(whole.test)
    assert counts["train"]["windows"] < 0.5 * len(whole.train)
    used = [line.split(",") for line in (run.folder / "split.csv").read_text().splitlines()[1:]]
    assert len(used) == sum(part["windows"] for part in counts.values())
    assert {int(row) for row, part, _ in used if part == "train"} < set(whole.train.tolist())
    with pytest.raises(RunError, match=r"data\.label_fraction was 0\.3, now 1\.0"):
        ecgtune.fine_tune(data, replace(recipe, data=ecgtune.DataSettings()), out=tmp_path / "run", resume=True)


@pytest.mark.parametrize("lead_mode", ["place", *slow("copy")])
def test_twelve_lead_checkpoint_on_one_lead_windows(tmp_path, shared, lead_mode):
    ecgtune.convert(shared / "reference" / "pretrained_tiny.pt", tmp_path / "model", heads=4)
    model = ecgtune.load_model(tmp_path / "model", classes=("0", "1"), leads=("II",), lead_mode=lead_mode)
    run = ecgtune.fine_tune(
        DATA,
        ecgtune.Recipe(method=ecgtune.LoRA(rank=2), **SHORT._asdict()),
        model=model,
        out=tmp_path / lead_mode,
    )
    assert run.metrics["weights"].startswith("pretrained (sha256 ")
    again = ecgtune.load_run(run.folder)
    assert np.array_equal(again.predict(DATA.signal[:8]), run.predict(DATA.signal[:8]))


def test_a_folder_that_another_process_writes_is_left_alone(tmp_path):
    with exclusive(tmp_path, "other"):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
        for start in (fine_tune, lambda out, method: ecgtune.compare(DATA, method, out=out)):
            with pytest.raises(RunError, match=r"is in use by process \d+ on .* \(other\)"):
                start(tmp_path, METHODS[1])
        assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**5))
    for start in (fine_tune, lambda out, method: ecgtune.compare(DATA, method, out=out)):
        with pytest.raises(RunError, match=r"its disk has 100 kB free, but about [\d.]+ MB are needed"):
            start(tmp_path / "run", METHODS[1])
        assert not (tmp_path / "run").exists()

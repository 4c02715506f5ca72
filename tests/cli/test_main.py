"""The command line as a user types it."""

import json
import subprocess
import sys

import numpy as np
import pytest

import ecgtune
from ecgtune.cli import main as program
from ecgtune.cli.app import options_by_command
from ecgtune.io.writing import write_csv
from ecgtune.recipes.pretraining import pretraining_text
from ecgtune.recipes.recipe import load_recipes
from helpers.cli import refused, run
from helpers.pretraining import TEACHER, write_recordings

QUICK = ["--epochs", "2", "--batch-size", "32", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "windows.csv"
    write_csv(ecgtune.simulate(120, seed=1, seconds=3), file)
    return file


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_compare_prints_the_table_and_the_path_of_the_report(windows, capsys, tmp_path):
    run(
        "compare",
        windows,
        "--sampling-rate",
        "100",
        "--methods",
        "probe,lora",
        "--seeds",
        "1",
        "--out",
        "first",
        *QUICK,
    )
    out = capsys.readouterr().out
    for part in ("Method", "Accuracy", "Trainable", "probe", "lora", "majority", "report: first/report.html"):
        assert part in out
    results = json.loads((tmp_path / "first" / "results.json").read_text())
    assert [row["epochs"] for row in results["rows"]] == [2, 2, 2, None]


def test_train_then_resume(windows, capsys, tmp_path):
    tokens = ["fine-tune", windows, "--sampling-rate", "100", "--method", "probe", "--out", "run", *QUICK]
    run(*tokens)
    assert "report: run/report.html" in capsys.readouterr().out
    assert "--resume" in refused(capsys, *tokens)
    run(*tokens, "--resume")
    assert ecgtune.load_run("run").metrics["training"]["epochs"] == 2


def test_flags_win_over_the_recipe(windows, tmp_path):
    (tmp_path / "mine.toml").write_text('[method]\nname = "probe"\n[optimisation]\nepochs = 9\nbatch_size = 40\n')
    run(
        "fine-tune",
        windows,
        "--sampling-rate",
        "100",
        "--method",
        "mine.toml",
        "--epochs",
        "2",
        "--out",
        "run",
        "--quiet",
    )
    stored = (tmp_path / "run" / "recipe.toml").read_text()
    assert "epochs = 2" in stored
    assert "batch_size = 40" in stored


def test_a_typed_rate_is_meant_as_it_is(windows, tmp_path):
    text = '[method]\nname = "probe"\n[optimisation]\nlearning_rate = 0.004\nrate_width = 48\n'
    (tmp_path / "mine.toml").write_text(text)
    tokens = ["fine-tune", windows, "--sampling-rate", "100", "--method", "mine.toml", *QUICK]
    run(*tokens, "--out", "own")
    run(*tokens, "--out", "typed", "--learning-rate", "0.004")
    width = ecgtune.load_model("ecg-fm-tiny").encoder.head_width
    rates = [ecgtune.load_run(name).metrics["training"]["learning_rate"] for name in ("own", "typed")]
    assert rates == pytest.approx([0.004 * 48 / width, 0.004])


def test_augmentation_that_is_switched_off_needs_no_copies(windows, tmp_path):
    text = '[method]\nname = "probe"\n[augmentation]\npolarity_flip = 0.5\naugmented_copies = 2\n'
    (tmp_path / "mine.toml").write_text(text)
    tokens = ["fine-tune", windows, "--sampling-rate", "100", "--method", "mine.toml", *QUICK]
    run(*tokens, "--out", "own")
    run(*tokens, "--out", "off", "--polarity-flip", "0")
    kept = ["augmented_copies = 2" in (tmp_path / name / "recipe.toml").read_text() for name in ("own", "off")]
    assert kept == [True, False]


def test_copies_are_switched_off_by_a_flag(windows, tmp_path):
    tokens = ["fine-tune", windows, "--sampling-rate", "100", "--method", "side", *QUICK]
    run(*tokens, "--out", "fresh", "--augmented-copies", "0")
    made = load_recipes(str(tmp_path / "fresh" / "recipe.toml"))[0]
    assert made.copies == 1
    assert made.augmentation.acting


def test_parts_of_a_recipe_are_flags(windows, tmp_path):
    tokens = ["fine-tune", windows, "--sampling-rate", "100", "--out", "run", *QUICK]
    run(
        *tokens,
        "--ema",
        "0.9",
        "--label-smoothing",
        "0.1",
        "--crop",
        "0.8",
        "--polarity-flip",
        "0.5",
        "--lead-mask",
        "0",
        "--pooling",
        "attention",
    )
    stored = (tmp_path / "run" / "recipe.toml").read_text()
    for line in ("ema = 0.9", "label_smoothing = 0.1", "crop = 0.8", "polarity_flip = 0.5", 'pooling = "attention"'):
        assert line in stored


def test_pooling_and_label_fraction_are_flags(windows, tmp_path):
    tokens = ["fine-tune", windows, "--sampling-rate", "100", "--method", "probe", "--out", "run", *QUICK]
    run(*tokens, "--pooling", "statistics", "--label-fraction", "0.5")
    stored = (tmp_path / "run" / "recipe.toml").read_text()
    assert 'pooling = "statistics"' in stored
    assert "label_fraction = 0.5" in stored
    assert ecgtune.load_run("run").model.head[0].in_features == 3 * 192


@pytest.mark.parametrize(
    ("tokens", "parts"),
    [
        (["compare", "nowhere.csv"], ["nowhere.csv"]),
        (["compare", "{windows}"], ["--sampling-rate"]),
        (["compare", "{windows}", "--sampling-rate", "0"], ["0 Hz"]),
        (["compare", "{windows}", "--sampling-rate", "100", "--methods", "lorra"], ["did you mean 'lora'"]),
        (["compare", "{windows}", "--sampling-rate", "100", "--methods", ","], ["names none"]),
        (["compare", "{windows}", "--sampling-rate", "100", "--model", "ecg-fm-tinny"], ["did you mean 'ecg-fm-tiny'"]),
        (["compare", "{windows}", "--sampling-rate", "100", "--epochs", "0"], ["epochs", "1 or more"]),
        (["compare", "{windows}", "--sampling-rate", "100", "--epochs", "many"], ["--epochs", "many"]),
        (
            ["compare", "{windows}", "--sampling-rate", "100", "--epoch", "3"],
            ["did you mean --epochs?"],
        ),
        (["compare", "{windows}", "--sampling-rate", "100", "--normalisation", "none"], ["--unit"]),
        (["compare", "{windows}", "--sampling-rate", "100", "--device", "cuda"], ["cuda", "cpu"]),
        (["compare", "{windows}", "--sampling-rate", "100", "--label", "diagnosis"], ["diagnosis"]),
        (
            ["compare", "{windows}", "--sampling-rate", "100", "--label-fraction", "0"],
            ["label_fraction", "above 0 up to 1"],
        ),
        (["compare", "{windows}", "--sampling-rate", "100", "--pooling", "max"], ["--pooling", "statistics"]),
        (["fine-tune", "{windows}", "--sampling-rate", "100", "--method", "ablation-normalisation"], ["3 variants"]),
        (["fine-tune", "{windows}", "--sampling-rate", "100", "--crop", "2"], ["crop", "whole window"]),
        (["compare", "{windows}", "--sampling-rate", "100", "--noise", "0.1"], ["probe", "noise 0.1", "leave out"]),
        (["pretrain", "{windows}", "--label-smoothing", "0.1"], ["--label-smoothing is for fine-tuning only"]),
        (
            ["pretrain", "nowhere.npz", "--label", "AF"],
            ["no option --label", "it is an option of auto, compare, fine-tune"],
        ),
        (["pretrain", "{windows}s"], ["no such file or folder; did you mean {windows}?"]),
        (["pretrain", "{windows}", "--checkpoint-metric", "auroc"], ["no labels", "last, loss"]),
        (["compare", "{windows}", "--sampling-rate", "100", "--head-epochs", "2"], ["head_epochs", "probe"]),
        (["fine-tune", "{windows}", "--sampling-rate", "100", "--layer-decay", "0.5"], ["layer_decay", "lora", "full"]),
        (["convert", "nowhere.pt", "out"], ["nowhere.pt"]),
        (["pretrain", "nowhere.npz"], ["nowhere.npz", "no such file"]),
        (["pretrain", "{windows}", "--recipe", "pretrain-tinny"], ["did you mean 'pretrain-tiny'"]),
        (["pretrain", "{windows}"], ["no .npz file"]),
        (["fine-tune", "{windows}", "--sampling-rate", "100", "--method", "pretrain-tiny"], ["ecgtune pretrain"]),
        (["nonsense"], ["command 'nonsense' is not known", "fine-tune"]),
        (["compair", "nowhere.csv"], ["did you mean 'compare'"]),
        (["compare", "nowhere.csv", "--clip", "1"], ["no option --clip; use --max-grad-norm"]),
        (["compare", "nowhere.csv", "--lr=0.1"], ["no option --lr; use --learning-rate"]),
        (["compare", "nowhere.csv", "--fs", "500"], ["no option --fs; use --sampling-rate"]),
        (
            ["compare", "nowhere.csv", "--seed", "3"],
            [
                "no option --seed in `ecgtune compare`",
                "seeds 0 to N - 1",
                "`ecgtune fine-tune DATA --method",
            ],
        ),
        (["fine-tune", "nowhere.csv", "--seeds", "3"], ["`ecgtune compare DATA --methods lora --seeds 3`"]),
        (["fine-tune", "lora", "win.csv"], ["DATA comes first: `ecgtune fine-tune win.csv --method lora`"]),
        (["fine-tune", "win.csv", "lora"], ["the method is an option, --method lora"]),
        (["compare", "full,lora", "win.csv"], ["`ecgtune compare win.csv --methods full,lora`"]),
        (["plan", "mine.toml", "win.csv"], ["`ecgtune plan win.csv --methods mine.toml`"]),
        (["fine-tune", "lora"], ["lora: no such file or folder; it is a method: DATA comes first"]),
        (["train", "nowhere.csv"], ["use 'fine-tune'"]),
        (["fine-tune", "nowhere.csv", "--methods", "lora"], ["no option --methods; use --method"]),
        (["fine-tune", "nowhere.csv", "-o", "runs"], ["no option -o; use --out"]),
        (["fine-tune", "nowhere.csv", "--rank", "8"], ["rank is a setting of adalora, lora, vera", "[method]"]),
        (["compare", "nowhere.csv", "--folder", "runs"], ["no option --folder; use --records"]),
        (["compare", "nowhere.csv", "--zzz"], ["no option --zzz", "`ecgtune compare --help` lists the options"]),
        (["compare", "nowhere.csv", "--methods", "full", "lora"], ["join several methods by commas"]),
        (["compare", "nowhere.csv", "again.csv"], ["unexpected argument 'again.csv'"]),
        (["compare"], ["DATA is missing", "`ecgtune compare --help`"]),
        (["compare", "nowhere.csv", "--epochs"], ["--epochs needs a value"]),
        (["compare", "nowhere.csv", "--seeds", "1.5"], ["--seeds is '1.5'; a whole number is needed"]),
        (["compare", "nowhere.csv", "--epochs", "1.5"], ["--epochs is '1.5'; a whole number is needed"]),
        (["compare", "nowhere.csv", "--window", "5,5"], ["--window is '5,5'; a number is needed"]),
        (["compare", "nowhere.csv", "--mains", "55"], ["--mains is '55'; allowed: 50, 60"]),
        (["export", "nowhere", "model.pte", "--format", "executorch"], ["model.onnx, or model.pte of ExecuTorch"]),
        (["compare", "nowhere.csv", "--resume"], ["no option --resume", "rerun the same command to resume"]),
        (["predict", "{windows}", "model.onnx"], ["comes first: `ecgtune predict model.onnx {windows}`"]),
        (["predict", "nowhere", "{windows}"], ["nowhere holds no run with a model"]),
        (["predict", "nowhere", "nowhere.csv"], ["nowhere.csv: no such file or folder"]),
        (["infer", "nowhere", "nowhere.csv"], ["use 'predict'"]),
        (["pretrain", "nowhere.npz", "--accumulate", "2"], ["use --gradient-accumulation-steps"]),
        (["compare", "{windows}", "--records", "nowhere"], ["nowhere: no such file or folder"]),
        (["data", "check", "nowhere.csv", "--records", "nowhere"], ["nowhere"]),
        (["models", "--import", "nowhere.py"], ["nowhere.py: no such Python file"]),
    ],
)
def test_mistakes_are_one_line_and_status_2_and_nothing_is_written(tokens, parts, windows, capsys, tmp_path):
    if "cuda" in tokens:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has CUDA, so asking for it is no mistake")
    line = refused(capsys, *(token.format(windows=windows) for token in tokens))
    assert all(part.format(windows=windows) in line for part in parts), line
    assert not (tmp_path / "runs").exists()


def test_convert_and_train_on_the_converted_folder(shared, windows, capsys, tmp_path):
    run("convert", shared / "reference" / "pretrained_tiny.pt", "converted")
    assert {path.name for path in (tmp_path / "converted").iterdir()} == {"model.safetensors", "model.json"}
    run(
        "fine-tune",
        windows,
        "--sampling-rate",
        "100",
        "--model",
        "converted",
        "--method",
        "probe",
        "--out",
        "run",
        *QUICK,
    )
    assert ecgtune.load_run("run").metrics["weights"].startswith("pretrained (sha256 ")


def test_pretrain_then_train_on_its_encoder(windows, capsys, tmp_path):
    recordings = write_recordings(tmp_path / "recordings.npz")
    (tmp_path / "mine.toml").write_text(pretraining_text(TEACHER))
    tokens = ["pretrain", recordings, "--recipe", "mine.toml", "--out", "pre", "--epochs", "2", "--noise", "0.3"]
    run(*tokens, "--quiet")
    assert "encoder: pre/best" in capsys.readouterr().out
    assert "noise = 0.3" in (tmp_path / "pre" / "recipe.toml").read_text()
    assert "--resume" in refused(capsys, *tokens)
    assert "crops.noise was 0.3, now 0.1" in refused(capsys, *tokens[:-2], "--resume")
    run(
        "fine-tune",
        windows,
        "--sampling-rate",
        "100",
        "--model",
        "pre/best",
        "--method",
        "probe",
        "--out",
        "run",
        *QUICK,
    )
    assert ecgtune.load_run("run").metrics["weights"].startswith("pretrained (sha256 ")


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ("auto windows.csv", "stopped; rerun the command to resume"),
        ("data get mitdb", "stopped; rerun the command to resume"),
        ("fine-tune windows.csv", "stopped; rerun it with --resume"),
        ("data check windows.csv", "stopped"),
        ("models", "stopped"),
        ("", "stopped"),
    ],
)
def test_a_user_who_stops_is_told_how_to_go_on(tokens, said, capsys, monkeypatch):
    def stop(tokens):
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "_run", stop)
    with pytest.raises(SystemExit) as ended:
        run(*tokens.split())
    assert ended.value.code == 130
    assert capsys.readouterr().err.strip() == said


def test_a_command_that_takes_resume_says_so_when_it_is_stopped():
    taking = {name for name, options in options_by_command().items() if "resume" in options}
    assert taking == {name for name, how in program.RESUMED.items() if "--resume" in how}


LOGGED = """
import sys, ecgtune
from ecgtune.cli.main import main
flags = ["fine-tune", *sys.argv[1:]]
recipe = ecgtune.recipe("probe", epochs=2, device="cpu")
ecgtune.fine_tune(ecgtune.simulate(60, seed=1, seconds=3), recipe, out="called")
main([*flags, "--out", "silenced", "--quiet"])
print("now the command", file=sys.stderr)
main([*flags, "--out", "shown"])
"""


@pytest.mark.slow
def test_the_library_logs_and_the_command_shows_it(windows, tmp_path):
    """In a process of its own, since a command leaves its handler in the one of the tests."""
    flags = [windows, "--sampling-rate", "100", "--method", "probe", *QUICK[:-1]]
    done = subprocess.run(
        [sys.executable, "-c", LOGGED, *flags], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    silent, _, shown = done.stderr.partition("now the command\n")
    assert "probe seed 0: epoch 2/2" in shown
    assert silent == ""


def test_simulate_writes_nothing_that_is_called_otherwise(capsys, tmp_path):
    assert ".csv, .txt" in refused(capsys, "simulate", "sim.npz", "--windows", "60")
    assert not (tmp_path / "sim.npz").exists()


def test_simulate_writes_the_layout_that_compare_reads(tmp_path):
    run("simulate", "sim.csv", "--windows", "60", "--seed", "3")
    dataset = ecgtune.read_dataset("sim.csv", sampling_rate=100)
    np.testing.assert_allclose(dataset.signal, ecgtune.simulate(60, seed=3).signal, atol=1e-4)
    assert dataset.group is not None


def test_lists(capsys):
    run("models")
    run("methods")
    out = capsys.readouterr().out
    for part in ("ecg-fm-tiny", "resnet-1d", "lora", "paper-adapter", "ablation-normalisation"):
        assert part in out
    (tiny,) = [line for line in out.splitlines() if line.startswith("ecg-fm-tiny ")]
    model = ecgtune.list_models("ecg-fm-tiny")[0]
    for part in (f"{model.parameters:,}", "1", "100 Hz", model.licence, model.source, model.description):
        assert part in tiny


@pytest.mark.parametrize("module", ["ecgtune", "ecgtune.cli.main"])
def test_as_a_program(module):
    done = subprocess.run([sys.executable, "-m", module, "compare", "nowhere.csv"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere.csv")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("lead", "mode"), [("II", "copy"), ("v1", "place")])
def test_leads_are_placed_or_copied(shared, windows, tmp_path, lead, mode):
    run("convert", shared / "reference" / "pretrained_tiny.pt", "twelve")
    tokens = [
        "--sampling-rate",
        "100",
        "--model",
        "twelve",
        "--method",
        "probe",
        "--lead",
        lead,
        "--lead-mode",
        mode,
        "--out",
        "run",
        *QUICK,
    ]
    run("fine-tune", windows, *tokens)
    saved = json.loads((tmp_path / "run" / "best" / "model.json").read_text())
    assert saved["lead_mode"] == mode
    assert ecgtune.load_run("run").metrics["data"]["leads"] == [lead.upper()]

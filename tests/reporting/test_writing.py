"""Whole folders: what is written, what is refused, and the model card."""

import hashlib
import json
from shutil import copytree, rmtree

import pytest

from ecgtune.errors import RunError
from ecgtune.reporting.folders import read_comparison, read_pretraining, read_run
from ecgtune.reporting.writing import write_comparison, write_pretraining, write_run


def test_comparison_folder(written):
    names = {entry.name for entry in written.iterdir() if entry.is_file()}
    assert names == {"results.json", "table.csv", "table.md", "report.html"}
    content = json.loads((written / "results.json").read_text())
    assert [row["method"] for row in content["rows"]] == ["full", "adapter", "lora", "probe", "majority", "resnet"]
    found = read_comparison(written)
    assert list(found.runs) == ["full", "adapter", "lora", "probe"]
    assert [run.metrics["seed"] for run in found.runs["lora"]] == [0, 1]


def test_unfinished_run_stops_before_anything_is_written(make_comparison, tmp_path):
    results = make_comparison(tmp_path, names=("full", "lora"))
    (tmp_path / "lora/seed-1/metrics.json").unlink()
    with pytest.raises(RunError, match=r"lora/seed-1 has no metrics.json.*--resume"):
        write_comparison(tmp_path, results)
    assert {entry.name for entry in tmp_path.iterdir()} == {"full", "lora"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.json", "{", r"metrics.json cannot be read"),
        ("metrics.json", '{"format": 1}', "has format 1, but this version reads format 2; use the version"),
        ("metrics.json", "[]", "has format None"),
        ("log.jsonl", '{"epoch": 1', r"log.jsonl cannot be read"),
        ("environment.json", None, r"environment.json is missing"),
        ("recipe.toml", None, r"recipe.toml is missing"),
    ],
)
def test_damaged_run_is_one_line(make_run, tmp_path, name, content, message):
    folder = tmp_path / "run"
    make_run(folder, "lora", 0, "random (seed 0)")
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    with pytest.raises(RunError, match=message) as error:
        read_run(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["metrics.json", "log.jsonl"])
def test_a_run_without_what_only_its_report_shows_is_one_line(make_run, tmp_path, name):
    folder = tmp_path / "run"
    make_run(folder, "lora", 0, "random (seed 0)")
    content = (folder / name).read_text()
    (folder / name).write_text(
        content.replace('"parameters":', '"x":').replace('"train_loss": ', '"train_loss": "x", "y":')
    )
    with pytest.raises(RunError) as error:
        write_run(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("grouped", [True, False])
def test_model_card(make_run, tmp_path, grouped):
    metrics = make_run(tmp_path / "run", "lora", 1, "random (seed 0)", grouped)
    write_run(tmp_path / "run")
    text = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    accuracy = metrics["window"]["metrics"]["accuracy"]
    shown = f"{accuracy['value']:.3f} ({accuracy['ci_low']:.3f} to {accuracy['ci_high']:.3f})"
    for part in (
        shown,
        "not pretrained",
        "0.5, fixed",
        "290,000 of 5,800,000 parameters (5.00 %)",
        "Not a medical device",
        "(stopped early)",
        "To be completed by a clinician",
        "load_run(",
        "all 48 trainable tensors",
    ):
        assert part in text
    assert ("Per record (40)" in text) == grouped
    assert ("No metrics per recording: the windows have no record or patient column." in text) == (not grouped)
    check_markdown(text, tables=3)


def test_model_card_escapes_what_users_wrote(make_run, tmp_path):
    metrics = make_run(tmp_path / "run", "lora", 0, "random (seed 0)")
    metrics["classes"] = ["a|b", "<img src=x>"]
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))
    write_run(tmp_path / "run")
    text = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "a\\|b, \\<img src=x\\>" in text


def check_markdown(text, tables):
    """Every line of a table has as many cells as its head, and no tag of the template is left."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == tables
    for block in blocks:
        assert len({line.count("|") for line in block}) == 1
        assert len(block) > 2
    assert "{{" not in text
    assert "{%" not in text


@pytest.mark.parametrize("name", ["teacher", "contrastive", "rhythm", "rhythm-alone"])
def test_card_of_a_pretraining(pretrained, name):
    run = pretrained / name
    text = (run / "README.md").read_text(encoding="utf-8")
    check_markdown(text, tables=4)
    metrics = json.loads((run / "metrics.json").read_text())
    for part in (
        f"# {name}: ecg-fm, pretrained",
        "Not a medical device, and no diagnosis",
        f"| Parameters | {metrics['parameters']:,} |",
        "one lead (II), 100 Hz; one token is 8 samples, 80 ms",
        f"recordings.npz` (sha256 `{metrics['data']['files'][0]['sha256']}`)",
        f"3 epochs, {metrics['training']['steps']} steps of {metrics['training']['batch_size']} crops",
        "| Left out by name | 2 |",
        "](figures/curves.svg)",
        json.loads((run / "environment.json").read_text())["created"][:10],
        f"--model {name}/best",
        "The training used the 10 recordings",
        "such as the 2 marked `left_out`.",
        "- Licence of the recordings and of these weights: ______",
        "- Attribution and citation of the recordings: ______",
        "- Intended use and users: ______",
    ):
        assert part in text, part
    for folder in ("best", "float16"):
        weights = run / folder / "model.safetensors"
        assert (f"| {folder}/ |" in text) == weights.is_file() == (folder == "best" or "rhythm" not in name)
        if weights.is_file():
            assert hashlib.sha256(weights.read_bytes()).hexdigest() in text


def test_card_of_a_pretraining_escapes_what_users_wrote(pretrained, tmp_path):
    run = copytree(pretrained / "teacher", tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["name"] = "<img src=x>"
    (run / "metrics.json").write_text(json.dumps(metrics))
    write_pretraining(run)
    assert "# \\<img src=x\\>: ecg-fm" in (run / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "metrics.json").unlink(), r"no metrics.json.*--resume"),
        (lambda run: (run / "log.jsonl").unlink(), r"no log.jsonl"),
        (lambda run: (run / "recipe.toml").write_text("name = "), r"recipe.toml cannot be read"),
        (lambda run: rmtree(run / "best"), r"model.json is missing"),
        (lambda run: (run / "best" / "model.safetensors").unlink(), r"model.safetensors is missing"),
    ],
    ids=["metrics", "log", "recipe", "best", "weights"],
)
def test_damaged_pretraining_is_one_line_and_writes_nothing(pretrained, tmp_path, damage, message):
    run = copytree(pretrained / "teacher", tmp_path / "run")
    before = (run / "report.html").stat().st_mtime_ns
    damage(run)
    with pytest.raises(RunError, match=message) as error:
        write_pretraining(run)
    assert "\n" not in str(error.value)
    assert (run / "report.html").stat().st_mtime_ns == before


def test_the_two_kinds_of_folder_are_told_apart(pretrained, make_run, tmp_path):
    make_run(tmp_path / "run", "lora", 0, "random (seed 0)")
    with pytest.raises(RunError, match="holds a fine-tuning, not a pretraining"):
        read_pretraining(tmp_path / "run")
    with pytest.raises(RunError, match="holds a pretraining, not a fine-tuning"):
        read_run(pretrained / "teacher")

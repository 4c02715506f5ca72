"""What docs/pretraining.md and the card of ecg-fm-tiny say in words is what kept files say; how a run is shipped."""

import importlib
import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import ecgtune
from ecgtune.models.ecg_fm import BUNDLED as EMBEDDED
from ecgtune.pretraining.rhythm import GROUPS
from ecgtune.recipe.pretraining import load_pretraining_recipe
from helpers.pretraining import CONTRASTIVE, beats, write_recordings

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "pretraining.md").read_text("utf-8")
CARD = (EMBEDDED / "ecg-fm-tiny" / "README.md").read_text("utf-8")


@pytest.fixture
def scripts(monkeypatch):
    """The modules of the benchmark by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "pretraining"))
    return importlib.import_module


def part(name: str) -> str:
    return PAGE.split(f"<!-- {name} -->\n")[1].split(f"<!-- end of {name} -->\n")[0]


def test_the_page_tells_the_run_and_its_data_as_the_kept_files_do(scripts):
    ship = scripts("ship")
    encoder = json.loads((EMBEDDED / "ecg-fm-tiny" / "model.json").read_text())
    assert part("run") == ship.told(ship.KEPT, encoder["sha256"])
    assert part("data") == ship.data(ship.KEPT)


def test_the_page_tells_in_how_many_runs_the_last_epoch_was_the_best(scripts):
    proof = scripts("proof")
    rows = proof.read_rows(proof.RESULTS / "proof.csv")
    assert part("rising") == proof.rising(rows)
    random = [row for row in rows if row["weights"].startswith("random") and row["label_fraction"] != "0.01"]
    last = sum(row["best_epoch"] == row["epochs"] for row in random)
    assert f"in {last} of {len(random)} runs from random weights" in part("rising")
    few = [row["best_epoch"] == row["epochs"] for row in rows if row["label_fraction"] == "0.01"]
    assert sum(few) / len(few) < 0.1  # "nearly all" came to an end there


def test_the_loss_still_fell_when_the_training_stopped(scripts):
    log = [json.loads(line) for line in (scripts("ship").KEPT / "log.jsonl").read_text().splitlines()]
    assert log[-1]["val_loss"] < log[-2]["val_loss"] < log[-3]["val_loss"]
    assert "was still\nfalling when it stopped" in PAGE


def test_sizes_and_settings_in_the_text_are_those_of_the_recipe(scripts):
    recipe = load_pretraining_recipe("pretrain-tiny")
    sizes, metrics = recipe.encoder, json.loads((scripts("ship").KEPT / "metrics.json").read_text())
    said = " ".join(PAGE.split())
    token = 1000 * 2**sizes.conv_layers / sizes.sampling_rate
    for phrase in (
        f"one lead, {sizes.sampling_rate:g} Hz, tokens of {token:g} ms, {sizes.depth} layers of width {sizes.width}, "
        f"{metrics['parameters'] / 1e6:.1f} M parameters",
        f"the encoder reads {100 * recipe.objective.visible:g} % of its tokens",
        f"measures {sum(GROUPS) // 2} values: {GROUPS[0]} statistics of RR intervals",
    ):
        assert phrase in said, phrase
    proof = scripts("proof")
    full = proof._recipe("random", "full", 1.0, 0).optimisation.epochs
    assert (full, proof.LOOPS[1.0].epochs) == (3, 4)
    assert "full fine-tuning makes three passes, which take about as long as the four of LoRA" in said
    study = scripts("study")
    contrastive, base = study._recipe("contrastive").training, study._recipe("base").training
    assert (2 * contrastive.batch_size, contrastive.learning_rate) == (base.batch_size, base.learning_rate)
    assert base.learning_rate == 2 * load_pretraining_recipe("pretrain-tiny-contrastive").optimisation.learning_rate


def test_the_changelog_counts_the_recordings_of_the_run(scripts):
    count = json.loads((scripts("ship").KEPT / "metrics.json").read_text())["data"]["recordings"]["train"]
    assert f"pretrained on {count:,} one-lead recordings" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_test_windows_of_the_page_are_those_of_the_file(shared):
    with np.load(shared / "data" / "cinc2017_windows.npz") as arrays:
        count, left_out = (arrays["split"] == "val").sum(), len(set(arrays["record"][arrays["split"] == "val"]))
    assert f"The {count:,} test windows" in " ".join(PAGE.split())
    assert f"The {left_out:,} recordings" in part("data")


def test_the_card_names_the_files_that_the_run_read(scripts):
    ship = scripts("ship")
    digests = [bytes.fromhex(file["sha256"]) for file in ship.POOL_FILES]
    assert sha256(b"".join(digests)).hexdigest() == ship.POOL
    assert json.loads((ship.KEPT / "metrics.json").read_text())["data"]["sha256"] == ship.POOL
    for file in ship.POOL_FILES:
        assert f"`{file['name']}` (sha256 `{file['sha256']}`)" in CARD


def test_those_sums_are_what_sha256sum_gives(scripts, shared):
    for file in scripts("ship").POOL_FILES:
        assert sha256((shared / "data" / file["name"]).read_bytes()).hexdigest() == file["sha256"]


@pytest.fixture
def shipping(scripts, tmp_path, monkeypatch):
    """A finished pretraining by the other objective, and somewhere to ship it to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    names = [f"R{number:02}" for number in range(10)]
    file = write_recordings(tmp_path / "recordings.npz", [beats(20, 100, seed) for seed in range(10)], names)
    np.savez(tmp_path / "windows.npz", record=["R01", "R02"], split=["val", "train"])
    settings = ecgtune.PretrainSettings(tmp_path / "windows.npz", export_float16=True)
    ecgtune.pretrain(file, CONTRASTIVE, settings, out=Path("run"), quiet=True)
    page = tmp_path / "page.md"
    page.write_text("<!-- data -->\n<!-- end of data -->\n<!-- run -->\n<!-- end of run -->\n")
    (tmp_path / "embedded").mkdir()
    (tmp_path / "embedded" / "README.md").write_text("the one before")
    ship = scripts("ship")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    monkeypatch.setattr(ship, "POOL", metrics["data"]["sha256"])
    monkeypatch.setattr(ship, "POOL_FILES", metrics["data"]["files"])
    return ship, (tmp_path / "embedded", tmp_path / "kept", page)


def test_a_run_by_any_objective_can_be_shipped(shipping):
    ship, (embedded, kept, page) = shipping
    ship.ship(Path("run"), embedded, kept, page)
    assert {file.name for file in embedded.iterdir()} == {*ship.WEIGHTS, "README.md", "curves.svg"}
    assert (embedded / "model.safetensors").read_bytes() == Path("run/float16/model.safetensors").read_bytes()
    assert {file.name for file in kept.iterdir()} == set(ship.FACTS)
    card = (embedded / "README.md").read_text()
    assert "the 1 recordings of the windows" in card
    assert "____" not in card
    assert "code perplexity, group 2" in page.read_text()
    assert "The 1 recordings that results are measured on were left out" in page.read_text()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda ship: Path("run/figures/curves.svg").unlink(), "curves.svg"),
        (lambda ship: Path("run/recordings.csv").unlink(), "recordings.csv"),
        (lambda ship: Path("run/README.md").write_text("edited"), "To be completed"),
        (lambda ship: setattr(ship, "POOL", "other"), "licence"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_in_one_line_and_nothing_is_written(shipping, damage, said, monkeypatch):
    ship, (embedded, kept, page) = shipping
    damage(ship)
    before = page.read_text()
    with pytest.raises((OSError, ship.Unfit), match=said) as caught:
        ship.ship(Path("run"), embedded, kept, page)
    assert "\n" not in str(caught.value)
    assert [file.name for file in embedded.iterdir()] == ["README.md"]
    assert not kept.exists()
    assert page.read_text() == before

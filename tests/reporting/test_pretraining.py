"""A pretraining in words: right for every objective, and for one that nobody described."""

import json
from dataclasses import replace

import pytest

from ecgtune.config.base import to_table
from ecgtune.recipes.pretraining import ContrastiveTask, MaskedTeacherTask
from ecgtune.reporting import pretraining as wording
from ecgtune.reporting.folders import read_pretraining
from helpers.pretraining import RECIPES

NAMES = [recipe.name for recipe in RECIPES]
CONTRASTIVE = "contrastive (wav2vec 2.0 and CMSC)"
FOREIGN = {"name": "jepa", "depth": 3}


def table(task):
    return {"name": task.name, **to_table(task)}


@pytest.mark.parametrize("name", NAMES)
def test_every_term_that_is_logged_has_a_title(pretrained, name):
    shown, idle = wording.logged_terms(read_pretraining(pretrained / name).log)
    assert shown[0] == "loss"
    assert all(wording.term_title(term) != term for term in shown + idle)


def test_terms_that_were_not_computed_are_told_apart(pretrained):
    shown, idle = wording.logged_terms(read_pretraining(pretrained / "rhythm-alone").log)
    assert shown == ["loss", "rhythm_crop", "rhythm_token"]
    assert idle == ["masked", "target_variance", "prediction_variance"]
    log = [
        {"epoch": 1, "train_loss": 1.0, "val_loss": 2.0, "train_new": 0.0, "val_only": 0.0, "seconds": 1.0},
        {"epoch": 2, "train_loss": 0.5, "val_loss": 1.0, "train_new": 0.1, "val_only": 0.0, "seconds": 1.0},
    ]
    assert wording.logged_terms(log) == (["loss", "new"], ["only"])
    assert wording.term_title("new") == "new"


@pytest.mark.parametrize(
    ("objective", "leads", "title", "said", "unsaid"),
    [
        (
            table(MaskedTeacherTask()), 1, "masked teacher (data2vec 2)", ["receives 30% of it (under 4 masks"],
            ["rhythm"],
        ),
        (table(MaskedTeacherTask(masks=1)), 1, "masked teacher (data2vec 2)", ["under 1 mask per crop"], []),
        (
            table(MaskedTeacherTask(rhythm=1.0)), 1, "masked teacher (data2vec 2) with rhythm and beat shape",
            ["the encoder also predicts rhythm"], [],
        ),
        (
            table(MaskedTeacherTask(rhythm=1.0, masks=0)), 1, "rhythm and beat shape", ["the encoder predicts rhythm"],
            ["teacher"],
        ),
        (table(ContrastiveTask()), 1, CONTRASTIVE, ["49% of the tokens", "among 100 distractors"], ["Each lead"]),
        (table(ContrastiveTask()), 12, CONTRASTIVE, ["Each lead is set to zero with probability 0.5"], []),
        (FOREIGN, 1, "jepa", [], ["e"]),
    ],
)  # fmt: skip
def test_objectives(objective, leads, title, said, unsaid):
    assert wording.objective_title(objective) == title
    text = " ".join(wording.objective_sentences(objective, leads))
    assert all(part in text for part in said), text
    assert not any(part in text for part in unsaid), text


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("teacher", ["Losses", "Teacher"]),
        ("contrastive", ["Losses", "Codes"]),
        ("rhythm", ["Losses", "Teacher"]),
        ("rhythm-alone", ["Losses", "Targets"]),
    ],
)
def test_checks_of_finished_runs_pass(pretrained, name, names):
    found = wording.checks(read_pretraining(pretrained / name))
    assert [check.name for check in found] == names
    assert all(check.passed for check in found)


@pytest.mark.parametrize(
    ("name", "key", "value", "check", "said"),
    [
        ("teacher", "train_target_variance", 0.0009, "Teacher", "0.0009 or more in every epoch; below 0.001"),
        ("contrastive", "train_code_perplexity_2", 1.05, "Codes", "of 16 per group) was 1.05 or more"),
        ("rhythm-alone", "val_loss", None, "Losses", "finite in all 3 epochs"),
    ],
)
def test_checks_read_the_log(pretrained, name, key, value, check, said):
    run = read_pretraining(pretrained / name)
    log = [dict(row) for row in run.log]
    log[1][key] = value
    failed = [found for found in wording.checks(replace(run, log=log)) if not found.passed]
    assert [found.name for found in failed] == [check]
    assert said in failed[0].sentence


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([("a_index.npz", "12"), ("a.xz", "34")], "`data/a`: `a_index.npz` (sha256 `12`) and `a.xz` (sha256 `34`)"),
        ([], "`data/a` (sha256 over the sha256 of each of its files in order: `56`)"),
    ],
)
def test_data_are_named_file_by_file_or_as_a_whole(files, said):
    named = [{"name": name, "sha256": sha256} for name, sha256 in files]
    assert wording.data_phrase({"path": "data/a", "sha256": "56", "files": named}) == said


def test_the_machine_tells_how_many_processes_there_were():
    environment = {"accelerator": None, "processor": "CPU", "cores": 2, "threads": 1, "memory_bytes": 2e9}
    assert ", 1 thread," in wording.machine_phrase(environment)
    assert ", 2 processes of 1 thread," in wording.machine_phrase(environment | {"processes": 2})


def test_an_objective_that_nobody_described_still_has_a_report(pretrained):
    run = read_pretraining(pretrained / "teacher")
    run = replace(run, settings=run.settings | {"objective": FOREIGN})
    assert [check.name for check in wording.checks(run)] == ["Losses"]
    assert "Objective: jepa. 3 epochs" in wording.pretraining_headline(run)[1]


def test_headline_and_checkpoint_epoch(pretrained):
    run = read_pretraining(pretrained / "teacher")
    crops = run.metrics["data"]["crops_per_epoch"]
    text = " ".join(wording.pretraining_headline(run))
    assert f"{run.metrics['parameters']:,} parameters for one lead (II) at 100 Hz, pretrained on 8 recordings" in text
    assert f"3 epochs, {run.metrics['training']['steps']} steps, {3 * crops} crops in " in text
    assert wording.checkpoint_phrase(run) == "3 (last epoch)"
    run = replace(
        run,
        settings=run.settings | {"optimisation": {"checkpoint_metric": "loss"}},
        metrics=run.metrics | {"training": run.metrics["training"] | {"best_epoch": 2}},
    )
    assert wording.checkpoint_phrase(run) == "2 (lowest validation loss)"
    loss = wording.term_rows(run)[0]
    assert (loss["first"], loss["val"], loss["train"]) == (
        run.log[0]["val_loss"], run.log[1]["val_loss"], run.log[1]["train_loss"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("crops", "text"),
    [
        (
            {"time_stretch": 0.1, "gain": 0.0, "wander": 0.2, "noise": 0.05},
            "time stretch up to 10%, wander up to 0.2 SD",
        ),
        ({"time_stretch": 0.0, "gain": 0.0, "wander": 0.0, "noise": 0.0}, "none"),
    ],
)
def test_augmentation(crops, text):
    assert wording.augmentation_phrase(crops).startswith(text)


def test_small_phrases(pretrained):
    assert wording.leads_phrase(["I", "II"]) == "2 leads (I, II)"
    assert wording.recording_rows({"train": 3, "flat": 1}) == [("Training", 3), ("Flat", 1)]
    assert wording.crop_phrase(read_pretraining(pretrained / "teacher").settings) == "2 s"
    assert wording.crop_phrase(read_pretraining(pretrained / "contrastive").settings) == "two adjacent windows of 2 s"
    machine = json.loads((pretrained / "teacher" / "environment.json").read_text())
    assert wording.machine_phrase(machine | {"accelerator": "H100"}).startswith("H100, ")
    assert "1 core, 2 threads" in wording.machine_phrase(machine | {"cores": 1, "threads": 2})

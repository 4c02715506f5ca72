"""The choice follows from validation predictions alone."""

import json
import sys
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from ecgtune.data.simulation import simulate
from ecgtune.utils.files import write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.auto import choose as module
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.choose import Candidate, chosen, read_candidates
from ecgtune.workflows.auto.material import Material
from ecgtune.workflows.auto.plan_file import AutoPlan
from ecgtune.workflows.auto.trial import score_of
from ecgtune.workflows.auto.validation import Validation, validation_of
from helpers.auto import job, results, trained

DATA = simulate(400, seed=2)
RNG = np.random.default_rng(0)


def material(rounds=1):
    part = np.array(["train", "val", "test"])[np.arange(400) // 8 % 3]  # by patient
    fold = np.where(part == "test", -1, np.arange(400) // 8 % 5 if rounds > 1 else -1)
    return Material(DATA, part, fold, {"unit": "patient", "origin": "", "warnings": [], "duplicates": 0})


def predictions(label, skill):
    """Probabilities whose AUROC rises with the skill."""
    return 1 / (1 + np.exp(-(skill * (2 * label - 1) + RNG.normal(size=len(label)))))


def candidate(out, given, method, skill, seed=0):
    """A finished candidate in do/, and its trials."""
    trials = []
    for number in range(given.rounds):
        rows = given.split(number).val
        probability = predictions(given.dataset.label[rows], skill)
        score = score_of("binary", given.dataset.label[rows], probability)
        trials.append(trained(number, method=method, seed=seed, score=score))
        folder = out / "do" / trials[-1]["name"] / f"round-{number}"
        folder.mkdir(parents=True)
        np.savez(folder / "validation.npz", row=rows, probability=probability)
    return trials


def choice(out, given, *candidates):
    trials = [trial for one in candidates for trial in candidate(out, given, *one)]
    write_json(out / "do" / "results.json", results(trials))
    found = read_candidates(out, given)
    return chosen(found, validation_of(given, found[0][1]))


@pytest.mark.parametrize(("probe", "other", "taken"), [(1.0, 1.02, "probe"), (0.3, 2.5, "lora"), (2.5, 0.3, "probe")])
def test_the_probe_is_kept_where_nothing_is_shown_to_be_better(probe, other, taken, tmp_path):
    found = choice(tmp_path, material(), ("probe", probe), ("lora", other))
    assert found["chosen"].startswith(taken)
    assert (found["difference"]["ci_low"] > 0) == (taken == "lora")
    assert json.dumps(found)


@pytest.mark.parametrize(("patients", "taken"), [(1, "probe"), (5, "probe"), (6, "lora")])
def test_a_handful_of_patients_shows_no_difference(patients, taken, tmp_path):
    number = np.unique(DATA.group, return_inverse=True)[1]
    part = np.where(number < patients, "val", np.where(number < 40, "train", "test"))
    label = np.arange(400) % 2  # both classes in each patient
    given = replace(material(), dataset=replace(DATA, label=label), part=part)
    found = choice(tmp_path, given, ("probe", -1.0), ("lora", 3.0))
    assert found["chosen"].startswith(taken)
    assert found["difference"]["ci_low"] > 0
    if taken == "probe":
        assert f"{patients} patient" in found["reason"]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"epochs": 20, "trained_epochs": 20}, "lora (100 windows, 20 epochs)"),
        ({"epochs": 20, "trained_epochs": 3, "ended": True}, "lora (100 windows, 3 of 20 epochs, ended by time)"),
        ({"epochs": 20, "trained_epochs": 20, "ended": True}, "lora (100 windows, 20 of 20 epochs, ended by time)"),
    ],
)
def test_a_title_says_that_a_training_was_ended_by_time(facts, said):
    assert module._title(Candidate("lora", trained(method="lora", **facts), ("a",), ())) == said


def test_independent_candidates_of_equal_skill_become_an_ensemble(tmp_path):
    found = choice(tmp_path, material(), *(("probe", 1.0, seed) for seed in range(3)))
    assert found["ensemble"]["helps"]
    assert len(found["runs"]) == 3


@pytest.mark.parametrize(("most", "members"), [(3, 3), (2, 1)])
def test_a_mean_is_of_as_many_trainings_as_there_is_time_to_test(most, members, tmp_path):
    given = material()
    trials = [trial for seed in range(3) for trial in candidate(tmp_path, given, "probe", 1.0, seed)]
    write_json(tmp_path / "do" / "results.json", results(trials))
    found = read_candidates(tmp_path, given)
    made = chosen(found, validation_of(given, found[0][1]), most)
    assert made["ensemble"]["shown"]
    assert (len(made["runs"]), made["ensemble"]["helps"]) == (members, members == 3)


def test_a_resample_without_a_rare_label_has_the_mean_over_the_others():
    label = np.zeros((60, 2), dtype=np.int8)
    label[:30, 0], label[0, 1] = 1, 1  # the second label has one window, so a third of the resamples lack it
    probability = np.clip(label * 0.6 + RNG.random((60, 2)) * 0.3, 0, 1)
    found = Validation("multilabel", ("a", "b"), label, np.arange(60)).draws([probability])
    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(score_of("multilabel", label, probability))


def test_the_mean_with_the_best_partner_is_tried(tmp_path):
    found = choice(tmp_path, material(), ("probe", 1.5), ("lora", 0.2), ("full", 1.49))
    assert {name.partition("-")[0] for name in found["ensemble"]["members"]} == {"probe", "full"}


@pytest.mark.parametrize(
    ("second", "noise", "members"),
    [
        (1.5, True, {"lora", "full"}),  # neither is better, and the mean is ahead
        (1.5, False, {"full"}),  # they answer alike
        (0.2, True, {"full"}),
    ],
)
def test_the_mean_of_two_methods_of_which_neither_is_better_is_used(second, noise, members, tmp_path, monkeypatch):
    random = np.random.default_rng(1)
    own = {name: random.normal(size=400) for name in ("full", "lora", "probe")}
    own = own if noise else own | {"lora": own["full"]}
    given = material()
    label = given.dataset.label[given.split(0).val]
    trials = []
    for method, skill in {"full": 1.5, "lora": second, "probe": 0.2}.items():
        odds = skill * (2 * label - 1) + own[method][: len(label)]
        monkeypatch.setattr(sys.modules[__name__], "predictions", lambda *_, odds=odds: 1 / (1 + np.exp(-odds)))
        trials += candidate(tmp_path, given, method, skill)
    write_json(tmp_path / "do" / "results.json", results(trials))
    found = read_candidates(tmp_path, given)
    taken = chosen(found, validation_of(given, found[0][1]))
    assert {name.partition("-")[0] for name in taken["members"]} == members
    assert ("the mean of" in taken["reason"]) == (len(members) == 2)
    assert taken["runs"] == [f"do/{name}/round-0" for name in taken["members"]]


class Drawn:
    """Validation whose predictions are the draws themselves; a mean has 0.005 more than its members."""

    label, groups, unit = np.zeros(100), 100, "patient"
    shows, level = Validation.shows, Validation.level

    def __init__(self, *singles):
        self.singles = singles

    def draws(self, copies):
        return copies[0] if any(copies[0] is one for one in self.singles) else copies[0] + 0.005


WIDE = np.random.default_rng(0).normal(0, 0.03, 501)


@pytest.mark.parametrize(
    ("others", "members", "reason"),
    [
        ({"lora": 0.81, "full": 0.809 + WIDE}, ["lora"], "lora"),  # LoRA alone is shown to be better than the probe
        ({"lora": 0.81 + WIDE, "full": 0.809 - WIDE}, ["lora", "full"], "the mean of lora"),
        ({"lora": 0.81, "scratch": 0.809 + WIDE / 9}, ["lora"], "lora"),  # one file could not hold both
        ({"lora": 0.801 + WIDE, "full": 0.8 + WIDE}, ["probe"], "no other method"),
    ],
)
def test_a_mean_of_two_methods_comes_before_the_better_one_if_it_is_shown_to_be_better(others, members, reason):
    drawn = {name: np.broadcast_to(values, 501).copy() for name, values in {"probe": 0.8, **others}.items()}
    for values in drawn.values():
        values[0] = np.median(values)
    if members == ["lora", "full"]:
        drawn["lora"][0], drawn["full"][0] = 0.81, 0.809
    found = [
        (Candidate(name, trained(method=name), (f"do/{name}/round-0",), (values,)), np.arange(100))
        for name, values in drawn.items()
    ]
    taken = chosen(found, cast(Validation, Drawn(*drawn.values())))
    assert taken["members"] == members
    assert taken["reason"].startswith(reason)
    assert (taken["ensemble"]["members"] == members) == (len(members) == 2) == taken["ensemble"]["helps"]


def test_an_ensemble_with_a_candidate_without_skill_is_not_used(tmp_path):
    found = choice(tmp_path, material(), ("probe", 2.0), ("lora", 0.0))
    assert not found["ensemble"]["helps"]
    assert found["runs"] == [f"do/{found['chosen']}/round-0"]


def test_folds_are_averaged_where_that_is_shown_to_help(tmp_path):
    given = material(rounds=5)
    found = choice(tmp_path, given, ("probe", 1.0), ("lora", 0.2))
    assert found["ensemble"]["of"] == "folds"
    assert found["ensemble"]["helps"]
    assert found["runs"] == [f"do/{found['chosen']}/round-{number}" for number in range(5)]
    assert found["validated"] == (given.fold >= 0).sum()


def test_without_that_one_training_on_more_windows_follows(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ecgtune.workflows.auto.choose.difference_of", lambda *_: dict.fromkeys(("value", "ci_low", "ci_high"), 0.0)
    )
    found = choice(tmp_path, material(rounds=5), ("probe", 1.0), ("lora", 0.2))
    assert found["runs"] == [f"do/{found['chosen']}/final"]


def test_folds_without_time_leave_a_choice_among_those_with_the_most(tmp_path):
    given = material(rounds=5)
    trials = [trial for one in (("probe", 1.0), ("lora", 0.2)) for trial in candidate(tmp_path, given, *one)]
    kept = [trial for trial in trials if trial["round"] < (3 if trial["method"] == "probe" else 1)]
    write_json(tmp_path / "do" / "results.json", results(kept))
    ((only, rows),) = read_candidates(tmp_path, given)
    assert only.result["method"] == "probe"
    assert len(only.copies) == 1
    assert not np.isnan(only.copies[0]).any()
    found = chosen([(only, rows)], validation_of(given, rows))
    assert found["runs"] == [f"do/{only.name}/final"]


def test_a_candidate_of_more_folds_than_the_probe_is_compared_on_those_of_the_probe(tmp_path):
    given = material(rounds=5)
    trials = [trial for one in (("probe", 2.0), ("lora", 0.2)) for trial in candidate(tmp_path, given, *one)]
    kept = [trial for trial in trials if trial["method"] == "lora" or trial["round"] == 0]
    write_json(tmp_path / "do" / "results.json", results(kept))
    found = read_candidates(tmp_path, given)
    assert {one.result["method"] for one, _ in found} == {"probe", "lora"}
    assert all(np.array_equal(rows, given.split(0).val) for _, rows in found)
    assert chosen(found, validation_of(given, found[0][1]))["chosen"].startswith("probe")


def test_a_planted_test_split_does_not_change_the_choice(tmp_path):
    given = material()
    before = choice(tmp_path, given, ("probe", 1.0), ("lora", 1.5))
    label, signal = DATA.label.copy(), DATA.signal.copy()
    label[given.part == "test"] = 1 - label[given.part == "test"]
    signal[given.part == "test"] = 0
    planted = replace(given, dataset=replace(DATA, label=label, signal=signal))
    found = read_candidates(tmp_path, planted)
    assert chosen(found, validation_of(planted, found[0][1])) == before


@pytest.mark.parametrize(("last", "ends"), [("round-0", True), ("final", False)])
def test_a_killed_last_training_after_folds_resumes_and_a_finished_one_does_not(last, ends, tmp_path, monkeypatch):
    name = job()["name"]
    write_json(tmp_path / "do" / name / "round-0/job.json", job())
    write_json(tmp_path / "do" / name / "round-0/result.json", trained())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "log.jsonl").touch()  # of the epochs before the kill
    limits = []
    monkeypatch.setattr(module, "ready_run", lambda *_: None)
    monkeypatch.setattr(module, "run_recipe", lambda run, bar, callbacks: limits.append(callbacks[0]))
    monkeypatch.setattr(module, "tested", lambda *_: {})
    found = {"runs": [f"do/{name}/{last}"], "candidates": [{"name": name, "seconds": 50.0}]}
    with ProgressBar(shown=False) as progress:
        module._test(tmp_path, AutoPlan(), found, material(), Budget(tmp_path, progress), progress)
    limits[0].on_train_begin(0, 1)
    assert limits[0].ends_training == ends


def test_only_the_chosen_training_keeps_the_state_by_which_it_goes_on(tmp_path, monkeypatch):
    given = material()
    results_of = [trial for one in (("probe", 0.3), ("lora", 2.5)) for trial in candidate(tmp_path, given, *one)]
    write_json(tmp_path / "do" / "results.json", results(results_of))
    runs = [f"do/{trial['name']}/round-0" for trial in results_of]
    for each in runs:
        (tmp_path / each / "run" / "last").mkdir(parents=True)
    monkeypatch.setattr(module, "material_of", lambda *_: given)
    monkeypatch.setattr(module, "_test", lambda *_: None)
    with ProgressBar(shown=False) as progress:
        found = module.choose(tmp_path, AutoPlan(), Budget(tmp_path, progress), progress)
    assert found["runs"] == [runs[1]]
    assert [each for each in runs if (tmp_path / each / "run" / "last").exists()] == [runs[1]]

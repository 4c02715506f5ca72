"""Both objectives through the one loop, on real trainings of a tiny encoder."""

import json
import math
import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from ecgtune.errors import DivergedError, EcgtuneError, RunError, SettingError
from ecgtune.io.recordings import read_recordings
from ecgtune.models.checkpoint import load_checkpoint
from ecgtune.pretraining.beats import find_beats
from ecgtune.pretraining.crops import crop_shape, select
from ecgtune.pretraining.start import make_objective
from ecgtune.pretraining.teacher import teacher_decay
from ecgtune.recipes.pretraining import Crops
from ecgtune.training.loop import train
from ecgtune.training.objective import StepContext
from ecgtune.training.run_folder import RunFolder
from helpers.methods import slow
from helpers.pretraining import CONTRASTIVE, RECIPES, RHYTHM, RHYTHM_ALONE, TEACHER, beats, write_recordings
from helpers.settings import changed
from helpers.training import Interrupted


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGTUNE_CACHE", str(folder / "cache"))
        return read_recordings(write_recordings(folder / "recordings.npz"), sampling_rate=100.0)


def objective_of(recipe, data, seed=0):
    crop = crop_shape(recipe).samples * (2 if recipe.objective.name == "contrastive" else 1)
    return make_objective(data, select(data, (), crop, recipe.crops), recipe, seed=seed, origin={})


def run(folder, recipe, data, *, seed=0, stop_after=None):
    """Pretrain; returns what is kept: result, tensors of the written encoder, log without times."""
    objective = objective_of(recipe, data, seed)
    callbacks = [Interrupted(stop_after)]
    result = train(
        objective, recipe.optimisation, recipe.trainer, seed=seed, folder=RunFolder(folder), callbacks=callbacks
    )
    rows = [json.loads(line) for line in RunFolder(folder).log.read_text().splitlines()]
    log = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    return result, load_checkpoint(folder / "best").encoder.state_dict(), log


def same(one, other) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize(("step", "decay"), [(0, 0.98), (50, 0.98 + 0.019 * 50 / 99), (99, 0.999)])
def test_decay_rises_in_a_line(step, decay):
    assert teacher_decay(0.98, 0.999, step, 100) == pytest.approx(decay, abs=1e-12)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_it_learns_and_logs_every_term(recipe, data, tmp_path):
    longer = replace(recipe, optimisation=replace(recipe.optimisation, epochs=8))
    result, _, log = run(tmp_path, longer, data)
    assert log[-1]["train_loss"] < log[0]["train_loss"]
    assert log[-1]["val_loss"] < log[0]["val_loss"]
    assert result.epochs == 8
    teacher = {"loss", "target_variance", "prediction_variance"}
    terms = {
        "teacher": teacher,
        "rhythm": teacher | {"masked", "rhythm_crop", "rhythm_token"},
        "rhythm-alone": teacher | {"masked", "rhythm_crop", "rhythm_token"},
        "contrastive": {
            "loss", "contrastive", "diversity", "feature_penalty", "segments", "code_perplexity",
            "code_perplexity_1", "code_perplexity_2", "probability_perplexity", "masked_accuracy",
        },
    }[recipe.name]  # fmt: skip
    parts = {f"{part}_{term}" for part in ("train", "val") for term in terms}
    assert set(log[0]) == parts | {"epoch", "learning_rate"}
    assert all(math.isfinite(value) for row in log for value in row.values())
    row = log[-1]
    if recipe in (RHYTHM, RHYTHM_ALONE):
        parts = [row[f"train_{name}"] for name in ("masked", "rhythm_crop", "rhythm_token")]
        assert row["train_loss"] == pytest.approx(sum(parts), rel=1e-5)
        assert all(row[f"train_{name}"] < log[0][f"train_{name}"] for name in ("rhythm_crop", "rhythm_token"))
        without = [row[f"train_{name}"] for name in ("masked", "target_variance", "prediction_variance")]
        assert all(without) if recipe is RHYTHM else not any(without)
    if recipe is CONTRASTIVE:
        parts = [row[f"train_{name}"] for name in ("contrastive", "diversity", "feature_penalty", "segments")]
        assert row["train_loss"] == pytest.approx(sum(parts), rel=1e-4)
        assert 0 < row["train_masked_accuracy"] <= 1
        assert 2 < row["train_code_perplexity"] <= 32
        groups = [row[f"train_code_perplexity_{group}"] for group in (1, 2)]
        assert row["train_code_perplexity"] == pytest.approx(sum(groups), rel=1e-5)


@pytest.mark.parametrize("recipe", [RHYTHM, *slow(CONTRASTIVE, TEACHER, RHYTHM_ALONE)], ids=lambda recipe: recipe.name)
def test_same_seed_same_bits_and_another_seed_others(recipe, data, tmp_path):
    _, first, log = run(tmp_path / "a", recipe, data)
    _, second, again = run(tmp_path / "b", recipe, data)
    _, other, _ = run(tmp_path / "c", recipe, data, seed=1)
    assert same(first, second)
    assert log == again
    assert not same(first, other)


def test_averaged_weights_are_what_is_written_and_survive_a_stop(data, tmp_path):
    averaged = replace(
        TEACHER,
        optimisation=replace(TEACHER.optimisation, epochs=2, ema=0.9),
        trainer=replace(TEACHER.trainer, save_minutes=1e-9),
    )
    _, whole, log = run(tmp_path / "whole", averaged, data)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", averaged, data, stop_after=9)
    _, resumed, resumed_log = run(tmp_path / "stopped", averaged, data)
    assert same(resumed, whole)
    assert resumed_log == log
    _, plain, plain_log = run(
        tmp_path / "plain", replace(averaged, optimisation=replace(averaged.optimisation, ema=None)), data
    )
    assert [row["train_loss"] for row in plain_log] == [row["train_loss"] for row in log]
    assert not same(plain, whole)


@pytest.mark.parametrize(
    ("recipe", "stop_after"),
    [*product((CONTRASTIVE, RHYTHM), (4,)), *slow(*product((TEACHER, RHYTHM_ALONE), (4,)), *product(RECIPES, (0, 9)))],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_stopped_anywhere_and_resumed_ends_on_the_same_bits(recipe, stop_after, data, tmp_path):
    often = replace(
        recipe, optimisation=replace(recipe.optimisation, epochs=2), trainer=replace(recipe.trainer, save_minutes=1e-9)
    )
    _, whole, log = run(tmp_path / "whole", often, data)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", often, data, stop_after=stop_after)
    _, resumed, resumed_log = run(tmp_path / "stopped", often, data)
    assert same(resumed, whole)
    assert resumed_log == log


@pytest.mark.parametrize("recipe", [RHYTHM, *slow(CONTRASTIVE, TEACHER, RHYTHM_ALONE)], ids=lambda recipe: recipe.name)
def test_pieces_and_bf16_train_too(recipe, data, tmp_path):
    for name, change in {"pieces": {"gradient_accumulation_steps": 3}, "bf16": {"precision": "bf16"}}.items():
        settings = changed(recipe, epochs=2, **change)
        _, weights, log = run(tmp_path / name, settings, data)
        assert log[-1]["val_loss"] == pytest.approx(log[0]["val_loss"], rel=0.3)
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_the_teacher_follows_by_the_formula_and_keep_says_who_is_written(data, tmp_path):
    task = replace(TEACHER.objective, decay_start=0.5, decay_end=0.9)
    recipe = replace(TEACHER, objective=task)
    objective = objective_of(recipe, data)
    model = objective.model
    expected = {name: tensor.clone() for name, tensor in model.teacher.state_dict().items()}
    follow = objective.after_step
    steps = []

    def after_step(context):
        follow(context)
        decay = teacher_decay(0.5, 0.9, context.step, context.total_steps)
        steps.append(decay)
        for name, tensor in model.encoder.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor

    objective.after_step = after_step
    train(objective, recipe.optimisation, recipe.trainer, seed=0, folder=RunFolder(tmp_path / "student"))
    assert (steps[0], steps[-1]) == (0.5, pytest.approx(0.9))
    for name, tensor in model.teacher.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], msg=name)
    _, student, _ = run(tmp_path / "again", recipe, data)
    _, teacher, _ = run(tmp_path / "teacher", replace(recipe, objective=replace(task, keep="teacher")), data)
    assert same(student, model.encoder.state_dict())
    assert same(teacher, model.teacher.state_dict())


def test_best_is_the_last_epoch_or_the_one_with_the_lowest_loss(data, tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0] * 2)
    monkeypatch.setattr(
        "ecgtune.pretraining.teacher.MaskedTeacherObjective._validation",
        lambda self, context: {"loss": next(losses), "target_variance": 1.0},
    )
    assert run(tmp_path / "last", TEACHER, data)[0].best_epoch == 3
    assert run(tmp_path / "loss", changed(TEACHER, checkpoint_metric="loss"), data)[0].best_epoch == 2


def test_a_teacher_that_says_the_same_to_everything_is_a_collapse(data, tmp_path):
    objective = objective_of(TEACHER, data)
    with torch.no_grad():
        for encoder in (objective.model.encoder, objective.model.teacher):
            for layer in encoder.layers:
                layer.final_norm.weight.zero_()
    with pytest.raises(RunError, match=r"the teacher has collapsed.*learning_rate"):
        train(objective, TEACHER.optimisation, TEACHER.trainer, seed=0, folder=RunFolder(tmp_path))
    (row,) = (json.loads(line) for line in RunFolder(tmp_path).log.read_text().splitlines())
    assert row["train_target_variance"] < 1e-3  # the log shows why
    assert not RunFolder(tmp_path).state.exists()


def test_a_validation_loss_that_is_not_a_number_is_told_and_null_in_the_log(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ecgtune.pretraining.teacher.MaskedTeacherObjective._validation",
        lambda self, context: {"loss": math.nan, "target_variance": 1.0},
    )
    with pytest.raises(DivergedError, match="the validation loss is not a number"):
        run(tmp_path, TEACHER, data)
    assert json.loads(RunFolder(tmp_path).log.read_text(), parse_constant=pytest.fail)["val_loss"] is None


def test_without_masks_the_teacher_cannot_collapse_and_is_the_students_average(data, tmp_path):
    objective = objective_of(RHYTHM_ALONE, data)
    train(objective, RHYTHM_ALONE.optimisation, RHYTHM_ALONE.trainer, seed=0, folder=RunFolder(tmp_path))
    student, teacher = objective.model.encoder.state_dict(), objective.model.teacher.state_dict()
    assert not same(teacher, student)
    start = objective_of(RHYTHM_ALONE, data).model.encoder.state_dict()
    for name, tensor in teacher.items():  # not where it began, and behind the student
        assert (tensor - start[name]).norm() < (student[name] - start[name]).norm() or name.endswith("k_proj.bias")


def test_twice_the_weight_of_rhythm_adds_its_terms_once_more(data):
    context, items = StepContext(0, 0, 0, 10), np.arange(8)
    terms = []
    for weight in (1.0, 2.0):
        recipe = replace(RHYTHM, objective=replace(RHYTHM.objective, rhythm=weight))
        objective = objective_of(recipe, data)
        objective.model.eval()
        with torch.no_grad():
            terms.append(objective.loss(objective.model, objective.batch(items, context, torch.device("cpu"))))
    one, two = terms
    assert all(torch.equal(one[name], two[name]) for name in one if name != "loss")
    torch.testing.assert_close(two["loss"] - one["loss"], one["rhythm_crop"] + one["rhythm_token"])


def test_rhythm_is_read_before_augmentation_and_at_the_places_of_the_crops(data):
    """Noise as tall as the beats changes what the encoder sees, and no target."""
    context, items, device = StepContext(0, 0, 0, 10), np.arange(20), torch.device("cpu")
    noisy = replace(RHYTHM, crops=replace(RHYTHM.crops, noise=2.0))
    one, two = (objective_of(recipe, data).batch(items, context, device) for recipe in (RHYTHM, noisy))
    assert not torch.equal(one.signal, two.signal)
    for ours, theirs in zip(one.targets, two.targets, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    bump = one.targets[1][..., 0]  # where a token holds a beat, so does the signal
    tallest = one.signal[:, 0].unfold(-1, 8, 8).amax(dim=-1)
    alike = np.corrcoef(bump.numpy().ravel(), tallest.numpy().ravel())[0, 1]
    assert alike > 0.6


@pytest.mark.parametrize(
    ("dead", "said"), [((1, 2), "group [12] of 2"), ((1,), "group 1 of 2"), ((2,), "group 2 of 2")]
)
def test_one_code_for_everything_in_any_group_is_a_collapse(dead, said, data, tmp_path):
    objective = objective_of(CONTRASTIVE, data)
    with torch.no_grad():
        for group in dead:
            scores = slice(16 * (group - 1), 16 * group)
            objective.model.quantizer.weight_proj.weight[scores] = 0
            objective.model.quantizer.weight_proj.bias[scores.start] = 50.0
    with pytest.raises(
        RunError, match=f"the codes have collapsed: {said} .*so all tokens have the same of its 16 codes"
    ):
        train(objective, CONTRASTIVE.optimisation, CONTRASTIVE.trainer, seed=0, folder=RunFolder(tmp_path))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_loss_that_is_not_a_number_is_told(recipe, data, tmp_path):
    objective = objective_of(recipe, data)
    with torch.no_grad():
        objective.model.encoder.projection.bias.fill_(math.nan)
    with pytest.raises(RunError, match="the training loss is not a number in epoch 1"):
        train(objective, recipe.optimisation, recipe.trainer, seed=0, folder=RunFolder(tmp_path))


def spy_on_beats(looked_at: list[int]):
    def spy(recordings, rows):
        looked_at.extend(rows)
        return find_beats(recordings, rows)

    return spy


def test_recordings_left_out_are_never_cut(tmp_path, monkeypatch):
    """Each recording has a level of its own, so that every sample that is read tells where it is from."""
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    signals = [(1000 * number + np.arange(1000) % 500).astype(np.int16) for number in range(10)]
    recordings = read_recordings(write_recordings(tmp_path / "r.npz", signals), sampling_rate=100.0)
    seen: dict[str, set] = {"train": set(), "val": set()}
    for recipe in RECIPES:
        recipe = replace(recipe, crops=Crops(window_seconds=2.0, val_fraction=0.3))
        looked_at: list[int] = []
        segments = 2 if recipe is CONTRASTIVE else 1
        selection = select(recordings, {"R03", "R07"}, 200 * segments, recipe.crops)
        with monkeypatch.context() as patch:
            patch.setattr("ecgtune.pretraining.rhythm.find_beats", spy_on_beats(looked_at))
            objective = make_objective(recordings, selection, recipe, seed=0, origin={})
        assert not {3, 7} & set(looked_at)
        assert bool(looked_at) == (recipe.name in ("rhythm", "rhythm-alone"))
        from ecgtune.pretraining import objective as module

        def spy(recordings, places, items, samples, cut=module.cut):
            crops = cut(recordings, places, items, samples)
            part = "val" if len(places.start) == len(objective._val_owner) else "train"  # noqa: B023
            seen[part] |= set((crops // 1000).astype(int).ravel().tolist())
            return crops

        with monkeypatch.context() as patch:
            patch.setattr(module, "cut", spy)
            for epoch in range(5):
                objective.batch(np.arange(objective.items), StepContext(0, epoch, epoch, 100), torch.device("cpu"))
            objective._validation(StepContext(0, 0, 0, 100))
        assert seen["train"] == set(selection.train.tolist())
        assert seen["val"] == set(selection.val.tolist())
    assert not (seen["train"] | seen["val"]) & {3, 7}
    assert not seen["train"] & seen["val"]


def test_segments_of_a_pair_are_neighbours(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    signals = [beats(12, 100, seed) for seed in range(4)]
    recordings = read_recordings(write_recordings(tmp_path / "r.npz", signals), sampling_rate=100.0)
    objective = objective_of(CONTRASTIVE, recordings)
    signal = objective.batch(np.arange(6), StepContext(0, 0, 0, 10), torch.device("cpu")).signal.numpy()
    whole = recordings.samples[0].astype(float)
    for first, second in zip(signal[::2, 0], signal[1::2, 0], strict=True):
        fits = [
            start for start in range(len(whole) - 400)
            if np.corrcoef(first, whole[start : start + 200])[0, 1] > 0.9999
        ]  # fmt: skip
        assert len(fits) == 1
        assert np.corrcoef(second, whole[fits[0] + 200 : fits[0] + 400])[0, 1] > 0.9999


def test_windows_too_short_for_the_objective(data):
    with pytest.raises(SettingError, match=r"3 tokens.*4 or more"):
        objective_of(replace(TEACHER, crops=Crops(window_seconds=0.25)), data)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (
            {"architecture": "resnet-1d"},
            "[encoder] does not fit architecture 'resnet-1d'",
        ),
        ({"architecture": "unheard-of"}, "architecture 'unheard-of' is not registered"),
    ],
)
def test_an_architecture_of_other_sizes_is_refused(encoder, message, data):
    with pytest.raises(EcgtuneError, match=re.escape(message)):
        objective_of(replace(TEACHER, encoder=replace(TEACHER.encoder, **encoder)), data)

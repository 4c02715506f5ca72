"""`PretrainSettings(model=...)`: an encoder's weights trained further, by its own objective or by masked signals."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import ecgtune
from ecgtune.cli.main import main
from ecgtune.errors import RunError, SettingError
from ecgtune.models.checkpoint import load_checkpoint, save_encoder
from ecgtune.models.loading import load_encoder
from ecgtune.models.weights import Weights
from ecgtune.pretraining.start import objectives_of
from ecgtune.recipes.pretraining import Crops, MaskedSignalTask, MaskedTeacherTask, StartWeights
from ecgtune.workflows.pretrain import pretraining_recipe
from helpers.encoders import ConvNet, PatchNet, registered
from helpers.pretraining import CONTRASTIVE, TEACHER, beats, write_recordings
from helpers.published import TINY
from helpers.training import stopped_in_the_second_epoch

TERMS = Weights("pretrained", "made", "0" * 64, licence="CC BY-NC 4.0", terms="no commercial use")
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
MASKED = replace(
    TEACHER,
    name="masked",
    objective=MaskedSignalTask(decoder_layers=1, decoder_width=16, decoder_groups=4, visible_span=2),
    encoder=type(TEACHER.encoder)(),
    crops=Crops(window_seconds=2.0, val_fraction=0.3),
)
SIGNALS = replace(
    MASKED, name="signals", objective=MaskedTeacherTask(masks=2, decoder_layers=1, decoder_width=16, decoder_groups=4)
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Recordings of one and of twelve leads, and the pretraining that is continued."""
    folder = tmp_path_factory.mktemp("continued")
    write_recordings(folder / "one.npz")
    twelve = [np.stack([beats(12, 100, 12 * seed + lead) for lead in range(12)]) for seed in range(6)]
    write_recordings(folder / "twelve.npz", twelve, leads=np.array(LEADS))
    write_recordings(folder / "two.npz", [signal[:2] for signal in twelve], leads=np.array(LEADS[:2]))
    ecgtune.pretrain(folder / "one.npz", TEACHER, out=folder / "run")
    return folder


def continued(place, recipe, out, start, data="one.npz", **others):
    recipe = replace(recipe, encoder=type(recipe.encoder)())
    return ecgtune.pretrain(place / data, recipe, ecgtune.PretrainSettings(model=start), out=out, **others)


def saved(folder, encoder):
    return save_encoder(encoder, folder, weights=TERMS)


@pytest.mark.parametrize(
    "recipe", [TEACHER, pytest.param(CONTRASTIVE, marks=pytest.mark.slow)], ids=lambda recipe: recipe.name
)
def test_a_run_is_continued_from_its_weights(place, tmp_path, recipe):
    best = continued(place, recipe, tmp_path / "out", place / "run")
    before, after = (load_checkpoint(folder).encoder.state_dict() for folder in (place / "run" / "best", best))
    changes = {name: float((after[name] - before[name]).abs().max()) for name in before}
    assert 0 < max(changes.values()) < 0.2, "weights that started at random would differ more"
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["start"]["weights"].startswith("pretrained (sha256 ")
    assert "Continued from" in (tmp_path / "out" / "report.html").read_text()


def test_a_stopped_continuation_ends_on_the_same_bits(place, tmp_path):
    whole = continued(place, SIGNALS, tmp_path / "whole", place / "run")
    with stopped_in_the_second_epoch():
        continued(place, SIGNALS, tmp_path / "stopped", place / "run")
    resumed = continued(place, SIGNALS, tmp_path / "stopped", place / "run", resume=True)
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match=r"start.name was .*run, now ecg-fm-tiny"):
        continued(place, SIGNALS, tmp_path / "stopped", "ecg-fm-tiny", resume=True)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("st-mem", MASKED),
        *(
            pytest.param(name, recipe, marks=pytest.mark.slow)
            for name in ("ecgfounder", "hubert-ecg", "merl-vit-tiny", "merl-resnet18", "openecg")
            for recipe in (SIGNALS, *([MASKED] if name != "hubert-ecg" else []))
        ),
    ],
)
def test_published_architectures_are_continued_and_keep_their_terms(place, tmp_path, name, recipe):
    encoder = TINY[name]()
    data = "one.npz" if len(encoder.input_spec.leads) == 1 else "two.npz"
    crops = replace(recipe.crops, window_seconds=5.0 if name == "hubert-ecg" else 2.0)
    batch = 4 if name == "hubert-ecg" else 16
    recipe = replace(recipe, crops=crops, optimisation=replace(recipe.optimisation, epochs=1, batch_size=batch))
    best = continued(place, recipe, tmp_path / "out", saved(tmp_path / "start", encoder), data)
    found = load_encoder(best)
    assert type(found.encoder) is type(encoder)
    assert (found.weights.licence, found.weights.terms) == ("CC BY-NC 4.0", "no commercial use")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "keep the licence of those that they continue: CC BY-NC 4.0, no commercial use" in card
    again = continued(place, recipe, tmp_path / "again", best, data)
    assert load_encoder(again).weights.terms == "no commercial use"


@pytest.mark.parametrize(
    ("encoder", "recipe"),
    [(ConvNet, MASKED), *(pytest.param(PatchNet, recipe, marks=pytest.mark.slow) for recipe in (SIGNALS, MASKED))],
)
def test_an_encoder_of_the_contract_learns(place, tmp_path, encoder, recipe):
    with registered(("mine", encoder)):
        leads = encoder.config_type().leads
        twelve = [np.stack([beats(12, 100, 12 * seed + lead) for lead in range(len(leads))]) for seed in range(12)]
        write_recordings(tmp_path / "data.npz", twelve, leads=np.array(leads))
        longer = replace(recipe, optimisation=replace(recipe.optimisation, epochs=8, learning_rate=1e-2))
        ecgtune.pretrain(tmp_path / "data.npz", longer, ecgtune.PretrainSettings(model="mine"), out=tmp_path / "out")
        rows = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
        assert rows[-1]["val_loss"] < rows[0]["val_loss"]
        if recipe is MASKED:
            assert rows[-1]["val_loss"] < rows[-1]["val_zero_error"]


@pytest.mark.slow
def test_masked_signals_leave_running_statistics_as_they_are(place, tmp_path):
    encoder = TINY["merl-resnet18"]()
    statistics = {name: value.clone() for name, value in encoder.state_dict().items() if "running" in name}
    best = continued(place, SIGNALS, tmp_path / "out", saved(tmp_path / "start", encoder), "two.npz")
    after = load_checkpoint(best).encoder.state_dict()
    assert statistics
    assert all(torch.equal(after[name], value) for name, value in statistics.items())


@pytest.mark.parametrize(
    ("start", "recipe"),
    [("ecg-fm-tiny", "continue-masked-teacher"), ("openecg-random", "continue-masked-signal")],
)
def test_the_recipe_is_that_of_the_weights_own_objective(start, recipe):
    found = pretraining_recipe(None, ecgtune.PretrainSettings(model=start))
    assert (found.name, found.start) == (recipe, StartWeights(start))
    assert (
        pretraining_recipe("pretrain-tiny-contrastive", ecgtune.PretrainSettings(model="ecg-fm-tiny")).objective.name
        == "contrastive"
    )


def test_the_published_quantiser_is_trained_further(place, tmp_path, monkeypatch, shared):
    start = shared / "reference" / "pretrained_tiny.pt"
    found = load_encoder(start)
    assert pretraining_recipe(None, ecgtune.PretrainSettings(model=start)).objective.name == "contrastive"
    groups_codes = found.objective_tensors["quantizer.weight_proj.bias"].shape[0]
    width = found.objective_tensors["final_proj.bias"].shape[0]
    code_width = found.objective_tensors["project_q.weight"].shape[1]
    task = replace(CONTRASTIVE.objective, codes=groups_codes // 2, code_width=code_width, final_width=width)
    seen = {}

    def look(objective, *args, **others):
        seen.update(objective.tensors())
        raise KeyboardInterrupt

    monkeypatch.setattr("ecgtune.workflows.pretrain.train", look)
    with pytest.raises(KeyboardInterrupt):
        continued(place, replace(CONTRASTIVE, objective=task), tmp_path / "out", start, "twelve.npz")
    assert all(torch.equal(seen[name], tensor) for name, tensor in found.objective_tensors.items())
    with pytest.raises(SettingError, match="set groups, codes, code_width and final_width as in the file"):
        continued(place, CONTRASTIVE, tmp_path / "other", start, "twelve.npz")


@pytest.mark.parametrize(
    ("name", "recipe", "said"),
    [
        ("heartlang", SIGNALS, r"no objective can pretrain heartlang, .*; continue from another of .*openecg"),
        ("ecg-jepa", SIGNALS, "the preset of .* needs millivolts, but the unit of .* is unknown; .*--unit uV"),
        ("openecg", CONTRASTIVE, r"allowed: data2vec, masked \(--recipe continue-masked-teacher or "),
        ("merl-vit-tiny", SIGNALS, "lead 'V9' is not known; allowed: I, II"),
    ],
)
def test_weights_that_cannot_be_continued_are_refused(place, tmp_path, name, recipe, said):
    start = saved(tmp_path / "start", TINY[name]())
    data = "one.npz" if name == "openecg" else "two.npz"
    if name == "merl-vit-tiny":
        write_recordings(tmp_path / "other.npz", leads=np.array(["V9"]))
        place, data = tmp_path, "other.npz"
    with pytest.raises(SettingError, match=said):
        continued(place, recipe, tmp_path / "never", start, data)
    assert not (tmp_path / "never").exists()


@pytest.mark.slow
def test_one_of_twelve_leads_continues_an_encoder_of_one(place, tmp_path):
    with pytest.raises(SettingError, match=r"reads one lead, but 12 were given .*; name one \(--leads\)$"):
        continued(place, TEACHER, tmp_path / "out", place / "run", data="twelve.npz")
    recipe = replace(TEACHER, encoder=type(TEACHER.encoder)())
    settings = ecgtune.PretrainSettings(model=place / "run", leads=("aVR",))
    best = ecgtune.pretrain(place / "twelve.npz", recipe, settings, out=tmp_path / "out")
    assert load_checkpoint(best).encoder.input_spec.leads == ("aVR",)


def test_a_preset_in_millivolts_gets_them_whatever_the_unit_is(place, tmp_path):
    start = saved(tmp_path / "start", TINY["ecg-jepa"]())
    with np.load(place / "two.npz") as arrays:
        signal, others = (
            arrays["signal"],
            {name: arrays[name] for name in ("offset", "record", "sampling_rate", "leads")},
        )
    np.savez(tmp_path / "mv.npz", signal=signal.astype(np.float32) / 1000, **others)
    weights = []
    for file, unit in ((place / "two.npz", "uV"), (tmp_path / "mv.npz", "mV")):
        recipe = replace(SIGNALS, optimisation=replace(SIGNALS.optimisation, epochs=2, batch_size=64))
        recipe = replace(recipe, crops=replace(recipe.crops, window_seconds=0.24))
        settings = ecgtune.PretrainSettings(unit=unit, model=start)
        best = ecgtune.pretrain(file, recipe, settings, out=tmp_path / unit)
        weights.append(load_checkpoint(best).encoder.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-2)
    assert json.loads((tmp_path / "mV" / "metrics.json").read_text())["window"]["seconds"] == pytest.approx(60 / 250)


def test_sizes_and_weights_exclude_each_other():
    with pytest.raises(SettingError, match=r"those of ecg-fm-tiny are used; leave \[encoder\] out"):
        replace(TEACHER, start=StartWeights("ecg-fm-tiny"))
    with pytest.raises(SettingError, match="without a model; give its name"):
        StartWeights(checkpoint="file.pt")


def test_the_command_names_a_misspelt_model(place, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["pretrain", str(place / "one.npz"), "--from", "ecg-fm-tinny"])
    assert stopped.value.code == 2
    assert "did you mean 'ecg-fm-tiny'" in capsys.readouterr().err


def test_an_encoder_without_an_objective_is_refused_before_its_weights_are_asked_for():
    with pytest.raises(SettingError, match="no objective can pretrain heartlang"):
        pretraining_recipe(None, ecgtune.PretrainSettings(model="heartlang"))


def test_objectives_of_an_architecture():
    assert objectives_of(TINY["openecg"]()) == ("data2vec", "masked")
    assert objectives_of(TINY["heartlang"]()) == ()

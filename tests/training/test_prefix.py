"""What is computed once against the same training that computes it at every step, and when it is done at all."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgtune.config.augmentation import Augmentation
from ecgtune.data.augmentation import WindowAugmentation
from ecgtune.errors import SettingError
from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.base import Method
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full, NormBias, TopLayers
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.methods.split import SplitPoint, split_point
from ecgtune.models.classifier import Head
from ecgtune.training import prefix as prefix_module
from ecgtune.training.batches import TrainingInputs, Windows
from ecgtune.training.classification import Classification
from ecgtune.training.inference import logits_of
from ecgtune.training.loop import train
from ecgtune.training.prefix import check_prefix_cache, precompute_inputs, prefix_key, reason_against
from ecgtune.training.run_folder import RunFolder
from helpers.encoders import ConvConfig, classifier
from helpers.methods import METHODS, slow
from helpers.models import TINY, tiny_classifier
from helpers.settings import Loop, loop
from helpers.sources import import_source  # noqa: F401 (a fixture)
from helpers.training import SETTINGS, TRAINING, VALIDATION, Interrupted, numbers

ON, OFF = (loop(SETTINGS, prefix_cache=setting) for setting in ("on", "off"))
CUT = [method for method in METHODS if not isinstance(method, (Full, NormBias))]
#: One method for each kind of split.
QUICK = [m for m in CUT if isinstance(m, (LinearProbe, SideTuning, TopLayers))] + [LoRA(rank=2, dropout=0.2)]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fit(folder, method: Method, settings: Loop, *, model=None, stop_after=None, augment=None):
    """Train; the audit's sentence, logits of the whole model on validation, the log, and what was said of the cache."""
    model = attach(model or tiny_classifier(), method)
    inputs = precompute_inputs(model, method, TrainingInputs(TRAINING, VALIDATION, augment), *settings)
    objective = Classification(model, method, inputs, *settings)
    run_folder = RunFolder(folder)
    trained = train(objective, *settings, seed=0, folder=run_folder, callbacks=[Interrupted(stop_after)])
    return trained.audit, logits_of(model, VALIDATION.inputs), numbers(run_folder), f"{inputs.sentence}{inputs.place}"


def same(ours, theirs, tolerance: float) -> None:
    """Equal audits, and logits and logs within rounding."""
    assert ours[0] == theirs[0]
    np.testing.assert_allclose(ours[1], theirs[1], rtol=0, atol=tolerance)
    for one, other in zip(ours[2], theirs[2], strict=True):
        assert one == pytest.approx(other, abs=tolerance)


# Not to the bit: rows are encoded in other batches than they train in, and a library may round a product by its size.
@pytest.mark.parametrize("method", [*QUICK, *slow(*(method for method in CUT if method not in QUICK))], ids=str)
def test_the_same_training_as_with_the_whole_model_at_every_step(method, tmp_path):
    once, plain = (fit(tmp_path / s.prefix_cache, method, s) for s in (ON, OFF))
    assert once[3].startswith("precomputed: ")
    assert plain[3] == "nothing is precomputed: prefix_cache is off"
    same(once, plain, 1e-5)


@pytest.mark.parametrize("method", [TopLayers(layers=1), *slow(LoRA(rank=2), SideTuning(width=8))], ids=str)
def test_bfloat16_goes_on_from_the_bits_it_would_have_had(method, tmp_path):
    once, plain = (fit(tmp_path / s.prefix_cache, method, loop(s, precision="bf16")) for s in (ON, OFF))
    same(once, plain, 2e-2)


@pytest.mark.parametrize("method", [LinearProbe(layers="mix"), *slow(LinearProbe(), SideTuning(width=8))], ids=str)
def test_a_head_with_a_pooling_that_learns(method, tmp_path):
    model = {s: tiny_classifier(head=Head(pooling="attention")) for s in (ON, OFF)}
    same(*(fit(tmp_path / s.prefix_cache, method, s, model=model[s]) for s in (ON, OFF)), 1e-5)


@pytest.mark.parametrize(
    "settings", [{"drop_path": 0.3}, {"layer_drop": 0.3}, {}], ids=["drop_path", "layer_drop", "dropout"]
)
@pytest.mark.parametrize("method", [TopLayers(layers=1), *slow(Adapter(width=2))], ids=str)
def test_what_is_drawn_at_random_is_drawn_anew_in_every_epoch(method, settings, tmp_path):
    dropout = {} if settings else {"dropout": 0.2, "attention_dropout": 0.2}
    config = replace(TINY, **dropout)
    once, plain = (
        fit(tmp_path / s.prefix_cache, method, loop(s, **settings), model=tiny_classifier(config=config))
        for s in (ON, OFF)
    )
    assert "features before block 1" in once[3]
    same(once, plain, 1e-5)


@pytest.mark.parametrize(
    ("method", "cut"),
    [
        (LinearProbe(), SplitPoint("features")),
        (LinearProbe(layers="mix"), SplitPoint("pooled intermediates")),
        (SideTuning(width=8), SplitPoint("intermediates")),
        (TopLayers(layers=1), SplitPoint("block", 1)),
        (TopLayers(layers=2), SplitPoint("block", 0)),
        (LoRA(rank=2), SplitPoint("block", 0)),
        (Adapter(width=2), SplitPoint("block", 0)),
        (Full(), None),
        (NormBias(), None),
    ],
    ids=str,
)
def test_the_cut_is_as_deep_as_the_method_allows(method, cut):
    assert split_point(attach(tiny_classifier(), method), method) == cut


def test_a_stopped_training_resumes_from_the_cache_on_the_same_bits(tmp_path):
    method = LoRA(rank=2, dropout=0.2)
    whole = fit(tmp_path / "whole", method, ON)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "stopped", method, ON, stop_after=9)
    resumed = fit(tmp_path / "stopped", method, ON)
    assert "found in the cache" in resumed[3]
    assert np.array_equal(resumed[1], whole[1])
    assert resumed[2] == whole[2]


def test_methods_and_seeds_share_what_lies_below(cache, tmp_path):
    said = [fit(tmp_path / str(n), method, ON)[3] for n, method in enumerate([LoRA(rank=2), Adapter(width=2)])]
    assert ["saved in the cache" in said[0], "found in the cache" in said[1]] == [True, True]
    assert len(list(cache.iterdir())) == 2  # training and validation


FIRST, TOP = SplitPoint("block", 1), TopLayers()


def test_the_key_tells_data_weights_and_number_formats_apart_and_nothing_else():
    def key(change=lambda model: None, cut=FIRST, windows=TRAINING, precision="fp32", method=TOP):
        model = attach(tiny_classifier(), method)
        with torch.no_grad():
            change(model)
        return prefix_key(model, cut, windows, precision)

    moved = Windows(TRAINING.inputs.copy(), TRAINING.label)
    moved.inputs[-1, 0, -1] += 1e-6
    others = [
        key(lambda model: model.encoder.layers[0].attention.q_proj.bias[0].add_(1e-6)),
        key(lambda model: model.encoder.stem[0].conv.weight[0, 0, 0].add_(1e-6)),
        key(cut=SplitPoint("block", 0)),
        key(windows=moved),
        key(windows=Windows(TRAINING.inputs[::-1], TRAINING.label)),
        key(precision="bf16"),
    ]
    assert len({key(), *others}) == 7
    probes = *(LinearProbe(layers=layers) for layers in ("last", "mix")), SideTuning(width=8)
    assert len({key(cut=SplitPoint("features"), method=method) for method in probes}) == 3
    with_flag = replace(tiny_classifier().base_encoder.config, dropout=0.3)
    assert key(lambda model: setattr(model.base_encoder, "config", with_flag)) != key()
    assert key() == key(lambda model: model.encoder.layers[1].attention.q_proj.bias[0].add_(1))
    assert key() == key(lambda model: model.head[0].bias.add_(1))
    tokens = [
        key(cut=SplitPoint("block", 0), method=method) for method in (LoRA(rank=2), Adapter(width=2), TopLayers())
    ]
    assert len(set(tokens)) == 1


ENCODER = """
from helpers.encoders import ConvNet

class Edited(ConvNet):
    def embed(self, signal, padding_mask=None):
        features, mask = super().embed(signal, padding_mask)
        return {} * features, mask
"""


def test_an_edited_encoder_is_computed_again(import_source, cache):  # noqa: F811
    def features(factor):
        encoder = import_source("edited_encoder", ENCODER.format(factor)).Edited
        model = attach(classifier(encoder, ConvConfig()), LinearProbe())
        inputs = precompute_inputs(model, LinearProbe(), TrainingInputs(TRAINING, VALIDATION), *ON)
        return inputs.training.inputs, inputs.place

    (first, said), (again, found), (other, edited) = features(1), features(1), features(2)
    assert ["saved" in said, "found" in found, "saved" in edited] == [True] * 3
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "damage", [lambda file: file.write_bytes(b""), lambda file: file.write_bytes(file.read_bytes()[:-1])]
)
def test_a_damaged_entry_is_made_anew(damage, cache, tmp_path):
    whole = fit(tmp_path / "whole", LoRA(rank=2), ON)
    for file in cache.iterdir():
        damage(file)
    again = fit(tmp_path / "again", LoRA(rank=2), ON)
    assert "saved in the cache" in again[3]
    same(again, whole, 0)


def test_a_cache_that_cannot_be_written_is_told_and_memory_serves(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "file" / "cache"))
    blocked = fit(tmp_path / "blocked", LoRA(rank=2), ON)
    assert "in memory, because" in blocked[3]
    same(blocked, fit(tmp_path / "plain", LoRA(rank=2), OFF), 1e-5)


def test_entries_unused_for_longest_make_room(cache, tmp_path, monkeypatch):
    fit(tmp_path / "first", LoRA(rank=2), ON)
    sizes = {file: file.stat().st_size for file in cache.iterdir()}
    size = sum(sizes.values())
    monkeypatch.setattr(prefix_module, "CACHE_FRACTION", 0.5 * size / prefix_module.psutil.virtual_memory().total)
    time.sleep(0.01)
    fit(tmp_path / "second", LinearProbe(), ON)
    assert not max(sizes, key=sizes.__getitem__).exists()  # of the training windows, which was written first
    assert sum(file.stat().st_size for file in cache.iterdir()) < size


@pytest.mark.parametrize(
    ("cut", "size", "epochs", "device", "reason"),
    [
        (SplitPoint("block", 0), 25, 2, "cpu", ""),
        (SplitPoint("block", 0), 26, 2, "cpu", "more than a quarter"),
        (SplitPoint("block", 0), 25, 1, "cpu", "one epoch"),
        (SplitPoint("block", 0), 25, 2, "cuda", "copying tokens"),
        (SplitPoint("block", 3), 25, 2, "cuda", ""),
        (SplitPoint("intermediates"), 25, 2, "mps", ""),
        (SplitPoint("features"), 99, 1, "cuda", ""),
    ],
    ids=str,
)
def test_auto_does_it_where_it_pays_and_fits(cut, size, epochs, device, reason):
    told = reason_against(cut, size, epochs, device, memory=100)
    assert reason in told
    assert bool(told) == bool(reason)


def test_auto_leaves_a_single_epoch_alone(cache, tmp_path):
    assert fit(tmp_path, LoRA(rank=2), loop(SETTINGS, epochs=1))[3] == "nothing is precomputed: there is one epoch"
    assert not cache.exists()


@pytest.mark.parametrize(
    ("method", "augmented", "message"),
    [
        (Full(), False, "full trains weights before the first block"),
        (LoRA(rank=2), True, "augmentation changes"),
    ],
)
def test_on_is_refused_where_nothing_can_be_computed_once(method, augmented, message):
    with pytest.raises(SettingError, match=message):
        check_prefix_cache(attach(tiny_classifier(), method), method, *ON, augmented)


def test_augmentation_switches_it_off_and_says_so(cache, tmp_path):
    augment = WindowAugmentation(
        Augmentation(shift=0.1), windows=len(TRAINING), leads=1, sampling_rate=100.0, normalise=True
    )
    said = fit(tmp_path, LoRA(rank=2), SETTINGS, augment=augment)[3]
    assert said == "nothing is precomputed: augmentation changes the windows in every epoch"
    assert not cache.exists()

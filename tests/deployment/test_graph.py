"""The graph of an exported file: resampling and normalisation as in Python, every method on every kind of encoder."""

from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import ecgtune
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.signal.filters import resample, resampling_ratio
from ecgtune.deployment.graph import (
    InferenceGraph,
    LinearResampling,
    Normalisation,
    NoveltyScore,
    PolyphaseResampling,
)
from ecgtune.deployment.onnx_graph import stripped, to_onnx
from ecgtune.errors import SettingError
from ecgtune.evaluation.calibration.maps import IDENTITY, BetaMap, Calibration, IsotonicMap
from ecgtune.evaluation.novelty import _DISTANCES, _FITS, Novelty, _store
from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.models.classifier import Classifier, Head, LoadedFrom
from ecgtune.models.registry import find_model
from ecgtune.models.weights import Weights
from ecgtune.runtime.model import INPUT, OUTPUT
from ecgtune.training.inference import probability_of
from helpers.encoders import PatchConfig, PatchNet, classifier, conv_classifier
from helpers.methods import METHODS, MIXED, slow
from helpers.models import tiny_classifier, twelve_lead_classifier
from helpers.published import TINY

RATES = [(500, 100), (360, 500), (257, 500), (250, 500), (128, 100), (333.3, 100)]
LEADS = ("I", "II", "V1")


@pytest.mark.parametrize(("source", "target"), RATES)
@pytest.mark.parametrize("samples", [50, 777])
def test_resampling_is_that_of_python(source, target, samples):
    signal = np.random.default_rng(0).standard_normal((3, 2, samples)).cumsum(axis=-1)
    ratio = resampling_ratio(source, target)
    for kind, method, tolerance in ((PolyphaseResampling, "polyphase", 5e-7), (LinearResampling, "linear", 1e-12)):
        expected = resample(signal, source, target, method)
        found = kind(ratio)(torch.tensor(signal)).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(signal).max())


@pytest.mark.parametrize("kind", ["mahalanobis", "neighbours"])
@pytest.mark.parametrize("width", [12, 400])  # fewer and more features than directions that are kept
def test_novelty_is_that_of_python(kind, width):
    drawn = np.random.default_rng(0)
    training = drawn.normal(size=(300, width)) * np.linspace(0.01, 5, width) + 40
    arrays = _store(_FITS[kind](training))
    fitted = Novelty(kind, arrays, float(np.median(_DISTANCES[kind](arrays, training))) + 0.1, {})
    features = np.concatenate([training[:5], training[:5] + 1, drawn.normal(size=(5, width)) * 100]).astype(np.float32)
    found = NoveltyScore(fitted)(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(found, fitted(features), rtol=1e-4, atol=1e-4)


def test_a_ratio_whose_filter_would_fill_the_file_is_refused():
    with pytest.raises(SettingError, match="needs a filter of"):
        PolyphaseResampling(Fraction(9973, 9967))


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(100, normalisation="zscore"),
        Preprocessing(100, normalisation="none"),
        Preprocessing(100, normalisation="global", mean=(0.1, -0.2), std=(0.5, 2.0)),
    ],
    ids=lambda each: each.normalisation,
)
def test_normalisation_is_that_of_python(preprocessing):
    signal = np.random.default_rng(1).standard_normal((4, 2, 60)).astype(np.float32)
    signal[0] += 50  # far from zero, where float32 would lose the waves
    signal[1, 1] = 0.3  # constant
    found = Normalisation(preprocessing)(torch.tensor(signal).double()).numpy()
    np.testing.assert_array_equal(found, preprocessing(signal, 100))


def three_leads(seed=0):
    return classifier(PatchNet, PatchConfig(), seed)


def statistics(seed=0):
    return tiny_classifier(seed, head=Head(hidden=5, pooling="statistics"))


def attention(seed=0):
    return conv_classifier(seed, head=Head(pooling="attention"))


def mixed(seed=0):
    return twelve_lead_classifier(("II", "V1"))


def residual(seed=0):
    architecture, _ = find_model("resnet-1d")
    return classifier(architecture, architecture.config_type(channels=(8, 8, 16)), seed)


def of_encoder(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(
            make(), Head(), ("0", "1"), Weights("random", "tests", seed=seed), LoadedFrom("tests"), seed=seed
        )


#: Encoders whose depths have different numbers of tokens, which these methods average to fixed ones.
FIXED = {SideTuning: ("resnet", "conv", "merl-resnet18", "ecgfounder"), LinearProbe: ("conv",)}
ENCODERS = {"ecg-fm": statistics, "lead mixer": mixed, "resnet": residual, "conv": attention, "patches": three_leads}
#: Architectures with published weights, in small sizes. One says that no graph can hold it.
PUBLISHED = {name: partial(of_encoder, make) for name, make in TINY.items() if not make().no_graph}
ALL = ENCODERS | PUBLISHED
#: Those of them that are exported in a few seconds: of convolutions, of a fixed length, of any length.
SOON = ("merl-resnet18",)
#: Methods whose graph has layers of their own. That of every other one is that of full fine-tuning with other weights.
OWN_LAYERS = [method for method in METHODS if isinstance(method, (Adapter, SideTuning)) or method == MIXED]
#: Encoders whose padding depends on the length, which torch's exporter cannot follow through a resampling.
PADDED = ("ecgfounder",)
WINDOWS = 48


@pytest.fixture(scope="module")
def recordings():
    """Windows of real recordings of one lead, at 100 Hz; simulated ones where ../shared is missing."""
    file = Path(__file__).resolve().parents[3] / "shared" / "data" / "cinc2017_windows.npz"
    if not file.is_file():
        return ecgtune.simulate(600).signal[:, 0]
    with np.load(file) as arrays:
        return arrays["signal"][:: len(arrays["signal"]) // 600].astype(np.float32)


def trained(method, name):
    """An encoder with a method whose weights are no longer those of its start."""
    model = ALL[name]()
    try:
        method.check_place(model.base_encoder)
    except SettingError:
        pytest.skip("the encoder has no place for the method")
    attach(model, method).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model


def windows_of(recordings, model, count, rate, more=0):
    """Windows (count, leads, samples) at `rate` Hz, a recording in the place of each lead.

    more: samples at the encoder's rate beyond 300, or the fewest that it takes.
    """
    rows = recordings[: count * len(model.leads)].reshape(count, len(model.leads), -1)
    spec = model.base_encoder.input_spec
    samples = (spec.samples or max(300, spec.minimum_samples)) + more
    spec.check_samples(samples)
    return np.ascontiguousarray(
        resample(rows, 100, rate)[:, :, : samples * rate // int(spec.sampling_rate)], np.float32
    )


def check_same(found, model, preprocessing, signal, rate, tolerance):
    """The probabilities of the model, and the same decisions."""
    with torch.no_grad():
        expected = model(torch.tensor(preprocessing(signal, rate))).double().softmax(dim=-1).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(found[:, 1] >= 0.5, expected[:, 1] >= 0.5)


def structure(graph):
    """Layers and tensors of a graph, without values."""
    layers = [(name, type(module).__name__) for name, module in graph.named_modules()]
    return layers, {name: tuple(tensor.shape) for name, tensor in graph.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, method) for method in METHODS for name in ENCODERS),
        *slow(*((name, method) for method in METHODS for name in PUBLISHED)),
    ],
    ids=str,
)
def test_the_graph_of_every_method_predicts_the_same_on_real_recordings(method, name, recordings):
    model = trained(method, name)
    spec = model.base_encoder.input_spec
    rate = int(spec.sampling_rate)
    preprocessing = Preprocessing(rate, spec.resampling)
    graph = InferenceGraph(model, preprocessing, "binary", rate)
    signal = windows_of(recordings, model, WINDOWS, rate)
    with torch.no_grad():
        found = graph(torch.tensor(signal)).numpy()
    check_same(found, model, preprocessing, signal, rate, 2e-6)
    plain = InferenceGraph(trained(METHODS[0], name), preprocessing, "binary", rate)
    assert (structure(graph) == structure(plain)) == (method not in OWN_LAYERS)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *((LoRA(rank=2), name) for name in SOON),
        *slow(*((LoRA(rank=2), name) for name in PUBLISHED if name not in SOON)),
        *slow(*((method, name) for method in (METHODS[0], *OWN_LAYERS) for name in ALL)),
    ],
    ids=str,
)
def test_every_kind_of_graph_is_exported_on_every_encoder(method, name, recordings):
    model = trained(method, name)
    spec = model.base_encoder.input_spec
    # Resampling in the graph doubles the time of an export, and no method changes it.
    rate = int(spec.sampling_rate) * (2 if method == METHODS[0] else 1)
    preprocessing = Preprocessing(spec.sampling_rate, spec.resampling)
    signal = windows_of(recordings, model, WINDOWS, rate)
    found = to_onnx(InferenceGraph(model, preprocessing, "binary", rate), len(model.leads), signal.shape[2])
    session = onnxruntime.InferenceSession(stripped(found.model).SerializeToString())
    longer = windows_of(recordings, model, 1, rate, 50) if found.any_length else signal
    for each in (signal, longer):
        check_same(session.run([OUTPUT], {INPUT: each})[0], model, preprocessing, each, rate, 1e-5)
    fixed = spec.samples is not None or (name in FIXED.get(type(method), ()) and method.adds_parameters)
    fixed = fixed or (name in PADDED and rate != spec.sampling_rate)
    assert found.any_length != bool(fixed)


def test_the_original_model_is_left_as_it_was():
    model = attach(tiny_classifier(), LoRA(rank=2)).eval()
    signal = torch.randn(2, 1, 160, generator=torch.Generator().manual_seed(0))
    before = model(signal)
    graph = InferenceGraph(model, Preprocessing(100), "binary", 100)
    assert torch.equal(model(signal), before)
    names = [name for name, _ in graph.named_parameters()]
    assert not any("lora" in name or "parametrizations" in name for name in names)


SOFT, STEEP = BetaMap("beta", 0.4, 0.7, 0.3), IsotonicMap((-1.0, 0.5, 1.0), (-2.0, 0.0, 0.4))
CALIBRATIONS = {
    "binary": Calibration("binary", (STEEP,), ("",)),
    "multilabel": Calibration("multilabel", (STEEP, IDENTITY, SOFT), ("",) * 3),
    "multiclass": Calibration("multiclass", (SOFT, STEEP, SOFT), ("",) * 3),
    "temperature": Calibration("multiclass", (BetaMap("temperature", 0.3, 0.3),), ("",)),
}


@pytest.mark.parametrize("name", ["binary", "multiclass", "temperature", *slow("multilabel")])
def test_calibration_is_that_of_python(name):
    calibration = CALIBRATIONS[name]
    classes = ("a", "b") if name == "binary" else ("a", "b", "c")
    encoder, weights = conv_classifier(0).base_encoder, Weights("random", "tests", seed=0)
    model = Classifier(encoder, Head(), classes, weights, LoadedFrom("tests"), seed=0).eval()
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter *= 20  # probabilities near 0 and 1 too
    graph = InferenceGraph(model, Preprocessing(100), calibration.task, 100, calibration).eval()
    signal = torch.randn(40, len(model.leads), 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(torch.tensor(Preprocessing(100)(signal.numpy(), 100)))
    expected = probability_of(logits.numpy(), calibration.task)
    if name == "binary":
        positive = calibration(expected[:, 1])
        expected = np.stack([1 - positive, positive], axis=1)
    else:
        expected = calibration(expected)
    with torch.no_grad():
        np.testing.assert_allclose(graph(signal).numpy(), expected, rtol=0, atol=1e-5)
    if name in ("binary", "multilabel"):  # torch's exporter takes seconds
        found = to_onnx(graph, len(model.leads), 160)
        session = onnxruntime.InferenceSession(stripped(found.model).SerializeToString())
        answer = session.run([OUTPUT], {INPUT: signal.numpy()})[0]
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)

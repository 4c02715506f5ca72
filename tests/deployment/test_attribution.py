"""Attributions point at a planted beat, obey their axioms, and change with the weights of the model."""

import numpy as np
import pytest
import torch

from ecgtune.deployment.attribution import attention_rollout, class_score, integrated_gradients, noise_like
from ecgtune.errors import SettingError
from ecgtune.evaluation.occlusion import occlusion
from helpers.encoders import conv_classifier
from helpers.models import tiny_classifier

SAMPLES, BEAT = 400, 40
METHODS = ("occlusion", "integrated-gradients", "attention-rollout")


def windows(number: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Noise, and in every second window a beat: signal (number, 1, samples), label, start of the beat."""
    generator = np.random.default_rng(seed)
    signal = generator.normal(0, 0.3, (number, 1, SAMPLES)).astype(np.float32)
    start = generator.integers(40, SAMPLES - BEAT - 40, number)
    for row in range(1, number, 2):
        signal[row, 0, start[row] : start[row] + BEAT] += 3 * np.hanning(BEAT)
    return torch.from_numpy(signal), torch.arange(number) % 2, start


@pytest.fixture(scope="module")
def trained():
    model = tiny_classifier()
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(60):
        signal, label, _ = windows(16, step)
        loss = torch.nn.functional.cross_entropy(model(signal), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    signal, label, _ = windows(64, 1000)
    with torch.no_grad():
        assert (model(signal).argmax(1) == label).float().mean() > 0.95
    return model


def attributed(method: str, model, signal: torch.Tensor) -> np.ndarray:
    """Values (samples,) of one window (1, 1, samples)."""
    score = class_score(model, "binary", 1)
    if method == "occlusion":
        with torch.no_grad():
            return occlusion(lambda each: score(torch.from_numpy(each)).double().numpy(), signal[0].numpy(), 40)[0]
    if method == "integrated-gradients":
        pytest.importorskip("captum", reason="pip install ecgtune[explain] installs captum")
        return integrated_gradients(score, signal)[0]
    parts = attention_rollout(model, signal)[0]
    return np.repeat(parts, -(-SAMPLES // len(parts)))[:SAMPLES]


def peak(values: np.ndarray) -> int:
    """The middle of the stretch as long as a beat with the largest sum."""
    return int(np.convolve(values, np.ones(BEAT), "valid").argmax()) + BEAT // 2


@pytest.mark.parametrize("method", METHODS)
def test_the_planted_beat_is_found(trained, method):
    signal, _, start = windows(12, 2000)
    for row in range(1, 12, 2):
        found = peak(attributed(method, trained, signal[row : row + 1]))
        assert abs(found - start[row] - BEAT // 2) <= BEAT // 2


@pytest.mark.parametrize("method", METHODS)
def test_random_weights_change_the_map(trained, method):
    """Adebayo et al. 2018: a map that random weights leave as it is shows the signal, not the model."""
    signal, _, _ = windows(6, 2000)
    similarity = []
    for row in range(1, 6, 2):
        own = attributed(method, trained, signal[row : row + 1])
        assert np.corrcoef(own, attributed(method, trained, signal[row : row + 1]))[0, 1] > 0.999
        for seed in (5, 6, 7):
            random = tiny_classifier(seed=seed).eval()
            similarity.append(np.corrcoef(own, attributed(method, random, signal[row : row + 1]))[0, 1])
    assert np.mean(similarity) < 0.5


def test_integrated_gradients_add_up(trained):
    pytest.importorskip("captum", reason="pip install ecgtune[explain] installs captum")
    signal, _, _ = windows(4, 7)
    score = class_score(trained, "binary", 1)
    for row in range(4):
        one = signal[row : row + 1]
        with torch.no_grad():
            change = float((score(one) - score(noise_like(one))).mean())
        assert integrated_gradients(score, one).sum() == pytest.approx(change, abs=0.02 * max(1, abs(change)))


def test_rollout_is_a_distribution_and_leaves_no_hook(trained):
    signal, _, _ = windows(2, 3)
    parts = attention_rollout(trained, signal[:1])
    assert parts.sum() == pytest.approx(1, abs=1e-5)
    assert (parts >= 0).all()
    assert not any(module._forward_hooks for module in trained.modules())


def test_rollout_without_attention_names_what_works():
    with pytest.raises(SettingError, match="--by occlusion or --by integrated-gradients"):
        attention_rollout(conv_classifier().eval(), torch.zeros(1, 1, 400))


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_scores_are_log_odds(task):
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    score = class_score(lambda _: logits, task, 2)(torch.zeros(1, 1, 4))
    probability = logits.sigmoid()[0, 2] if task == "multilabel" else logits.softmax(1)[0, 2]
    assert float(score) == pytest.approx(float(torch.logit(probability)), abs=1e-5)


def test_occlusion_finds_lead_and_stretch_of_a_known_score():
    window = np.random.default_rng(0).normal(0, 0.1, (3, 200)).astype(np.float32)
    window[1, 80:100] += 4 * np.hanning(20)
    values = occlusion(lambda each: each[:, 1, 80:100].sum(axis=1).astype(float), window, 20)
    assert np.unravel_index(values.argmax(), values.shape)[0] == 1
    assert 80 <= values[1].argmax() < 100
    assert np.allclose(values[[0, 2]], 0)
    assert np.array_equal(occlusion(lambda each: np.ones(len(each)), window, 20), np.zeros((3, 200)))

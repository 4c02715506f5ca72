"""The encoder that comes with the package: what it is, that its card tells the truth, and that it knows ECGs."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from ecgtune.data.dataset import Dataset
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.simulation import simulate
from ecgtune.io.windows import read_dataset
from ecgtune.models.classifier import Head
from ecgtune.models.ecg_fm import BUNDLED
from ecgtune.models.loading import load_model
from ecgtune.recipes.pretraining import load_pretraining_recipe
from ecgtune.training.batches import Windows
from ecgtune.training.inference import precompute
from ecgtune.utils.files import file_sha256

FOLDER = BUNDLED / "ecg-fm-tiny"
FILE = FOLDER / "model.safetensors"


def test_it_is_small_and_half_precision() -> None:
    assert FILE.stat().st_size <= 12e6
    with safe_open(FILE, "pt") as file:
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118, not a dict
    assert {tensor.dtype for tensor in tensors} == {torch.float16}
    assert sum(tensor.numel() for tensor in tensors) <= 6e6
    assert all(torch.isfinite(tensor).all() for tensor in tensors)


def test_the_shipped_recipe_makes_an_encoder_of_these_sizes() -> None:
    settings = json.loads((FOLDER / "model.json").read_text())
    recipe = load_pretraining_recipe("pretrain-tiny")
    sizes = asdict(recipe.encoder)
    assert settings["architecture"] == sizes.pop("architecture")
    assert settings["config"].items() >= sizes.items()
    assert settings["pretraining"]["recipe"] == "pretrain-tiny"
    assert settings["pretraining"]["objective"] == str(recipe.objective)


def test_the_card_tells_data_licence_and_the_hash_of_this_file() -> None:
    card = (FOLDER / "README.md").read_text()
    assert file_sha256(FILE) in card
    for part in ("PhysioNet/Computing in Cardiology Challenge 2017", "ODC-By", "Clifford", "Excluded recordings"):
        assert part in card, part
    assert not re.search(r"\bTODO\b|____", card)
    for image in re.findall(r"!\[[^]]*\]\(([^)]+)\)", card):
        assert (FOLDER / image).is_file(), image


def test_weights_say_where_they_are_from() -> None:
    pretrained, random = load_model("ecg-fm-tiny"), load_model("ecg-fm-tiny-random", seed=3)
    assert pretrained.weights.describe() == f"pretrained (sha256 {file_sha256(FILE)[:8]}...)"
    assert pretrained.weights.source == "ecg-fm-tiny"
    assert random.weights.describe() == "random (seed 3)"
    sizes = {name: tensor.shape for name, tensor in pretrained.encoder.state_dict().items()}
    assert sizes == {name: tensor.shape for name, tensor in random.encoder.state_dict().items()}


def probed(dataset: Dataset, train: np.ndarray, test: np.ndarray, name: str) -> float:
    """AUROC on `test` of scikit-learn's logistic regression on the frozen encoder's tokens."""
    model = load_model(name, leads=dataset.leads, head=Head(pooling="statistics"))
    prepare = Preprocessing.fit(
        dataset, train, sampling_rate=100.0, resampling=model.encoder.input_spec.resampling, normalisation="zscore"
    )
    windows = Windows(prepare(dataset.signal, dataset.sampling_rate), dataset.label)
    features = precompute(model, windows).inputs
    scale = StandardScaler().fit(features[train])
    head = LogisticRegression(C=0.01, max_iter=300).fit(scale.transform(features[train]), dataset.label[train])
    return float(roc_auc_score(dataset.label[test], head.decision_function(scale.transform(features[test]))))


@pytest.mark.slow
def test_a_frozen_probe_knows_simulated_rhythms_that_random_weights_do_not() -> None:
    dataset = simulate(600, seed=1)
    train, test = np.arange(300), np.arange(300, 600)
    pretrained, random = (probed(dataset, train, test, name) for name in ("ecg-fm-tiny", "ecg-fm-tiny-random"))
    assert pretrained > random + 0.1


@pytest.mark.slow
def test_a_frozen_probe_reaches_0_83_on_real_recordings(shared: Path) -> None:
    dataset = read_dataset(shared / "data" / "cinc2017_windows.npz")
    assert dataset.split is not None
    parts = [np.flatnonzero(dataset.split == part)[::12] for part in ("train", "val")]
    rows = np.concatenate(parts)
    small = dataset.select(rows)
    train, test = np.arange(len(parts[0])), np.arange(len(parts[0]), len(rows))
    assert probed(small, train, test, "ecg-fm-tiny") > 0.83


@pytest.mark.parametrize("lead", ["I", "V5"])
def test_any_one_lead_reads_the_same(lead: str) -> None:
    signal = torch.randn(2, 1, 600, generator=torch.Generator().manual_seed(0))
    one, other = load_model("ecg-fm-tiny").eval(), load_model("ecg-fm-tiny", leads=(lead,)).eval()
    with torch.no_grad():
        torch.testing.assert_close(one.encode(signal)[0], other.encode(signal)[0])

"""Where a lead mixer starts, what it computes, and how it is multiplied away."""

import numpy as np
import pytest
import torch

from ecgtune.config.model import ModelSettings
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.errors import DataError, SettingError
from ecgtune.models.classifier import Classifier, Head, LoadedFrom
from ecgtune.models.description import build_model, describe_model
from ecgtune.models.leads import LeadMixer, placement
from ecgtune.models.loading import load_model
from helpers.models import twelve_lead_classifier

LEADS = [("II",), ("V6",), ("I", "II"), ("V2", "I", "aVR"), STANDARD_LEADS, STANDARD_LEADS[::-1]]


def signal(leads: int) -> torch.Tensor:
    return torch.randn(4, leads, 200, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("leads", LEADS, ids="-".join)
def test_it_starts_as_lead_mode_place(leads):
    mixed = twelve_lead_classifier(leads).eval()
    whole = twelve_lead_classifier(None)
    placed = Classifier(
        whole.encoder.adapt_leads(leads), Head(), whole.classes, whole.weights, LoadedFrom("placed"), seed=0
    ).eval()
    with torch.no_grad():  # eleven channels of zeros may round a sum otherwise than none
        torch.testing.assert_close(mixed(signal(len(leads))), placed(signal(len(leads))), rtol=0, atol=2e-6)
    assert mixed.leads == leads


@pytest.mark.parametrize(
    ("leads", "channels", "expected"),
    [
        (("II",), ("II",), [[1]]),
        (("V1",), ("II",), [[1]]),  # a one-lead encoder takes any lead
        (("I", "II", "V1"), ("II",), [[0, 1, 0]]),
        (("V1", "V2"), ("II",), [[1, 0]]),
        (("II", "V5"), ("I", "II"), [[0, 0], [1, 0]]),
        (("V5",), ("I", "II"), [[1], [0]]),
    ],
)
def test_placement(leads, channels, expected):
    assert placement(leads, channels).tolist() == expected


def test_it_is_a_product_with_a_matrix():
    mixer = LeadMixer(("I", "II"), ("I", "V1", "V2"))
    with torch.no_grad():
        mixer.weight.copy_(torch.tensor([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]]))
    values = signal(2).numpy()
    expected = np.einsum("cl,bls->bcs", [[1, 2], [0.5, -1], [0, 3]], values)
    np.testing.assert_allclose(mixer(torch.from_numpy(values)).detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("leads", [("II",), ("V2", "I", "aVR"), STANDARD_LEADS], ids="-".join)
def test_folded_into_the_first_convolution_the_answer_is_the_same(leads):
    model = twelve_lead_classifier(leads).eval()
    with torch.no_grad():
        model.lead_mixer.weight.add_(0.3 * torch.randn(12, len(leads), generator=torch.Generator().manual_seed(2)))
        before, _ = model.encode(signal(len(leads)))
        folded = model.base_encoder.fold_leads(model.lead_mixer.weight, model.lead_mixer.leads).eval()
        assert folded.input_spec.leads == leads
        torch.testing.assert_close(folded(signal(len(leads)))[0], before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("load_base", [True, False])
def test_a_description_gives_a_model_of_the_same_shape(load_base):
    model = load_model("ecg-fm-tiny", leads=("I", "V1"), lead_mode="adapter")
    assert describe_model(model)["lead_adapter"] == ["I", "V1"]
    again = build_model(describe_model(model), load_base=load_base)
    assert {n: t.shape for n, t in again.state_dict().items()} == {n: t.shape for n, t in model.state_dict().items()}
    assert again.leads == ("I", "V1")
    assert "lead_adapter" not in describe_model(load_model("ecg-fm-tiny"))


def test_twelve_leads_into_the_embedded_one_lead_encoder():
    model = load_model("ecg-fm-tiny", leads=STANDARD_LEADS, lead_mode="adapter").eval()
    alone = load_model("ecg-fm-tiny").eval()
    with torch.no_grad():
        torch.testing.assert_close(model(signal(12)), alone(signal(12)[:, 1:2]), rtol=0, atol=1e-5)


def test_a_network_from_scratch_has_a_channel_for_each_lead():
    assert load_model("resnet-1d", leads=("I", "II", "V1"))(signal(3)).shape == (4, 2)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: load_model("ecg-fm-tiny", leads=("I", "II")), ["one lead", "--lead-mode adapter"]),
        (lambda: load_model("ecg-fm-tiny", lead_mode="mix"), ["'mix'", "adapter, copy, place"]),
        (lambda: ModelSettings(lead_mode="mix"), ["'mix'", "adapter, copy, place"]),
        (lambda: LeadMixer(("I", "I"), ("I",)), ["I, I", "once"]),
        (lambda: LeadMixer((), ("I",)), ["empty"]),
        (lambda: LeadMixer(("V7",), ("I",)), ["V7"]),
        (lambda: LeadMixer(("I", "II"), ("I",))(signal(3)), ["(4, 3, 200)", "(batch, 2, samples)", "I, II"]),
    ],
)
def test_mistakes_are_one_clear_line(make, parts):
    with pytest.raises((SettingError, DataError)) as error:
        make()
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in parts), str(error.value)

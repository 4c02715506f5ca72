"""Models of the tests: a tiny ECG-FM, so that a real training takes a second."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.errors import EcgtuneError
from ecgtune.models.classifier import Classifier, Head, LoadedFrom
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.leads import LeadMixer
from ecgtune.models.weights import Weights

TINY = EcgFmConfig(
    leads=("II",),
    sampling_rate=100.0,
    width=32,
    depth=2,
    heads=2,
    feed_forward=64,
    conv_channels=16,
    conv_layers=3,
    pos_taps=8,
    pos_groups=4,
    resampling="polyphase",
)


def one_line(error: EcgtuneError) -> str:
    """The message of an error, which is short and on one line."""
    assert "\n" not in str(error)
    assert len(str(error)) < 500
    return str(error)


#: Models that need no download.
NAMES = ("ecg-fm-tiny", "ecg-fm-tiny-random", "resnet-1d")


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether all parameters and buffers of two modules have the same names and bits."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def tiny_classifier(
    seed: int = 0, head: Head | None = None, config: EcgFmConfig = TINY, mixed: Sequence[str] | None = None
) -> Classifier:
    """A classifier whose weights depend on the seed alone; `mixed`: the leads of a lead mixer in front of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = EcgFM(config)
    weights = Weights("random", "tiny", seed=seed)
    mixer = None if mixed is None else LeadMixer(mixed, config.leads)
    return Classifier(
        encoder, head or Head(), ("0", "1"), weights, LoadedFrom("ecg-fm-tiny"), lead_mixer=mixer, seed=seed
    )


def bytes_kept(model: Classifier, signal: Tensor) -> int:
    """Size of all that a forward pass keeps for the backward pass, weights left out."""
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(signal)
    assert logits.requires_grad
    return sum(kept.values())


def twelve_lead_classifier(mixed: Sequence[str] | None) -> Classifier:
    """The same with an encoder of twelve leads."""
    return tiny_classifier(config=replace(TINY, leads=STANDARD_LEADS), mixed=mixed)

"""A tiny encoder of ECG-FM's architecture, so that a real training takes a second."""

from ecgtune.models import Classifier, EcgFM, EcgFmConfig, Head, Weights

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


def tiny_classifier(seed: int = 0, head: Head | None = None) -> Classifier:
    """A classifier whose weights depend on the seed alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = EcgFM(TINY)
    weights = Weights("random", "tiny", seed=seed)
    return Classifier(encoder, head or Head(), ("0", "1"), weights, name="ecg-fm-tiny", seed=seed)

"""Every registered encoder and every method keeps its contract; refusals name methods that work."""

import pytest
import torch
from torch import nn

from ecgtune.errors import NoPlaceError
from ecgtune.methods.lora.settings import LoRA
from ecgtune.models.architectures import ARCHITECTURES
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.models.names import built_in, model_names
from ecgtune.models.resnet_1d.network import ResNet1d, ResNet1dConfig
from ecgtune.testing.checks import ConformanceError
from ecgtune.testing.encoders import check_encoder, example_encoder
from ecgtune.testing.methods import check_method
from helpers.methods import FAMILIES, slow
from helpers.models import TINY

ENCODERS = {"ecg-fm": EcgFM(TINY), "resnet-1d": ResNet1d(ResNet1dConfig(channels=(16, 32)))}
#: Methods that act on linear layers alone.
LINEAR_ONLY = ("ia3", "vera", "adalora")


#: Models of published size. `make test-all` checks one of each architecture, which has its name.
PUBLISHED = [name for name, facts in built_in().items() if facts.files]


#: The same network with other weights.
AGAIN = "ecg-fm-tiny-random"


@pytest.mark.parametrize("name", [*(name for name in model_names() if name not in (*PUBLISHED, AGAIN)), *slow(AGAIN)])
def test_named_encoders_keep_the_contract(name):
    check_encoder(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PUBLISHED if name in ARCHITECTURES.all()])
def test_published_sizes_keep_the_contract(name):
    check_encoder(name)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("method", FAMILIES, ids=str)
def test_methods_keep_the_protocol(method, encoder):
    if encoder == "resnet-1d" and method.name in LINEAR_ONLY:
        with pytest.raises(NoPlaceError, match=r"methods for this encoder: .*full, lora, .*probe"):
            check_method(method, ENCODERS[encoder])
    elif encoder == "resnet-1d" and getattr(method, "init", "") == "pissa":
        with pytest.raises(ConformanceError, match="is a convolution; allowed: default"):
            check_method(method, ENCODERS[encoder])
    else:
        check_method(method, ENCODERS[encoder])


def _without_a_mask(encoder):
    embed = encoder.embed
    encoder.embed = lambda signal, padding_mask=None: embed(signal)


def _with_a_silent_projection(encoder):
    class Bypassed(nn.Linear):
        def __call__(self, inputs):
            return nn.functional.linear(inputs, self.weight, self.bias)

    bypassed = Bypassed(TINY.width, TINY.width)
    encoder.layers[0].attention.q_proj = bypassed


def _with_noise(encoder):
    encoder.stem.register_forward_hook(lambda module, inputs, output: output + 0.1 * torch.rand_like(output))


def _with_unseen_dropout(encoder):
    class Dropping(EcgFM):
        def run_block(self, index, block, features, mask):
            return nn.functional.dropout(super().run_block(index, block, features, mask), 0.1, self.training)

    encoder.__class__ = Dropping


def _with_reversed_tokens(encoder):
    class Reversed(EcgFM):
        def embed(self, signal, padding_mask=None):
            features, mask = super().embed(signal, padding_mask)
            return features.flip(1), mask

    encoder.__class__ = Reversed


@pytest.mark.parametrize(
    ("harm", "check"),
    [
        (_with_reversed_tokens, "token rows: token_rows is 1, but a change of the first half of the window changes"),
        (_with_unseen_dropout, r"fixed prefix: features_before\(2\) .* depend on random draws; use nn.Dropout"),
        (_without_a_mask, "padding: half a record of padding does not show in the mask"),
        (_with_a_silent_projection, "target modules: modules with a role are not called in evaluation mode"),
        (_with_noise, "determinism: two evaluations of one signal differ"),
    ],
)
def test_a_harmed_encoder_is_found(harm, check):
    encoder = example_encoder(EcgFM(TINY))
    harm(encoder)
    with pytest.raises(ConformanceError, match=check):
        check_encoder(encoder)


def test_a_harmed_method_is_found():
    class Forgetful(LoRA):
        def load(self, encoder, folder):
            pass

    with pytest.raises(ConformanceError, match=r"Forgetful is not registered(.|\n)*other logits after loading"):
        check_method(Forgetful(rank=2), ENCODERS["ecg-fm"])


def test_equal_failures_on_several_encoders_are_one_line():
    class Raising(LoRA):
        def attach(self, encoder, seed):
            raise TypeError(f"no\nweights {'of any kind ' * 30}")

    with pytest.raises(ConformanceError) as error:
        check_method(Raising(rank=2), [ENCODERS["ecg-fm"], ENCODERS["resnet-1d"]])
    first, second = str(error.value).splitlines()
    assert first == "lora on ecg-fm, resnet-1d fails 1 check:"
    assert second.startswith("attach (ecg-fm, resnet-1d): TypeError: no weights of any")
    assert second.endswith(" ...")


def test_channels_on_another_axis_than_the_encoder_says_are_found():
    encoder = example_encoder(ENCODERS["resnet-1d"])
    encoder.__class__ = type(
        "Wrong", (type(encoder),), {"channel_axis": -1, "to_tokens": lambda s, x: x.transpose(1, 2)}
    )
    with pytest.raises(ConformanceError, match=r"with \d+ channels, not on channel_axis -1"):
        check_encoder(encoder)

"""Published architectures in small sizes keep the contract, with every method, in training, int8 and exported files."""

import pytest
import torch
from torch import nn

from ecgtune.errors import NoPlaceError, SettingError
from ecgtune.methods.lora.settings import LoRA
from ecgtune.testing.encoders import check_encoder, example_encoder, example_signal
from ecgtune.testing.methods import check_method
from helpers.methods import METHODS, slow
from helpers.small_encoders import small_encoders

ENCODERS = small_encoders()
LINEAR_ONLY = ("ia3", "vera", "adalora")
FAST = LoRA(rank=2, dora=True, dropout=0.2)


def is_convolutional(name: str) -> bool:
    return not ENCODERS[name].modules_of("mlp_input")


@pytest.mark.parametrize("name", ENCODERS)
def test_small_encoders_keep_the_contract(name):
    check_encoder(ENCODERS[name])


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *((FAST, name) for name in ENCODERS),
        *slow(*((method, name) for method in METHODS if method != FAST for name in ENCODERS)),
    ],
    ids=str,
)
def test_methods_keep_the_protocol(method, name):
    if is_convolutional(name) and method.name in LINEAR_ONLY:
        with pytest.raises(NoPlaceError, match=r"methods for this encoder: .*full, lora, .*probe"):
            check_method(method, ENCODERS[name])
    elif is_convolutional(name) and getattr(method, "init", "") == "pissa":
        with pytest.raises(SettingError, match="is a convolution; allowed: default"):
            check_method(method, ENCODERS[name])
    else:
        check_method(method, ENCODERS[name])


class Doubled(nn.Module):
    """A wrapper that has the weights of the module, as those of peft have."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.weight, self.bias = module.weight, module.bias

    def forward(self, *inputs):
        return 2 * self.module(*inputs)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_wrapped_layer_acts_in_evaluation_mode_without_gradients(name):
    encoder = example_encoder(ENCODERS[name])
    signal = example_signal(encoder)
    with torch.no_grad():
        before = encoder(signal)[0]
        for target in {*encoder.target_modules("all"), *encoder.modules_of("conv")}:
            parent, _, child = target.rpartition(".")
            module = encoder.get_submodule(target)
            setattr(encoder.get_submodule(parent), child, Doubled(module))
            assert not torch.allclose(encoder(signal)[0], before, atol=1e-4), target
            setattr(encoder.get_submodule(parent), child, module)

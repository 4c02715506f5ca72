"""Every architecture with published weights keeps the contract in a small size, and so does every method on it."""

import pytest
import torch
from torch import nn

from ecgtune.config.targets import PROJECTIONS
from ecgtune.errors import AuditError, NoPlaceError
from ecgtune.methods.adalora.settings import AdaLoRA
from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.ia3.settings import IA3
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.oft.settings import OFT
from ecgtune.methods.own_weights.settings import NormBias
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.vera.settings import VeRA
from ecgtune.models.classifier import Classifier, Head, LoadedFrom
from ecgtune.models.weights import Weights
from ecgtune.testing.checks import ConformanceError
from ecgtune.testing.encoders import check_encoder, example_signal
from ecgtune.testing.methods import check_method, train
from helpers.methods import METHODS, slow
from helpers.published import TINY

#: Method, and what the error says where the encoder has no place for it; by architecture.
OF_CONVOLUTIONS = {
    **dict.fromkeys(("ia3", "vera", "adalora"), (NoPlaceError, r"methods for this encoder: .*adapter, .*lora")),
    "pissa": (ConformanceError, "is a convolution; allowed: default"),
}
REFUSED = {"ecgfounder": OF_CONVOLUTIONS, "merl-resnet18": OF_CONVOLUTIONS}
FAST = [
    *(("ecgfounder", LoRA(rank=2)), ("ecgfounder", Adapter(width=2)), ("ecg-jepa", LoRA(rank=2))),
    *(("openecg", LoRA(rank=2)), ("merl-vit-tiny", NormBias()), ("heartlang", LinearProbe())),
]
#: Methods on further layers of an encoder of convolutions, in multiples of its 2 and 4 groups.
ON_CONVOLUTIONS = [
    LoRA(rank=4, targets="grouped_conv"),
    LoRA(rank=4, targets=("conv", "grouped_conv", "gate")),
    OFT(block=4, targets="grouped_conv"),
    IA3(targets="gate"),
    VeRA(rank=4, targets="gate"),
    AdaLoRA(rank=1, start_rank=2, targets="gate"),
    NormBias(norms=False),
]


@pytest.mark.parametrize("name", TINY)
def test_encoders_keep_the_contract(name):
    check_encoder(TINY[name]())


@pytest.mark.parametrize(("name", "method"), [*FAST, *slow(*((name, method) for name in TINY for method in METHODS))])
def test_methods_keep_the_protocol(name, method):
    refused = REFUSED.get(name, {})
    kind = "pissa" if getattr(method, "init", "") == "pissa" else method.name
    if kind in refused:
        error, message = refused[kind]
        with pytest.raises(error, match=message):
            check_method(method, TINY[name]())
    else:
        check_method(method, TINY[name]())


@pytest.mark.parametrize("method", [ON_CONVOLUTIONS[0], *slow(*ON_CONVOLUTIONS[1:])], ids=str)
def test_methods_act_on_grouped_convolutions_and_gates(method):
    check_method(method, TINY["ecgfounder"]())


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (LoRA(rank=3, targets="grouped_conv"), "has 2 groups; allowed: a multiple of 2, or name other modules"),
        (LoRA(rank=4, dora=True, targets="grouped_conv"), "has 2 groups; allowed: dora = false, or name other"),
        (LoRA(rank=2, targets="attention"), "no attention modules; allowed targets: all, conv, grouped_conv, gate"),
        (IA3(), "no key modules; allowed targets: gate; methods"),
        (VeRA(), "VeRA acts on linear layers only; allowed targets: gate; methods"),
    ],
)
def test_refusals_name_what_works(method, message):
    with pytest.raises((ConformanceError, NoPlaceError), match=message):
        check_method(method, TINY["ecgfounder"]())


class Reversed(nn.Module):
    """A wrapper that has the weights of the module, as those of peft have."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.weight, self.bias = module.weight, module.bias

    def forward(self, inputs):
        return self.module(inputs).flip(-1)


@pytest.mark.parametrize("name", TINY)
def test_a_wrapped_layer_acts_in_evaluation_mode_without_gradients(name):
    encoder = TINY[name]().eval()
    signal = example_signal(encoder)
    with torch.no_grad():
        before = encoder(signal)[0]
        for target in encoder.modules_of(*PROJECTIONS):
            parent, _, child = target.rpartition(".")
            module = encoder.get_submodule(target)
            setattr(encoder.get_submodule(parent), child, Reversed(module))
            assert not torch.allclose(encoder(signal)[0], before, atol=1e-4), target
            setattr(encoder.get_submodule(parent), child, module)


def _bypass(encoder: nn.Module, name: str) -> None:
    """Let evaluation without gradients compute from the matrix that is wrapped, as torch's fused layers do."""
    for layer in encoder.layers:
        original = layer.forward

        def forward(tokens, mask=None, layer=layer, original=original):
            if layer.training or torch.is_grad_enabled():
                return original(tokens, mask)
            parent, _, child = name.rpartition(".")
            wrapped = layer.get_submodule(name)
            setattr(layer.get_submodule(parent), child, getattr(wrapped, "base_layer", wrapped))
            try:
                return original(tokens, mask)
            finally:
                setattr(layer.get_submodule(parent), child, wrapped)

        layer.forward = forward


@pytest.mark.parametrize(
    ("bypassed", "targets", "message"),
    [
        (None, "mlp", None),
        ("feed_forward.fc1", "mlp_input", "a fused kernel bypasses its modules"),
        ("feed_forward.fc1", "mlp", "a fused kernel bypasses its modules"),  # the output moves all the same
    ],
)
def test_the_output_audit_sees_layers_that_evaluation_bypasses(bypassed, targets, message):
    encoder = TINY["ecg-jepa"]()
    if bypassed is not None:
        _bypass(encoder, bypassed)
    method = LoRA(rank=2, targets=targets)
    model = Classifier(encoder, Head(), ("0", "1"), Weights("random", "tiny", seed=0), LoadedFrom("ecg-jepa"))
    attach(model, method)
    if message is None:
        assert train(model, method).finished
        return
    with pytest.raises(AuditError, match=message):
        train(model, method)

"""Every method through every behaviour that it owes."""

from dataclasses import dataclass, replace

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.nn.functional import cross_entropy

from ecgtune.errors import SettingError
from ecgtune.methods import attach, attached_prefixes, count_parameters
from ecgtune.models import Head, ResNet1d, load_model
from ecgtune.recipe import Adapter, Full, LinearProbe, LoRA, Method, load_recipes, method_from_table, method_to_table
from ecgtune.training import load_weights, save_weights
from models_for_tests import tiny_classifier

METHODS: list[Method] = [
    Full(),
    LinearProbe(),
    LoRA(rank=4),
    LoRA(rank=4, targets="attention"),
    LoRA(rank=4, alpha=8, dropout=0.1, targets="qkv"),
    LoRA(rank=4, rslora=True),
    LoRA(rank=4, dora=True),
    LoRA(rank=4, targets=("fc1",)),
    Adapter(width=4),
    Adapter(width=4, placement="feed-forward"),
    Adapter(width=4, placement="parallel", dropout=0.1),
]
MERGEABLE = [method for method in METHODS if isinstance(method, LoRA)]


def signal(windows: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.randn(windows, 1, 200, generator=torch.Generator().manual_seed(seed))


@dataclass
class Stepped:
    before: torch.Tensor
    after: torch.Tensor


def step(model, steps: int = 2, learning_rate: float = 1e-2) -> Stepped:
    """A few real optimizer steps; logits before and after."""
    model.eval()
    with torch.no_grad():
        before = model(signal())
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(signal()), torch.tensor([0, 1, 0, 1, 1, 0])).backward()
        optimizer.step()
    with torch.no_grad():
        return Stepped(before, model(signal()))


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_starts_as_the_identity(method):
    model = tiny_classifier().eval()
    with torch.no_grad():
        before = model(signal())
        after = attach(model, method).eval()(signal())
    if isinstance(method, LoRA) and method.dora:
        torch.testing.assert_close(after, before, rtol=0, atol=1e-6)  # divides by a norm that it has just multiplied
    else:
        assert torch.equal(after, before)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_only_what_the_method_says_changes(method):
    model = attach(tiny_classifier(), method)
    prefixes = attached_prefixes(model)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    moved = step(model)
    assert not torch.equal(moved.before, moved.after)
    for name, tensor in model.named_parameters():
        trains = name.startswith("head.") or isinstance(method, Full) or any(prefix in name for prefix in prefixes)
        assert tensor.requires_grad == trains, name
        if not name.endswith("k_proj.bias"):  # its gradient is zero by algebra
            assert torch.equal(tensor, before[name]) != trains, name


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_save_and_reload_is_exact(method, tmp_path):
    model = attach(tiny_classifier(), method, seed=3)
    logits = step(model).after
    save_weights(model, method, tmp_path)
    again = attach(tiny_classifier(), method, seed=4)
    load_weights(again, method, tmp_path)
    with torch.no_grad():
        assert torch.equal(again.eval()(signal()), logits)
    if not isinstance(method, Full):
        assert not (tmp_path / "encoder.safetensors").exists()


@pytest.mark.parametrize("method", MERGEABLE, ids=str)
def test_merging_keeps_the_answer(method):
    model = attach(tiny_classifier(), method)
    logits = step(model).after
    model.encoder = model.encoder.merge_and_unload()
    with torch.no_grad():
        torch.testing.assert_close(model(signal()), logits, rtol=1e-5, atol=1e-5)
    assert not [name for name, _ in model.named_modules() if "lora" in name]


@pytest.mark.parametrize("method", [m for m in METHODS if isinstance(m, (LoRA, Adapter))], ids=str)
def test_peft_itself_reads_the_saved_files(method, tmp_path):
    from peft import PeftModel

    model = attach(tiny_classifier(), method, seed=3)
    step(model)
    save_weights(model, method, tmp_path)
    encoder = PeftModel.from_pretrained(tiny_classifier().encoder, str(tmp_path)).eval()
    with torch.no_grad():
        assert torch.equal(encoder(signal())[0], model.encode(signal())[0])


def test_an_adapter_can_be_switched_off():
    model = attach(tiny_classifier(), Adapter(width=4))
    with torch.no_grad():
        original = tiny_classifier().eval().encode(signal())[0]
    step(model)
    with torch.no_grad(), model.encoder.disable_adapter():
        assert torch.equal(model.encode(signal())[0], original)


def test_parallel_reads_the_input_of_the_feed_forward_block():
    model = attach(tiny_classifier(), Adapter(width=4, placement="parallel"))
    step(model)
    layer = model.encoder.get_base_model().layers[0].feed_forward
    tokens = torch.randn(2, 5, 32)
    hidden = torch.nn.functional.gelu(layer.bottleneck_down["default"](tokens))
    expected = layer.base_layer(tokens) + layer.bottleneck_up["default"](hidden)
    assert torch.equal(layer(tokens), expected)


@pytest.mark.parametrize(
    ("recipe", "share"),
    [("paper-full", 100.0), ("paper-adapter", 5.66), ("paper-lora", 3.26)],
)
def test_paper_presets_have_the_published_share_on_full_size_ecg_fm(recipe, share):
    from ecgtune.models import Classifier, EcgFM, EcgFmConfig, Weights

    preset = load_recipes(recipe)[0]
    with torch.device("meta"):
        encoder = EcgFM(EcgFmConfig())
        assert sum(p.numel() for p in encoder.parameters()) == 90_373_248
        head = Head(hidden=preset.model.head_hidden)
        model = Classifier(encoder, head, ("0", "1"), Weights("random", "full size", seed=0), name="ecg-fm")
        attach(model, preset.method)
    assert round(100 * count_parameters(model, preset.method).share, 2) == share
    assert [tuple(p.shape) for p in model.head.parameters()] == [(512, 768), (512,), (2, 512), (2,)]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_toml_round_trip(method):
    assert method_from_table(method_to_table(method)) == method


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: LoRA(rank=0), ["rank", "0", "1 or more"]),
        (lambda: LoRA(dropout=1.0), ["dropout", "1.0"]),
        (lambda: LoRA(alpha=-1), ["alpha", "-1"]),
        (lambda: LoRA(targets="atention"), ["atention", "did you mean 'attention'", "qkv"]),
        (lambda: LoRA(targets=()), ["targets", "empty"]),
        (lambda: Adapter(width=0), ["width", "0"]),
        (lambda: Adapter(placement="paralel"), ["paralel", "parallel"]),
        (lambda: method_from_table({"rank": 3}), ["no name", "lora"]),
        (lambda: method_from_table({"name": "lorra"}), ["lorra", "did you mean 'lora'"]),
        (lambda: method_from_table({"name": "lora", "rnak": 3}), ["rnak", "did you mean 'rank'"]),
        (lambda: method_from_table({"name": "lora", "rank": "three"}), ["rank", "three", "whole number"]),
        (lambda: attach(tiny_classifier(), LoRA(targets=("q_proj", "qq_proj"))), ["qq_proj", "q_proj"]),
        (lambda: attach(attach(tiny_classifier(), LoRA()), LoRA()), ["already", "load_model"]),
        (lambda: attach(load_model("resnet-1d"), LoRA()), [ResNet1d.__name__, "full", "probe"]),
    ],
)
def test_mistakes_are_one_clear_line(make, parts):
    with pytest.raises(SettingError) as error:
        make()
    message = str(error.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("method", [m for m in METHODS if isinstance(m, (LoRA, Adapter))], ids=str)
def test_peft_casts_no_input(method):
    """Autocast does it; see `attach`."""
    model = attach(tiny_classifier(), method)
    layers = [module for module in model.encoder.modules() if isinstance(module, BaseTunerLayer)]
    assert layers
    assert not any(layer.cast_input_dtype_enabled for layer in layers)


def gradients(method: LoRA, *, cast: bool, bf16: bool) -> torch.Tensor:
    """Logits and gradients of a model two steps old, each divided by its largest value, as one vector."""
    model = attach(tiny_classifier(), method)
    step(model)
    for module in model.encoder.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = cast
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(signal())
        cross_entropy(logits.float(), torch.tensor([0, 1, 0, 1, 1, 0])).backward()
    found = [logits.detach().float()]
    found += [p.grad for name, p in model.named_parameters() if p.grad is not None and "k_proj.bias" not in name]
    return torch.cat([tensor.flatten() / tensor.abs().max().clamp(min=1e-3) for tensor in found])


@pytest.mark.parametrize("method", [replace(method, dropout=0.0) for method in MERGEABLE], ids=str)
def test_under_bf16_autocast_nothing_is_lost_without_that_cast(method):
    without, with_cast = (gradients(method, cast=cast, bf16=True) for cast in (False, True))
    if not method.dora:
        assert torch.equal(without, with_cast)
    else:  # its norms are rounded elsewhere
        exact = gradients(method, cast=False, bf16=False)
        assert (without - exact).square().mean() < 2 * (with_cast - exact).square().mean()

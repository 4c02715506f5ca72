"""Every method through every behaviour that it owes."""

import copy
import json
import re
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.nn.functional import cross_entropy

from ecgtune.errors import SettingError
from ecgtune.methods.adalora.settings import AdaLoRA
from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.audits import count_parameters
from ecgtune.methods.ia3.settings import IA3
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.oft.settings import OFT
from ecgtune.methods.own_weights.settings import Full, NormBias, TopLayers
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.registry import find_method, method_from_table, method_names, method_to_table
from ecgtune.methods.side.settings import SideTuning
from ecgtune.methods.storage import load_weights, save_weights
from ecgtune.methods.vera.settings import VeRA
from ecgtune.models.classifier import Head, LoadedFrom
from ecgtune.models.loading import load_model
from ecgtune.recipes.recipe import list_recipes, load_recipes, recipe_folder
from helpers.methods import MERGEABLE, METHODS, MIXED, ROUNDED, THROUGH_PEFT, VARIANTS
from helpers.models import tiny_classifier

ALL = [*METHODS, *VARIANTS]


def text(recipe: str) -> str:
    return (recipe_folder() / f"{recipe}.toml").read_text()


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


@pytest.mark.parametrize("method", ALL, ids=str)
def test_starts_as_the_identity(method):
    model = tiny_classifier().eval()
    with torch.no_grad():
        before = model(signal())
        after = attach(model, method).eval()(signal())
    if method == MIXED:
        with torch.no_grad():
            tokens = torch.stack(model.base_encoder.forward_intermediates(signal())[0]).mean(dim=0)
            torch.testing.assert_close(after, model.head(tokens.mean(dim=1)), rtol=0, atol=2e-6)
    elif method in ROUNDED:
        torch.testing.assert_close(after, before, rtol=0, atol=2e-6)
    else:
        assert torch.equal(after, before)


@cache
def trained(method):
    """A model after a few steps, which tests read and leave as it is, and what the steps did."""
    model = attach(tiny_classifier(), method, seed=3)
    return model, step(model)


@pytest.mark.parametrize("method", ALL, ids=str)
def test_only_what_the_method_says_changes(method):
    before = dict(attach(tiny_classifier(), method, seed=3).named_parameters())
    model, moved = trained(method)
    own = {*method.trained_parameters(model.base_encoder), *model.added_parameters}
    own = {f"encoder.{name}" for name in own}
    assert not torch.equal(moved.before, moved.after)
    for name, tensor in model.named_parameters():
        trains = name.startswith("head.") or name in own
        assert tensor.requires_grad == trains, name
        if not name.endswith("k_proj.bias"):  # its gradient is zero by algebra
            assert torch.equal(tensor, before[name]) != trains, name


@pytest.mark.parametrize("method", ALL, ids=str)
def test_save_and_reload_is_exact(method, tmp_path):
    model, moved = trained(method)
    save_weights(model, tmp_path)
    again = attach(tiny_classifier(), method, seed=4)
    load_weights(again, tmp_path)
    with torch.no_grad():
        assert torch.equal(again.eval()(signal()), moved.after)
    if not isinstance(method, Full):
        assert not (tmp_path / "encoder.safetensors").exists()


@pytest.mark.parametrize("method", MERGEABLE, ids=str)
def test_merging_keeps_the_answer(method):
    model, moved = trained(method)
    model = copy.deepcopy(model)
    model.encoder = method.merged(model.encoder)
    with torch.no_grad():
        torch.testing.assert_close(model(signal()), moved.after, rtol=1e-5, atol=1e-5)
    assert {name for name, _ in model.encoder.named_parameters()} == {
        name for name, _ in tiny_classifier().encoder.named_parameters()
    }


@pytest.mark.parametrize("method", THROUGH_PEFT, ids=str)
def test_peft_itself_reads_the_saved_files(method, tmp_path):
    from peft import PeftModel

    model, _ = trained(method)
    save_weights(model, tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    assert settings["target_modules"] == sorted(settings["target_modules"])  # the same file in every process
    encoder = PeftModel.from_pretrained(tiny_classifier().encoder, str(tmp_path)).eval()
    with torch.no_grad():  # peft's own layers round in another order, see `methods.lora.layers`
        torch.testing.assert_close(encoder(signal())[0], model.encode(signal())[0])


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
    from ecgtune.models.classifier import Classifier
    from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
    from ecgtune.models.weights import Weights

    preset = load_recipes(recipe)[0]
    with torch.device("meta"):
        encoder = EcgFM(EcgFmConfig())
        assert sum(p.numel() for p in encoder.parameters()) == 90_373_248
        head = Head(hidden=preset.model.head_hidden)
        model = Classifier(encoder, head, ("0", "1"), Weights("random", "full size", seed=0), LoadedFrom("ecg-fm"))
        attach(model, preset.method)
    assert round(100 * count_parameters(model, preset.method).fraction, 2) == share
    assert [tuple(p.shape) for p in model.head.parameters()] == [(512, 768), (512,), (2, 512), (2,)]


@pytest.mark.parametrize("name", method_names())
def test_a_method_of_the_table_has_a_recipe(name):
    (recipe,) = load_recipes(name)
    assert type(recipe.method) is find_method(name)


QUOTED = [(name, share) for name in list_recipes() for share in re.findall(r"([\d.]+) % of ecg-fm-tiny", text(name))]


@pytest.mark.parametrize(("name", "share"), QUOTED)
def test_recipes_quote_their_counted_share_and_it_is_small(name, share):
    (recipe,) = load_recipes(name)
    head = Head(recipe.model.head_hidden, pooling=recipe.model.pooling)
    model = attach(load_model("ecg-fm-tiny", head=head), recipe.method)
    counted = 100 * count_parameters(model, recipe.method).fraction
    assert f"{counted:.2f}" == share
    assert counted <= 3.26 or isinstance(recipe.method, TopLayers)  # a layer of four is more than that


def test_every_method_quotes_its_share():
    quoted = {type(load_recipes(name)[0].method) for name, _ in QUOTED}
    assert quoted == set(map(find_method, method_names())) - {Full, LinearProbe, Adapter}


@pytest.mark.parametrize("method", ALL, ids=str)
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
        (lambda: attach(attach(tiny_classifier(), LoRA()), LoRA()), ["has LoRA attached", "load_model"]),
        (lambda: LoRA(init="pisa"), ["pisa", "did you mean 'pissa'"]),
        (lambda: LoRA(init="pissa", dora=True), ["dora", "pissa", "exclude"]),
        (lambda: LoRA(lora_plus_ratio=0.5), ["lora_plus_ratio", "0.5", "1 (off)"]),
        (lambda: AdaLoRA(rank=0), ["rank", "0", "1 or more"]),
        (lambda: AdaLoRA(rank=4), ["start_rank", "4", "above rank"]),
        (lambda: AdaLoRA(warmup=0.5, final_fraction=0.5), ["0.5", "no steps"]),
        (lambda: AdaLoRA(orthogonality=-1.0), ["orthogonality", "-1"]),
        (lambda: AdaLoRA(alpha=0.0), ["alpha", "0"]),
        (lambda: AdaLoRA(final_fraction=1.0), ["final_fraction", "1.0"]),
        (lambda: VeRA(rank=0), ["rank", "0"]),
        (lambda: VeRA(start=0.0), ["start", "0.0"]),
        (lambda: VeRA(targets="k"), ["targets of VeRA", "'k'", "qkv"]),
        (lambda: attach(tiny_classifier(), IA3(targets=("fc3",))), ["targets of IA3", "fc3", "did you mean 'fc"]),
        (lambda: IA3(targets=()), ["targets of IA3", "empty"]),
        (lambda: OFT(block=1), ["block", "1", "2 or more"]),
        (lambda: attach(tiny_classifier(), OFT(block=5)), ["block", "5", "32 inputs", "2, 4, 8, 16, 32"]),
        (lambda: TopLayers(layers=0), ["layers", "0", "1 or more"]),
        (lambda: attach(tiny_classifier(), TopLayers(layers=3)), ["3", "has 2", "1 to 2"]),
        (lambda: NormBias(biases=False, norms=False), ["trains nothing"]),
        (lambda: SideTuning(width=0), ["width", "0"]),
        (lambda: SideTuning(width=9, block="transformer"), ["9", "2 heads"]),
        (lambda: SideTuning(block="conv"), ["block", "conv", "transformer"]),
        (lambda: SideTuning(dropout=1.0), ["dropout", "1.0"]),
    ],
)
def test_mistakes_are_one_clear_line(make, parts):
    with pytest.raises(SettingError) as error:
        make()
    message = str(error.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("method", THROUGH_PEFT, ids=str)
def test_peft_casts_no_input(method):
    """Autocast does it; see `peft_encoder`."""
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


@pytest.mark.parametrize("method", [replace(m, dropout=0.0) for m in MERGEABLE if isinstance(m, LoRA)], ids=str)
def test_under_bf16_autocast_nothing_is_lost_without_that_cast(method):
    without, with_cast = (gradients(method, cast=cast, bf16=True) for cast in (False, True))
    if not method.dora:
        assert torch.equal(without, with_cast)
    else:  # its norms are rounded elsewhere
        exact = gradients(method, cast=False, bf16=False)
        assert (without - exact).square().mean() < 2 * (with_cast - exact).square().mean()

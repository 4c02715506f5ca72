"""The methods that peft carries out: our settings in its words, every target checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoraConfig,
    OFTConfig,
    PeftConfig,
    PeftModel,
    VeraConfig,
    get_peft_model,
)
from peft.tuners import oft
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from ecgtune.config.base import suggest
from ecgtune.errors import SettingError
from ecgtune.methods import bottleneck
from ecgtune.methods.added_settings import Adapter
from ecgtune.methods.base import Method, TargetedMethod
from ecgtune.methods.low_rank_product import LowRankLinear
from ecgtune.methods.low_rank_settings import AdaLoRA, LoRA, VeRA
from ecgtune.methods.multiplicative_settings import IA3, OFT
from ecgtune.methods.rotated_weights import RotatedLinear
from ecgtune.models.base import Encoder

bottleneck.register()


def wrap(encoder: Encoder, method: Method, seed: int) -> PeftModel:
    """`encoder` as peft's model, with new weights drawn from torch's generator (VeRA's projections from `seed`).

    Raises SettingError when a target is not in the encoder.
    """
    config = CONFIGS[type(method)](encoder, method, seed)
    with _one_thread():
        model = cast(PeftModel, get_peft_model(encoder, config))  # type: ignore[arg-type]
    for module in model.modules():
        if type(module) is oft.Linear:
            module.__class__ = RotatedLinear  # peft has no table of custom modules for OFT; there is no state of ours
        if isinstance(module, BaseTunerLayer):
            # Autocast casts what the layer multiplies; peft's own cast to the new weights' float32 before it would
            # only be undone, and costs time.
            module.cast_input_dtype_enabled = False  # type: ignore[assignment]
    return model


@contextmanager
def _one_thread() -> Iterator[None]:
    # A reload of PiSSA takes the encoder's matrices apart anew, and has to get the bits of the training. How a singular
    # value decomposition rounds depends on the number of threads.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _lora(encoder: Encoder, method: LoRA, seed: int) -> PeftConfig:
    config = LoraConfig(
        r=method.rank,
        lora_alpha=method.alpha if method.alpha is not None else 2 * method.rank,  # type: ignore[arg-type]
        lora_dropout=method.dropout,
        target_modules=_linear_targets(encoder, method),
        use_rslora=method.rslora,
        use_dora=method.dora,
        init_lora_weights=True if method.init == "default" else method.init,
    )
    config._register_custom_module({nn.Linear: LowRankLinear})
    return config


def _adalora(encoder: Encoder, method: AdaLoRA, seed: int) -> PeftConfig:
    return AdaLoraConfig(
        init_r=method.start_rank,
        target_r=method.rank,
        lora_alpha=method.alpha if method.alpha is not None else 2 * method.start_rank,  # type: ignore[arg-type]
        lora_dropout=method.dropout,
        target_modules=_linear_targets(encoder, method),
        orth_reg_weight=method.orthogonality,
        total_step=1,  # not known before the training; `methods.upkeep` sets it with the shares of it
    )


def _vera(encoder: Encoder, method: VeRA, seed: int) -> PeftConfig:
    return VeraConfig(
        r=method.rank,
        target_modules=_linear_targets(encoder, method),
        projection_prng_key=seed,
        save_projection=True,  # or a reload would hang on another version of torch drawing the same numbers
        vera_dropout=method.dropout,
        d_initial=method.start,
    )


def _ia3(encoder: Encoder, method: IA3, seed: int) -> PeftConfig:
    targets = _linear_targets(encoder, method)
    return IA3Config(
        target_modules=targets,
        feedforward_modules=[name for name in targets if name in encoder.feed_forward_projections[1:]],
    )


def _oft(encoder: Encoder, method: OFT, seed: int) -> PeftConfig:
    targets = _linear_targets(encoder, method)
    for name, module in encoder.named_modules():
        # peft would take another block than was asked for, with no more than a warning.
        if name.rpartition(".")[2] in targets and cast(nn.Linear, module).in_features % method.block:
            width = cast(nn.Linear, module).in_features
            raise SettingError(
                f"block of OFT is {method.block}, which does not divide the {width} inputs of {name}; "
                f"allowed: {', '.join(str(n) for n in range(2, width + 1) if width % n == 0)}"
            )
    return OFTConfig(
        oft_block_size=method.block,
        target_modules=targets,
        module_dropout=method.dropout,
        use_cayley_neumann=False,  # a truncated series would only be nearly a rotation; the blocks are small
    )


def _adapter(encoder: Encoder, method: Adapter, seed: int) -> PeftConfig:
    sites = ("attention", "feed_forward") if method.placement == "both" else ("feed_forward",)
    return bottleneck.BottleneckConfig(
        target_modules=_matched(encoder, sites, "the adapter's places"),
        features=encoder.width,
        width=method.width,
        parallel=method.placement == "parallel",
        dropout=method.dropout,
    )


#: What peft needs to know for each method that it carries out.
CONFIGS: dict[type[Method], Callable[[Encoder, Any, int], PeftConfig]] = {
    LoRA: _lora,
    AdaLoRA: _adalora,
    VeRA: _vera,
    IA3: _ia3,
    OFT: _oft,
    Adapter: _adapter,
}


def _linear_targets(encoder: Encoder, method: TargetedMethod) -> list[str]:
    return _matched(encoder, method.module_names, f"targets of {type(method).__name__}", nn.Linear)


def _matched(encoder: Encoder, targets: tuple[str, ...], what: str, kind: type[nn.Module] = nn.Module) -> list[str]:
    # peft is content when one target of a list matches and drops the others without a word, so each is checked here.
    found: dict[str, list[nn.Module]] = {}
    for name, module in encoder.named_modules():
        found.setdefault(name.rpartition(".")[2], []).append(module)
    adaptable = (*encoder.attention_projections, *encoder.feed_forward_projections)
    if not adaptable:
        raise SettingError(f"{type(encoder).__name__} has no projections to adapt; allowed methods: full, probe")
    for target in targets:
        if not found.get(target) or not all(isinstance(module, kind) for module in found[target]):
            raise SettingError(
                f"{what}: {type(encoder).__name__} has no {kind.__name__} {target!r}; {suggest(target, adaptable)}"
            )
    return list(targets)

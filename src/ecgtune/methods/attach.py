"""Put a method on a model: freeze what stays, add what trains."""

from __future__ import annotations

from typing import cast

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from ecgtune.errors import SettingError
from ecgtune.methods import bottleneck
from ecgtune.models import Classifier, Encoder
from ecgtune.recipe import Adapter, Full, LinearProbe, LoRA, Method
from ecgtune.settings import suggest

bottleneck.register()


def attach(model: Classifier, method: Method, seed: int = 0) -> Classifier:
    """Make `method` the one thing that trains beside the head. Changes `model` in place and returns it.

    The encoder of LoRA and Adapter becomes a `peft.PeftModel`; the head is never wrapped and always trains. New weights
    are drawn from `seed`; both methods start as the identity, so the model's answers do not change here.

    Raises SettingError when a target is not in the encoder, or when the model has a method already.
    """
    if model.attached is not None:
        raise SettingError(
            f"the model has {type(model.attached).__name__} attached already; load it anew with load_model(...)"
        )
    model.encoder.requires_grad_(isinstance(method, Full))
    model.head.requires_grad_(True)
    config = peft_config(base_encoder(model), method)
    if config is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model.encoder = get_peft_model(model.encoder, config)
        for module in model.encoder.modules():
            if isinstance(module, BaseTunerLayer):
                # Autocast casts what the layer multiplies; peft's own cast to the new weights' float32 before it would
                # only be undone, at the price of a third of a bf16 step.
                module.cast_input_dtype_enabled = False  # type: ignore[assignment]
    model.attached = method
    return model


def peft_config(encoder: Encoder, method: Method) -> PeftConfig | None:
    """The settings that peft needs for `method` on `encoder`; None where peft has no part (full, probe)."""
    if isinstance(method, (Full, LinearProbe)):
        return None
    if isinstance(method, LoRA):
        return LoraConfig(
            r=method.rank,
            lora_alpha=method.alpha if method.alpha is not None else 2 * method.rank,  # type: ignore[arg-type]
            lora_dropout=method.dropout,
            target_modules=_matched(encoder, method.module_names, "targets of LoRA", nn.Linear),
            use_rslora=method.rslora,
            use_dora=method.dora,
        )
    if isinstance(method, Adapter):
        sites = ("attention", "feed_forward") if method.placement == "both" else ("feed_forward",)
        return bottleneck.BottleneckConfig(
            target_modules=_matched(encoder, sites, "the adapter's places"),
            features=encoder.width,
            width=method.width,
            parallel=method.placement == "parallel",
            dropout=method.dropout,
        )
    raise SettingError(f"no way to attach {type(method).__name__}; allowed: Full, LinearProbe, LoRA, Adapter")


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


def attached_prefixes(model: Classifier) -> tuple[str, ...]:
    """The parts of parameter names by which weights of the attached method are known; empty without one."""
    if not isinstance(model.encoder, PeftModel):
        return ()
    kinds = [config.peft_type for config in model.encoder.peft_config.values()]
    return tuple(PEFT_TYPE_TO_PREFIX_MAPPING[kind] for kind in kinds)  # type: ignore[index]  # ours is a plain name


def base_encoder(model: Classifier) -> Encoder:
    """The encoder itself, out of peft's wrapper if there is one."""
    return cast(Encoder, model.encoder.get_base_model() if isinstance(model.encoder, PeftModel) else model.encoder)

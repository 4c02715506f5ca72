"""Encoders that peft wraps: layers found by role, new weights added, saved, loaded and merged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora.layer import Conv1d as LoRAConv1d
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from ecgtune.config.base import suggest
from ecgtune.config.targets import ROLES, TARGETS
from ecgtune.errors import NoPlaceError, SettingError
from ecgtune.methods.storage import check_names, one_thread, read_tensors
from ecgtune.models.base import Encoder

ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"
KINDS = {nn.Linear: "linear layers", nn.Conv1d: "convolutions"}


def wrap(encoder: Encoder, config: object) -> PeftModel:
    """`encoder` as peft's model, with new weights drawn from torch's generator."""
    # A reload of PiSSA takes the encoder's matrices apart anew, and has to get the bits of the training.
    with one_thread():
        model = cast(PeftModel, get_peft_model(encoder, cast(PeftConfig, config)))  # type: ignore[arg-type]
    model.create_or_update_model_card = _no_card
    for module in model.modules():
        if isinstance(module, LoRAConv1d):
            _follow_convolution(module)
        if isinstance(module, BaseTunerLayer):
            # Autocast casts what the layer multiplies; peft's own cast to the new weights' float32 before it would
            # only be undone, and costs time.
            module.cast_input_dtype_enabled = False  # type: ignore[assignment]
    return model


def save(encoder: nn.Module, folder: Path) -> None:
    """Write peft's files into `folder`, with sets of names sorted: their order differs from process to process."""
    model = cast(PeftModel, encoder)
    model.save_pretrained(str(folder))
    sets = [name for name, value in vars(model.active_peft_config).items() if isinstance(value, set)]
    file = folder / CONFIG
    stored = json.loads(file.read_text(encoding="utf-8"))
    sorted_sets = {name: sorted(stored[name]) for name in sets}
    file.write_text(json.dumps(stored | sorted_sets, indent=2, sort_keys=True), encoding="utf-8")


def load(encoder: nn.Module, folder: Path) -> None:
    """Read peft's weights. Raises RunError for a file that does not fit."""
    model, path = cast(PeftModel, encoder), folder / ADAPTER
    stored = read_tensors(path)
    check_names(stored, get_peft_model_state_dict(model), path)
    set_peft_model_state_dict(model, stored)


def merge(encoder: nn.Module, method: str) -> Encoder:
    """The base encoder with the added weights multiplied in. Raises SettingError where peft cannot merge them."""
    try:
        return cast(Encoder, cast(Any, encoder).merge_and_unload())
    except (NotImplementedError, ValueError, AttributeError) as error:
        reason = str(error).split("\n")[0]
        raise SettingError(f"{method} cannot be merged into the encoder's weights ({reason})") from None


def find_targets(
    encoder: Encoder, targets: str | Sequence[str], method: str, kinds: tuple[type[nn.Module], ...] = (nn.Linear,)
) -> list[str]:
    """Names of the modules that `targets` mean, in the order of the encoder.

    targets: roles and sets of roles, or names of modules; a name also means all modules whose name ends on it. peft
    drops a name without a module in silence, so each is checked here. Raises SettingError.
    """
    modules = dict(encoder.named_modules())
    found: set[str] = set()
    for target in (targets,) if isinstance(targets, str) else targets:
        if target in ("all", *TARGETS, *ROLES):
            try:
                found.update(encoder.target_modules(target))
            except SettingError:
                problem = f"targets of {method}: {encoder.architecture} has no {target} modules"
                raise NoPlaceError(problem + _fitting_targets(encoder, kinds)) from None
            continue
        named = [name for name in modules if name == target or name.endswith(f".{target}")]
        if not named:
            layers = {name.rpartition(".")[2] for name, module in modules.items() if isinstance(module, kinds)}
            hint = suggest(target, ["all", *TARGETS, *sorted(layers)])
            raise SettingError(f"targets of {method}: {encoder.architecture} has no module {target!r}; {hint}")
        found.update(named)
    wrong = [name for name in modules if name in found and not isinstance(modules[name], kinds)]
    if wrong:
        kind = " and ".join(KINDS[kind] for kind in kinds)
        raise NoPlaceError(
            f"targets of {method}: {wrong[0]} of {encoder.architecture} is a {type(modules[wrong[0]]).__name__}, but "
            f"{method} acts on {kind} only{_fitting_targets(encoder, kinds)}"
        )
    return [name for name in modules if name in found]


def _fitting_targets(encoder: Encoder, kinds: tuple[type[nn.Module], ...]) -> str:
    """The sets of targets of an encoder whose modules are all of these kinds, for a message."""
    modules, found = dict(encoder.named_modules()), []
    for name in ("all", *TARGETS):
        with suppress(SettingError):
            if all(isinstance(modules[each], kinds) for each in encoder.target_modules(name)):
                found.append(name)
    return f"; allowed targets: {', '.join(found)}" if found else ""


def _no_card(output_dir: str) -> None:
    """Leave peft's model card out: it holds no facts of a run, whose folder has a card, and takes longer to render
    than small weights to save."""


def _follow_convolution(layer: LoRAConv1d) -> None:
    """Give LoRA's first convolution the dilation and padding of the frozen one, which peft leaves out."""
    base = cast(nn.Conv1d, layer.get_base_layer())
    for down in cast(Sequence[nn.Conv1d], layer.lora_A.values()):
        down.dilation, down.padding_mode = base.dilation, base.padding_mode
        down._reversed_padding_repeated_twice = base._reversed_padding_repeated_twice

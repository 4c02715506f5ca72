"""Check the saved state of an optimizer against what this optimizer itself writes after a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ecgtune.models.tensors import check_tensors


def optimizer_problem(
    stored: Mapping[str, Any],
    optimizer: Any,
    model: nn.Module,
    *,
    weights: Mapping[str, Tensor],
    steps: int,
    most_gradient: float,
    source: str,
) -> str:
    """Return why `stored` is no state of `optimizer` after `steps` steps of a training of `model`; "" if it is one.

    optimizer, model: before anything is loaded; the groups have their highest learning rates. weights: the stored ones,
    whose names and shapes are those of the model. most_gradient: of one weight, infinite where it is not limited.
    source: name of the file in errors. Raises AuditError for a tensor that cannot be read.
    """
    groups = optimizer.state_dict()["param_groups"]
    if not _equal([_settings(group) for group in stored["param_groups"]], [_settings(group) for group in groups]):
        return "its optimizer has other settings or parameters"
    for found, group in zip(stored["param_groups"], groups, strict=True):
        if found["lr"] > group["lr"]:
            return f"its learning rate is {found['lr']:g}; at most {group['lr']:g} is needed"
    names = {parameter: name for name, parameter in model.named_parameters()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    entries = stored["state"]
    numbers = isinstance(entries, dict) and all(type(number) is int for number in entries)
    if not numbers or not entries or not entries.keys() <= set(range(len(parameters))):
        return "its optimizer has moments of other parameters, or none"
    for number, (parameter, example) in enumerate(zip(parameters, _examples(optimizer), strict=True)):
        name = names[parameter]
        if number in entries:
            problem = _entry_problem(entries[number], example, tuple(parameter.shape), steps, most_gradient, source)
        else:
            # A parameter that never had a gradient has no moments, and its value at the start. Random values may be
            # rounded differently on another machine.
            untrained = torch.allclose(weights[name], parameter.detach().cpu())
            problem = "" if untrained else "are missing, but it was trained"
        if problem:
            return f"the moments of {name!r} {problem}"
    return ""


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a group of parameters but for the learning rate, which changes from step to step."""
    return {name: value for name, value in group.items() if name != "lr"}


def _equal(found: Any, expected: Any) -> bool:
    """Whether two plain values are equal; a list and a tuple are, a number and true or false are not."""
    if isinstance(expected, dict):
        same = isinstance(found, dict) and found.keys() == expected.keys()
        return same and all(_equal(found[name], value) for name, value in expected.items())
    if isinstance(expected, (list, tuple)):
        same = isinstance(found, (list, tuple)) and len(found) == len(expected)
        return same and all(map(_equal, found, expected))
    same = isinstance(found, (str, int, float, type(None))) and isinstance(found, bool) == isinstance(expected, bool)
    return same and found == expected


def _examples(optimizer: Any) -> list[dict[str, Tensor]]:
    """Return what an optimizer of this kind and these settings holds for each parameter after one step.

    The parameters have two elements, with the gradients 1 and -1, so that an entry without a negative value has none
    after any step. An entry that is one number counts the steps.
    """
    groups = [group | {"params": [_example(p) for p in group["params"]]} for group in optimizer.param_groups]
    copy = type(getattr(optimizer, "optimizer", optimizer))(groups)  # of accelerate's wrapper or of torch
    copy.step()
    state = copy.state_dict()["state"]
    return [state[number] for number in range(len(state))]


def _example(parameter: Tensor) -> nn.Parameter:
    example = nn.Parameter(torch.zeros(2, dtype=parameter.dtype))
    example.grad = torch.tensor([1.0, -1.0], dtype=parameter.dtype)
    return example


def _entry_problem(
    entry: Any, example: Mapping[str, Tensor], shape: tuple[int, ...], steps: int, most_gradient: float, source: str
) -> str:
    """Return what a stored entry of a parameter of this shape has that one of `example` cannot have."""
    if not isinstance(entry, dict) or entry.keys() != example.keys():
        return f"are not {', '.join(example)}"
    for name, tensor in check_tensors(entry, source).items():
        count, signed = example[name].ndim == 0, bool((example[name] < 0).any())
        found, needed = (tensor.dtype, tuple(tensor.shape)), (example[name].dtype, () if count else shape)
        if found != needed:
            return f"have {name!r} as {found[0]} {found[1]} instead of {needed[0]} {needed[1]}"
        low, high = map(float, tensor.aminmax())  # either is NaN when a value is
        if not abs(low) + abs(high) < float("inf"):
            return f"have {name!r} that is not finite"
        if count and not (low.is_integer() and 1 <= low <= steps):
            return f"have {low:g} as {name!r}; 1 to {steps} is needed"
        if low < 0 and not signed:
            return f"have a negative {name!r}"
        # Means of gradients, or of their squares; rounding adds up.
        most = 1.001 * (most_gradient if signed else most_gradient**2)
        if not count and max(-low, high) > most:
            return f"have {max(-low, high):g} in {name!r}; at most {most:g} is needed"
    return ""

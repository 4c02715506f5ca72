"""Read the saved state of an interrupted training: all of it is checked before any of it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from ecgtune.errors import AuditError, CheckpointError, RunError
from ecgtune.models.tensors import check_tensors
from ecgtune.models.torch_files import read_torch_file
from ecgtune.text import shown
from ecgtune.training.schemas import LogRow
from ecgtune.utils.formatting import counted
from ecgtune.utils.schema import Count, Positive, check_schema


class Progress(TypedDict):
    """Fields of `training.loop.State`."""

    epoch: Count
    step: Count
    sums: dict[str, float]
    weight_sum: float
    skipped: Count
    best_epoch: Count
    best_score: Any
    audit: str
    seconds: float
    peak_memory: Count
    log: list[LogRow]


class OptimizerState(TypedDict):
    """`state_dict` of an optimizer of torch."""

    state: Any
    param_groups: list[dict[str, Any]]


class SavedState(TypedDict):
    """Content of the file."""

    weights: dict[str, Any]
    average: dict[str, Any]
    optimizer: OptimizerState
    scale: dict[str, Positive | Count]
    state: Progress


def read_state(
    path: Path,
    *,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    optimizer: Any,
    scale: Mapping[str, Any],
    epochs: int,
    steps: int,
) -> dict[str, Any]:
    """Return the content of `state.pt`, whose checksums match and which fits this training.

    weights, average, scale: of the training before anything is loaded; weights may be more in the file, those that a
    method keeps beside the model's. optimizer: it, whose parameters and settings the
    file must have. epochs, steps: of the training, and of an epoch. Raises RunError.
    """
    try:
        content = read_torch_file(path, check_sums=True)
        check_schema(content, SavedState, str(path), RunError)
        extra = sorted(content["average"].keys() - average.keys())
        problem = (
            _tensors_problem(content["weights"], weights, path)
            or _tensors_problem(content["average"], average, path)
            or (f"its average has a tensor {extra[0]!r}" if extra else "")
            or _optimizer_problem(content["optimizer"], optimizer, path)
            or _progress_problem(content["state"], epochs, steps)
            or ("its loss scale is of another precision" if content["scale"].keys() != scale.keys() else "")
        )
    except (CheckpointError, AuditError, RunError) as error:
        raise RunError(f"{str(error).removesuffix('; download it again')}; {_again(path)}") from None
    if problem:
        raise misfit(path, problem)
    return content | {name: _copied(content[name]) for name in ("weights", "average", "optimizer")}


def misfit(path: Path, problem: str) -> RunError:
    """Return the error for a state of another training."""
    return RunError(f"{path} does not fit this training: {problem}; {_again(path)}")


def _again(path: Path) -> str:
    return f"remove {path.parent} and resume, which trains from the first epoch"


def _tensors_problem(stored: Mapping[str, Any], expected: Mapping[str, Tensor], path: Path) -> str:
    tensors = check_tensors(stored, str(path))
    missing = sorted(expected.keys() - tensors.keys())
    if missing:
        return f"{counted(len(missing), 'tensor')} missing, such as {missing[0]!r}"
    for name, tensor in tensors.items():
        found, needed = ((each.dtype, tuple(each.shape)) for each in (tensor, expected.get(name, tensor)))
        if found != needed:
            return f"{name!r} is {found[0]} {found[1]} instead of {needed[0]} {needed[1]}"
        if not bool(tensor.isfinite().all()):
            return f"{name!r} is not finite"
    return ""


def _optimizer_problem(stored: Mapping[str, Any], optimizer: Any, path: Path) -> str:
    expected = optimizer.state_dict()["param_groups"]
    found = stored["param_groups"]
    if [_settings(group) for group in found] != [_settings(group) for group in expected]:
        return "its optimizer has other settings or parameters"
    parameters = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
    moments = stored["state"]
    if not isinstance(moments, dict) or not moments or not moments.keys() <= parameters.keys():
        return "its optimizer has moments of other parameters, or none"
    for number, entry in moments.items():
        if not isinstance(entry, dict):
            return f"the moments of parameter {number} are no table"
        tensors = {name: value for name, value in entry.items() if isinstance(value, Tensor)}
        shapes = {tuple(value.shape) for value in check_tensors(tensors, str(path)).values()}
        if not tensors or not shapes <= {(), tuple(parameters[number].shape)}:
            return f"the moments of parameter {number} have another shape"
        if not all(value.dtype.is_floating_point and bool(value.isfinite().all()) for value in tensors.values()):
            return f"the moments of parameter {number} are not finite"
    return ""


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a group of parameters but for the learning rate, which changes from step to step."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in group.items() if name != "lr"}


def _progress_problem(state: Mapping[str, Any], epochs: int, steps: int) -> str:
    extra = sorted(map(str, state.keys() - Progress.__annotations__.keys()))
    if extra:
        return f"its state has {shown(extra[0])}, an entry of another version"
    epoch, best = state["epoch"], state["best_epoch"]
    if epoch > epochs or best > epoch or len(state["log"]) != epoch or state["step"] > steps:
        return (
            f"it is in epoch {epoch} of {epochs}, step {state['step']} of {steps}, with "
            f"{counted(len(state['log']), 'epoch')} in its log, the best of them {best}"
        )
    score = state["best_score"]
    return "" if isinstance(score, float) and score < float("inf") else "its best score is no number"


def _copied(value: Any) -> Any:
    """Copy tensors, at any depth, out of the memory map of the file."""
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return torch.clone(value) if isinstance(value, Tensor) else value

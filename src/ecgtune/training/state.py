"""Read the saved state of an interrupted training: all of it is checked before any of it is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch
from torch import Tensor

from ecgtune.errors import AuditError, CheckpointError, RunError
from ecgtune.models.tensors import check_tensors
from ecgtune.models.torch_files import read_torch_file
from ecgtune.text import shown
from ecgtune.training.objective import Objective
from ecgtune.training.optimizer_state import optimizer_problem
from ecgtune.training.schemas import MOST_TERMS, LogRow
from ecgtune.utils.formatting import counted
from ecgtune.utils.schema import Count, Positive, check_schema


class Progress(TypedDict):
    """Fields of `training.loop.State`."""

    epoch: Count
    step: Count
    sums: dict[str, float]
    weight_sum: Annotated[float, 0, 1e15]
    skipped: Count
    best_epoch: Count
    best_score: Any
    audit: str
    seconds: float
    peak_memory: Count
    log: list[Annotated[LogRow, 1, MOST_TERMS]]


class ParameterGroup(TypedDict):
    """What changes of the settings of an optimizer; the others are compared."""

    lr: Positive


class OptimizerState(TypedDict):
    """`state_dict` of an optimizer of torch."""

    state: Any
    param_groups: list[ParameterGroup]


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
    objective: Objective,
    average: Mapping[str, Tensor],
    optimizer: Any,
    scale: Mapping[str, Any],
    epochs: int,
    steps: int,
) -> dict[str, Any]:
    """Return the content of `state.pt`, whose checksums match and which fits this training.

    objective, average, optimizer, scale: of the training before anything is loaded. The file may have more weights
    than the objective, those that a method keeps beside the model's. epochs, steps: of the training, and of an epoch.
    Raises RunError.
    """
    try:
        content = read_torch_file(path, check_sums=True)
        check_schema(content, SavedState, str(path), RunError)
        extra = sorted(content["average"].keys() - average.keys())
        state = content["state"]
        problem = (
            _progress_problem(state, epochs, steps, objective.score)
            or _tensors_problem(content["weights"], objective.tensors(), path)
            or _tensors_problem(content["average"], average, path)
            or (f"its average has a tensor {extra[0]!r}" if extra else "")
            or optimizer_problem(
                content["optimizer"],
                optimizer,
                objective.model,
                weights=content["weights"],
                steps=state["epoch"] * steps + state["step"],
                source=str(path),
            )
            or _scale_problem(content["scale"], scale)
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


def _progress_problem(
    state: Mapping[str, Any], epochs: int, steps: int, score: Callable[[Mapping[str, Any]], float]
) -> str:
    extra = sorted(map(str, state.keys() - Progress.__annotations__.keys()))
    if extra:
        return f"its state has {shown(extra[0])}, an entry of another version"
    epoch, step, log = state["epoch"], state["step"], state["log"]
    if step >= steps or epoch * steps + step > epochs * steps:
        return f"it is in epoch {epoch} of {epochs}, step {step} of {steps}"
    if len({step > 0, state["weight_sum"] > 0, bool(state["sums"])}) > 1:
        return f"its sums are not those of {counted(step, 'step')}"
    if [row["epoch"] for row in log] != list(range(1, epoch + 1)):
        return f"its log is not of the epochs 1 to {epoch}"
    best_epoch, best_score = 0, -math.inf
    for row in log:
        if not all(isinstance(name, str) and type(value) in (int, float) for name, value in row.items()):
            return f"its log has more than numbers in epoch {row['epoch']}"
        try:
            found = score(row)
        except KeyError as error:
            return f"its log has no {error} in epoch {row['epoch']}"
        if found > best_score:
            best_epoch, best_score = row["epoch"], found
    stored = state["best_epoch"], state["best_score"]
    if not isinstance(stored[1], float) or stored != (best_epoch, best_score) or best_score == math.inf:
        return f"its best epoch is {stored[0]} with score {shown(stored[1])}; by its log {best_epoch}, {best_score}"
    return ""


def _scale_problem(stored: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    if {name: type(value) for name, value in stored.items()} != {name: type(v) for name, v in expected.items()}:
        return "its loss scale is of another precision"
    changing = ("scale", "_growth_tracker")
    other = [name for name, value in expected.items() if name not in changing and stored[name] != value]
    return f"its loss scale has {stored[other[0]]} as {other[0]}" if other else ""


def _copied(value: Any) -> Any:
    """Copy tensors, at any depth, out of the memory map of the file."""
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return torch.clone(value) if isinstance(value, Tensor) else value

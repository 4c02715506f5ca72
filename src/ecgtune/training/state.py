"""The saved state of an interrupted training: all of it is checked before any of it is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch
from torch import Tensor

from ecgtune.errors import AuditError, CheckpointError, RunError
from ecgtune.models.tensors import check_tensors
from ecgtune.models.torch_files import read_torch_file
from ecgtune.text import reason_of, shown
from ecgtune.training.averaging import WeightAverage
from ecgtune.training.objective import Objective
from ecgtune.training.optimizer_state import optimizer_problem
from ecgtune.training.precision import LossScale
from ecgtune.training.run_folder import check_log
from ecgtune.training.schemas import MOST_LOSS, MOST_TERMS, Seconds, Term
from ecgtune.utils.files import finite, write_atomically
from ecgtune.utils.formatting import counted
from ecgtune.utils.schema import DAMAGED, Count, Positive, check_schema

MOST_LETTERS = 100  # of a tensor's name in an error
#: Skipped steps before the loss scale, at most 2^127 in float32, is below 1; one more for each time that it doubles.
MOST_HALVINGS = 128


@dataclass
class State:
    """Progress of a training; with the weights and the optimizer it determines all later results.

    `sums`, `weight_sum` and `skipped` belong to the current epoch: summed loss terms, summed weight, and the number of
    steps that overflowed in fp16 and were repeated at a lower loss scale.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    weight_sum: float = 0.0
    skipped: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    audit: str = ""
    seconds: float = 0.0
    peak_memory: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Course:
    """What a saved state cannot change: numbers of epochs and of steps in each; the largest gradient of a weight,
    infinite where it is not limited; and the summed weight of the first steps of an epoch (`weight_of(epoch, steps)`).
    """

    epochs: int
    steps: int
    most_gradient: float
    weight_of: Callable[[int, int], float]


class Progress(TypedDict):
    """Fields of `State`."""

    epoch: Count
    step: Count
    sums: Annotated[dict[Term, Annotated[float, -MOST_LOSS, MOST_LOSS]], 0, MOST_TERMS]
    weight_sum: float
    skipped: Count
    best_epoch: Count
    best_score: Any
    audit: Annotated[str, "[ -~]{0,1000}"]
    seconds: Seconds
    peak_memory: Annotated[int, 0, 1 << 48]
    log: list[dict[str, Any]]


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


def save_state(
    path: Path, objective: Objective, optimizer: Any, average: WeightAverage, scale: LossScale, state: State
) -> None:
    """Write the state of a training. Raises RunError."""
    content = {
        "weights": objective.tensors(),
        "average": average.tensors(),
        "optimizer": optimizer.state_dict(),
        "scale": scale.state(),
        "state": asdict(state),
    }

    def write(partial: Path) -> None:
        with partial.open("wb") as file:  # of a path, torch hides the reason of a failure, and puts the name inside
            torch.save(content, file)

    write_atomically(path, write)


def restore_state(
    path: Path, objective: Objective, optimizer: Any, average: WeightAverage, scale: LossScale, course: Course
) -> State:
    """Load a saved state and return its progress; where there is none, that of a new training.

    The optimizer's groups have their highest learning rates. Raises RunError.
    """
    if not path.exists():
        return State()
    content = read_state(
        path,
        objective=objective,
        average=average.tensors(),
        optimizer=optimizer,
        scale=scale.state(),
        course=course,
    )
    try:
        objective.restore(content["weights"])
    except Exception as error:  # a method may rely on the names that it writes
        raise misfit(path, f"its weights cannot be restored ({reason_of(error)})") from error
    left = sorted(content["weights"].keys() - objective.tensors().keys())
    if left:
        raise misfit(path, f"{counted(len(left), 'tensor')} unexpected, such as {shown(left[0])}")
    average.restore(content["average"])
    optimizer.load_state_dict(content["optimizer"])
    scale.restore(content["scale"])
    state = State(**content["state"])
    objective.audit = state.audit
    return state


def read_state(
    path: Path,
    *,
    objective: Objective,
    average: Mapping[str, Tensor],
    optimizer: Any,
    scale: Mapping[str, Any],
    course: Course,
) -> dict[str, Any]:
    """Return the content of `state.pt`, whose checksums match and which fits this training.

    objective, average, optimizer, scale: of the training before anything is loaded. The file may have more weights
    than the objective, those that a method keeps beside the model's. Raises RunError.
    """
    try:
        content = read_torch_file(path, check_sums=True)
        check_schema(content, SavedState, str(path), RunError)
        extra = sorted(content["average"].keys() - average.keys())
        state = content["state"]
        check_log(finite(state["log"]), f"{path}: its log", DAMAGED)
        problem = (
            _unknown_entry(content)
            or _progress_problem(state, course, objective.score)
            or _skipped_problem(state, content["scale"])
            or _tensors_problem(content["weights"], objective.tensors(), path)
            or _tensors_problem(content["average"], average, path)
            or (f"its average has a tensor {shown(extra[0])}" if extra else "")
            or optimizer_problem(
                content["optimizer"],
                optimizer,
                objective.model,
                weights=content["weights"],
                steps=state["epoch"] * course.steps + state["step"],
                most_gradient=course.most_gradient,
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
            return f"{name[:MOST_LETTERS]!r} is not finite"
    return ""


def _unknown_entry(content: Mapping[str, Any]) -> str:
    parts = {"it": (content, SavedState), "its optimizer": (content["optimizer"], OptimizerState)}
    for part, (entries, schema) in {**parts, "its state": (content["state"], Progress)}.items():
        extra = sorted(map(str, entries.keys() - schema.__annotations__.keys()))
        if extra:
            return f"{part} has {shown(extra[0])}, an entry of another version"
    return ""


def _progress_problem(state: Mapping[str, Any], course: Course, score: Callable[[Mapping[str, Any]], float]) -> str:
    epoch, step, log, sums = state["epoch"], state["step"], state["log"], state["sums"]
    if step >= course.steps or epoch + (step > 0) > course.epochs:
        return f"it is in epoch {epoch} of {course.epochs}, step {step} of {course.steps}"
    if bool(sums) != (step > 0) or (step and sums.get("loss", -1.0) < 0):  # its other names are those of the next step
        return f"its sums are not those of {counted(step, 'step')}"
    weight = course.weight_of(epoch, step)
    if not math.isclose(state["weight_sum"], weight, rel_tol=1e-6):
        return f"the weight of its {counted(step, 'step')} is {state['weight_sum']:g}; {weight:g} is needed"
    if [row["epoch"] for row in log] != list(range(1, epoch + 1)):
        return f"its log is not of the epochs 1 to {epoch}"
    best_epoch, best_score = 0, -math.inf
    for row in log:
        if not all(type(value) in (int, float) for value in row.values()):
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


def _skipped_problem(state: Mapping[str, Any], scale: Mapping[str, Any]) -> str:
    skipped, most = state["skipped"], state["step"] + MOST_HALVINGS if scale and state["step"] else 0
    return f"it skipped {counted(skipped, 'step')}; at most {most} is possible" if skipped > most else ""


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

"""The windows and their splits, from fingerprint.json, plan.toml and split.csv."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import Dataset
from ecgtune.data.sampling import representative_rows
from ecgtune.data.splits import Split, assign_groups, near_duplicates_across, split_dataset
from ecgtune.data.tasks import decided, group_counts, strata
from ecgtune.errors import DataError, RunError
from ecgtune.io.again import read_again
from ecgtune.models.loading import input_spec_of
from ecgtune.text import shown
from ecgtune.utils.csv_cells import csv_text
from ecgtune.utils.files import file_sha256, write_json, write_text
from ecgtune.utils.formatting import counted
from ecgtune.utils.stored import REMOVE, read_json, read_rows
from ecgtune.workflows.auto.look import FILE as FINGERPRINT
from ecgtune.workflows.auto.look import read_fingerprint
from ecgtune.workflows.auto.plan_file import AutoPlan
from ecgtune.workflows.auto.schemas import ELSEWHERE, SplitFile

SPLIT, FACTS = "split.csv", "split.json"
UNUSED = "unused"
TRAIN, VAL, TEST = "train", "val", "test"


@dataclass(frozen=True, eq=False)
class Material:
    """Windows and their splits.

    part: (windows,) "train", "val", "test" or "unused". fold: (windows,) int64, that of the development windows where
    the validation is by folds, else -1. facts: unit, origin and warnings of the split, as plain values.
    """

    dataset: Dataset
    part: NDArray[np.str_]
    fold: NDArray[np.int64]
    facts: dict[str, Any]

    @property
    def rounds(self) -> int:
        """Trainings of a method that validate every development window."""
        return max(1, int(self.fold.max()) + 1)

    def split(self, number: int, *, windows: int | None = None, validated: int | None = None) -> Split:
        """The split of one round.

        By folds, round i validates folds i and i + 1, so that two trainings predict each window that neither has seen.
        windows, validated: at most so many of training and validation, with the fractions of the labels, of as many
        patients as possible, drawn from the seed 0; fewer are always among more. Of a fold they are the same in both of
        its rounds.
        """
        return self._split((number, (number + 1) % self.rounds), windows, validated)

    def final(self, windows: int | None = None) -> Split:
        """The split of a last training: by folds, fold 0 alone validates. windows: at most so many to train on."""
        return self._split((0,), windows, None)

    def _split(self, folds: Sequence[int], windows: int | None, validated: int | None) -> Split:
        part = self.part
        if self.rounds > 1:
            part = np.where(self.fold < 0, part, np.where(np.isin(self.fold, folds), VAL, TRAIN))
            most = None if validated is None else -(-validated // len(folds))
            val = np.sort(np.concatenate([self._few(np.flatnonzero(self.fold == fold), most) for fold in folds]))
        else:
            val = self._few(np.flatnonzero(part == VAL), validated)
        facts = self.facts
        return Split(
            train=self._few(np.flatnonzero(part == TRAIN), windows),
            val=val,
            test=np.flatnonzero(part == TEST),
            unit=facts["unit"],
            origin=facts["origin"],
            warnings=tuple(facts["warnings"]),
            duplicates=facts["duplicates"],
        )

    def _few(self, rows: NDArray[np.int64], count: int | None) -> NDArray[np.int64]:
        if count is None or count >= len(rows):
            return rows
        group = None if self.dataset.group is None else self.dataset.group[rows]
        return rows[representative_rows(strata(self.dataset.label[rows]), group, None, count, 0, whole=False)]


def read_material(out: Path, plan: AutoPlan) -> Material:
    """Read the windows by the fingerprint and the plan, and their split from split.csv, which is written once."""
    found = read_fingerprint(out)
    dataset = read_again(_planned_reading(found, plan), found["sha256"] if found["kind"] != "records" else None)
    if found["kind"] != "records":  # whose pairs the reading finds
        pairs = tuple((first, second) for first, second in found["duplicates"])
        unknown = {name for pair in pairs for name in pair}.difference(() if dataset.group is None else dataset.group)
        if unknown:
            raise RunError(f"{out / FINGERPRINT}: duplicates: {shown(min(unknown))} is not in the data; {REMOVE}")
        dataset = replace(dataset, source=replace(dataset.source, near_duplicates=pairs))
    if not (out / FACTS).is_file():
        part, fold, facts = _drawn(dataset, plan)
        _check_validations(Material(dataset, part, fold, facts))
        rows = zip(range(len(part)), part.tolist(), fold.tolist(), strict=True)
        write_text(out / SPLIT, csv_text([["row", "split", "fold"], *([*row] for row in rows)]))
        sums = {"sha256": dataset.source.sha256, "rows_sha256": file_sha256(out / SPLIT)}
        write_json(out / FACTS, {**facts, "windows": len(dataset), **sums})
    facts = read_split_facts(out)
    if facts["sha256"] != dataset.source.sha256 or facts["windows"] != len(dataset):
        raise RunError(
            f"{out / SPLIT} is of other windows (the data or [data] of plan.toml changed); choose another --out"
        )
    part, fold = zip(*read_rows(out / SPLIT, lambda row: (row["split"], int(row["fold"])), ELSEWHERE), strict=True)
    return Material(dataset, np.array(part, dtype="U6"), np.array(fold), facts)


def _check_validations(material: Material) -> None:
    """Raise DataError where the validation windows of a round are all alike, so that nothing can be chosen on them."""
    dataset, unit = material.dataset, material.facts["unit"]
    for number in range(material.rounds):
        label = dataset.label[material.split(number).val]
        if not decided(label, dataset.classes).any():
            of = f"of round {number + 1} of {material.rounds} " if material.rounds > 1 else ""
            fewer = "give --folds 1, or " if material.rounds > 1 else ""
            raise DataError(
                f"the {counted(len(label), 'validation window')} {of}have one class only, so nothing can be chosen on "
                f"them; {fewer}add {unit}s of the other classes"
            )


def read_split_facts(out: Path) -> dict[str, Any]:
    """Read split.json. Raises RunError, one line, also where split.csv is not the one that it describes."""
    facts = read_json(out / FACTS, SplitFile, ELSEWHERE)
    if not (out / SPLIT).is_file() or file_sha256(out / SPLIT) != facts["rows_sha256"]:
        raise RunError(f"{out / SPLIT} is not as it was drawn; {ELSEWHERE}")
    return facts


def _planned_reading(found: dict[str, Any], plan: AutoPlan) -> dict[str, Any]:
    """The reading of the fingerprint with the decisions on windows, rate and leads."""
    reading, data = dict(found["reading"]), plan.data
    if found["kind"] == "windows":
        return {**reading, "lead": data.leads[0]} if data.leads is not None and len(data.leads) == 1 else reading
    if found["kind"] != "records":
        return reading
    planned = {"window": data.window, "step": data.step, "sampling_rate": data.sampling_rate, "leads": data.leads}
    specs = [input_spec_of(name) for name in plan.model.encoders]
    shared = {spec.resampling for spec in specs if not spec.presets}
    planned["resampling"] = shared.pop() if len(shared) == 1 else None
    given = {name: list(value) if name == "leads" else value for name, value in planned.items() if value is not None}
    return {**reading, "settings": {**reading["settings"], **given}}


def _drawn(dataset: Dataset, plan: AutoPlan) -> tuple[NDArray[np.str_], NDArray[np.int64], dict[str, Any]]:
    """Part and fold of each window, and facts. Groups that share a signal are never divided."""
    notes, known, pairs = [], dataset.split, dataset.source.near_duplicates or ()
    if known is not None:
        pairs = near_duplicates_across(dataset, {name: np.flatnonzero(known == name) for name in (TRAIN, VAL, TEST)})
        if pairs:
            dataset, left = _without(dataset, known, pairs)
            notes.append(
                f"{counted(left, 'window')} left out of training: a test or validation window has the same signal"
            )
    dataset = _joined(dataset)
    split = _split(dataset, plan)
    if pairs and known is None:
        notes.append(f"kept in one split: {counted(len(pairs), 'pair')} of {split.unit}s with the same signal")
    part = np.full(len(dataset), UNUSED, dtype="U6")
    for name, rows in split.by_name().items():
        part[rows] = name
    fold = np.full(len(dataset), -1, dtype=np.int64)
    origin = split.origin
    if plan.split.folds > 1:
        rows = np.sort(np.concatenate([split.train, split.val]))
        fold[rows] = _folds(dataset, rows, plan)
        origin = f"test: {origin}; development: {plan.split.folds} folds by {split.unit}, two of which validate"
    facts = {"unit": split.unit, "origin": origin, "warnings": [*split.warnings, *notes]}
    facts["duplicates"] = split.duplicates
    return part, fold, facts


def _split(dataset: Dataset, plan: AutoPlan) -> Split:
    settings = plan.split
    train, val = settings.train_fraction, settings.val_fraction
    return split_dataset(dataset, fractions=(train, val, 1 - train - val), seed=settings.seed, allow_duplicates=True)


def _units(dataset: Dataset) -> NDArray[np.str_]:
    """What pairs are of: recordings, else groups."""
    units = dataset.group if dataset.recording is None else dataset.recording
    assert units is not None
    return units


def _joined(dataset: Dataset) -> Dataset:
    """The dataset with one group for both units of each pair with the same signal."""
    if not dataset.source.near_duplicates:
        return dataset
    units, group = _units(dataset), dataset.group
    assert group is not None
    group = group.copy()
    for pair in dataset.source.near_duplicates:
        kept, other = (group[units == name][:1] for name in pair)
        if len(kept) and len(other):  # recordings that are in the dataset
            group[group == other] = kept
    return replace(dataset, group=group)


def _without(dataset: Dataset, known: NDArray[np.str_], pairs: Iterable[tuple[str, str]]) -> tuple[Dataset, int]:
    """The dataset without the training (else validation) windows of each pair, and their number."""
    units, part = _units(dataset), known.astype("U6")
    place = np.array([(TRAIN, VAL, TEST).index(name) for name in known.tolist()])
    left = np.zeros(len(dataset), dtype=bool)
    for pair in pairs:
        rows = [np.flatnonzero(units == name) for name in pair]
        left[min(rows, key=lambda each: place[each].min())] = True
    part[left] = UNUSED
    return replace(dataset, split=part), int(left.sum())


def _folds(dataset: Dataset, rows: NDArray[np.int64], plan: AutoPlan) -> NDArray[np.int64]:
    """The fold of each of `rows`, by group, stratified by label."""
    folds = plan.split.folds
    group = rows if dataset.group is None else dataset.group[rows]
    names, codes = np.unique(group, return_inverse=True)
    if len(names) < folds:
        raise RunError(f"{counted(len(names), 'group')} for {folds} folds; give --folds 1, or more data")
    counts = group_counts(dataset.label[rows], dataset.classes, codes, len(names))
    return assign_groups(counts, (1 / folds,) * folds, np.random.default_rng(plan.split.seed))[codes]

"""The seconds of trainings, and of the steps that follow them, by what was measured on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ecgtune.errors import DataError, EcgtuneError
from ecgtune.utils.files import write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.utils.stored import REMOVE, is_there, read_json
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.plan_file import FOLDER, SCRATCH, AutoPlan
from ecgtune.workflows.auto.schemas import MeasuredFile
from ecgtune.workflows.auto.trial import (
    CURVE_FRACTIONS,
    HEAD_EPOCHS,
    HEAD_STEP,
    PROBE,
    RESULT,
    limited_threads,
    material_of,
    measured,
    read_trial,
)

MEASURED = "measured.json"
FEWEST_EPOCHS = 2
#: Fraction of the budget that validating all validation windows once may take; more of them are left out.
_VALIDATION, _FEWEST_VALIDATED = 0.004, 512
#: The fewest are fewer where they would take more than this fraction of the budget.
_MOST_VALIDATION, _SMALLEST_VALIDATION = 0.02, 128
#: Processor seconds of the steps after this one, whatever the windows, and of each training that is tested and exported
#: (measured with ecg-fm-tiny: export 7 and 4 for each further training, test and page 2 each, figures and report 4).
_AFTER, _AFTER_EACH = 8.0, 7.5
#: They also predict the validation and test windows, up to 1,300 for the novelty, and `VERIFIED` for the exported file
#: with and without torch; a part of the budget at most is kept for all of that.
_PASSES, _NOVELTY, _MOST_AFTER = 1.1, 1300, 0.6
VERIFIED = 512
_SAFE = 1.1  # times the time that these steps need
_OVER = 0.1  # fraction of the budget by which the command may end late
#: Seconds of a training outside of its epochs: the model, its audits, the windows; of probes, until one is measured.
OVERHEAD, _LEAST_OVERHEAD = 2.0, 0.2


class Costs:
    """Seconds of the trainings of an auto and of the steps after them; measured.json keeps those of each method."""

    def __init__(self, out: Path, plan: AutoPlan, budget: Budget, progress: ProgressBar, jobs: int = 1) -> None:
        self.out, self.plan, self.budget, self.progress, self.jobs = out, plan, budget, progress, jobs
        self.folder = out / FOLDER
        #: Of each training, where several run at a time; None for all.
        self.threads = None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
        self._unfit: dict[str, EcgtuneError] = {}
        _ = self._measured  # a damaged file is refused here, and is no reason to leave an encoder out
        self.material = material_of(out, plan)
        first, final = self.material.split(0), self.material.final()
        self.training, self.validation = len(first.train), len(first.val)
        self._tested, self._validated_at_end = len(final.test), len(final.val)
        #: The encoder of the methods, once it is chosen, and the seconds of the last round, once it is planned.
        self.encoder: str | None = None
        self.last = plan.budget.rounds[-1] * plan.budget.seconds if self.material.rounds > 1 else 0.0
        #: Trainings whose mean is perhaps chosen, and then tested and exported.
        self.members = 1

    @property
    def reserve(self) -> float:
        """Seconds that are kept for the choice, the test and the files.

        Of folds, for one more training or for their mean, unless that takes more than is kept at most.
        """
        most = _MOST_AFTER * self.plan.budget.seconds
        one, folds = _SAFE * self.after(self.members), _SAFE * self.after(self.material.rounds)
        one += self.final_fraction * self.last
        return min(max(one, folds) if folds <= most else one, most)

    @property
    def affordable(self) -> int:
        """Trainings whose mean can be tested and exported in the time that is left."""
        left = self.budget.left + _OVER * self.plan.budget.seconds - self.after(0)
        return max(1, int(left / (self.after(1) - self.after(0))))

    def after(self, members: int) -> float:
        """Seconds that the choice, the test and the files of so many trainings need, as measured on this machine.

        They are those of a forward pass, of the head of a probe for the learning curve, and of computing.
        """
        slowdown = self.budget.slowdown if self.jobs == 1 else 1.0  # others compute in processes of their own
        tested = self._tested + (self._validation if self.material.rounds == 1 else self._validated_at_end)
        verified, novelty = 3 * min(VERIFIED, self._tested), min(_NOVELTY, self.training)
        passes = members * (_PASSES * tested + verified) + novelty
        return slowdown * (_AFTER + members * _AFTER_EACH) + passes * self.forward + self._curve

    @property
    def _curve(self) -> float:
        """Seconds of the heads of the learning curve, on features of the largest probe so far."""
        probes = [one for one in self.finished() if one["method"] == PROBE and "score" in one]
        heads = (one["train_windows"] * self.measured(PROBE, one["encoder"])["step"] for one in probes)
        return sum(CURVE_FRACTIONS) * self.plan.training.epochs * max(heads, default=0.0)

    @property
    def overhead(self) -> float:
        """Seconds of a probe outside of its windows, by the quickest so far."""
        spent = (
            one["spent"] - self.probing(one["encoder"], one["train_windows"])
            for one in self.finished()
            if one["method"] == PROBE and "score" in one
        )
        return max(_LEAST_OVERHEAD, min(spent, default=OVERHEAD))

    @property
    def final_fraction(self) -> float:
        """Time of the last training after folds, on all but one of them, as a fraction of that of all folds."""
        rounds = self.material.rounds
        return 0.0 if rounds == 1 else (rounds - 1) / (rounds - 2) / rounds

    @property
    def forward(self) -> float:
        """Seconds of a forward pass per window, by the chosen encoder, else by the first that takes the windows."""
        for encoder in (self.encoder,) if self.encoder else self.plan.model.encoders:
            with suppress(EcgtuneError):
                return self.measured(PROBE, encoder)["forward"]
        raise DataError(f"no encoder of {', '.join(self.plan.model.encoders)} takes these windows")

    def measured(self, method: str, encoder: str) -> dict[str, Any]:
        """Seconds per window of a "step" and of a "forward" pass, and the "pieces" of a batch, where memory is short.

        From measured.json or measured now, with the threads that a training has; the step of a method that was trained
        is that of its last training. Raises what the training raises.
        """
        stored = self._measured
        known = stored["methods"]
        key = self._key(method, encoder)
        if key in self._unfit:
            raise self._unfit[key]
        if key not in known:
            self.progress.describe(f"do: measure {method}")
            try:
                with limited_threads(self.threads):
                    known[key] = measured(self.out, self.plan, method, encoder)
            except EcgtuneError as error:
                self._unfit[key] = error
                raise
            write_json(self.folder / MEASURED, stored)
            self.budget.tick(now=True)
        return known[key]

    def is_measured(self, method: str, encoder: str) -> bool:
        return self._key(method, encoder) in self._measured["methods"]

    def _key(self, method: str, encoder: str) -> str:
        return f"{method} {encoder}" + ("" if self.threads is None else f", {self.threads} threads")

    @property
    def validated(self) -> int | None:
        """Validation windows that all trainings use, from measured.json or decided now; None for all."""
        forward = self.forward
        known = self._measured
        if "validated" not in known:
            most, least = (
                int(fraction * self.plan.budget.seconds / forward / self.material.rounds)
                for fraction in (_VALIDATION, _MOST_VALIDATION)
            )
            few = min(_FEWEST_VALIDATED, max(_SMALLEST_VALIDATION, least))
            known["validated"] = None if most >= self.validation else max(few, most)
            write_json(self.folder / MEASURED, known)
        return known["validated"]

    @property
    def _measured(self) -> dict[str, Any]:
        file = self.folder / MEASURED
        return read_json(file, MeasuredFile, REMOVE) if is_there(file) else {"methods": {}}

    def head(self, method: str, encoder: str) -> float:
        """Seconds per window of the head that is trained alone before few epochs."""
        passes = 0.0 if method == SCRATCH else 1 + HEAD_EPOCHS * HEAD_STEP
        return passes * self.measured(method, encoder)["forward"]

    def whole(self, method: str, encoder: str) -> float:
        """Seconds of a training on all windows for all epochs of the plan, by measured seconds."""
        if method == PROBE:
            return self.probing(encoder, self.training)
        found = self.measured(method, encoder)
        return self.plan.training.epochs * (self.training * found["step"] + self._validation * found["forward"])

    def probing(self, encoder: str, windows: int) -> float:
        """Seconds of the passes and of the head of a probe of so many training windows, by measured seconds."""
        found = self.measured(PROBE, encoder)
        head = self.plan.training.epochs * windows * found["step"]
        return (windows + self._validation) * found["forward"] + head

    def least(self, method: str, encoder: str) -> float:
        """Seconds of the smallest training of a method; 0 for one that cannot be run."""
        try:
            found = self.measured(method, encoder)
        except EcgtuneError:
            return 0.0
        steps = self.fewest * (FEWEST_EPOCHS * found["step"] + self.head(method, encoder))
        validation = (FEWEST_EPOCHS + 2) * self._validation * found["forward"]
        return OVERHEAD * self.budget.slowdown + steps + validation

    @property
    def _validation(self) -> int:
        """Validation windows that a training uses."""
        return self.validation if self.validated is None else self.validated

    @property
    def fewest(self) -> int:
        """Windows for two steps, and two of each class."""
        return max(2 * self.plan.training.batch_size, 4 * len(self.material.dataset.classes))

    def finished(self) -> list[dict[str, Any]]:
        """The results of all finished trainings in the folder."""
        return [read_trial(file.parent) for file in sorted(self.folder.glob(f"*/round-*/{RESULT}"))]

"""Prediction sets, abstention and novelty of a finished training: certainty.json and novelty.npz of the run folder."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.evaluation import Evaluation
from ecgtune.data.dataset import Dataset
from ecgtune.data.outliers import OUTLIERS, outliers
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.sampling import generator
from ecgtune.data.splits import Split
from ecgtune.evaluation.coverage import fit_certainty, measured_certainty
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.external import Measured
from ecgtune.evaluation.novelty import Novelty, fit_novelty
from ecgtune.methods.split import FrozenPrefix
from ecgtune.models.classifier import Classifier
from ecgtune.training.inference import FEATURES, logits_of
from ecgtune.training.run_folder import RESULT_FORMAT
from ecgtune.utils.formatting import counted

#: Windows of training and validation whose features are compared, and generated ones of each kind.
TRAINING, VALIDATION, GENERATED = 600, 400, 50
#: Validation windows without which there is no score: 99 % of fewer are all of them.
FEWEST = 50


def certainty_results(
    dataset: Dataset,
    split: Split,
    val: NDArray[np.float64],
    test: NDArray[np.float64],
    decision: Decision,
    evaluation: Evaluation,
    novelty: Novelty | None,
) -> dict[str, Any]:
    """Return the content of certainty.json: what is fitted on validation, and measured on the test windows.

    val, test: probabilities of the windows of these splits.
    """
    sides = [
        (Measured(dataset.label[rows], probability, None if dataset.group is None else dataset.group[rows]), rows)
        for rows, probability in ((split.val, val), (split.test, test))
    ]
    (validation, rows), (tested, test_rows) = sides
    rule = evaluation.recording
    certainty = fit_certainty(validation, dataset.pooled(rows), decision, rule)
    return {
        "format": RESULT_FORMAT,
        "certainty": certainty.to_dict(),
        "internal": measured_certainty(certainty, tested, dataset.pooled(test_rows), decision, rule),
        "novelty": {"kind": None, "reason": f"validation has {counted(len(split.val), 'window')}; {FEWEST} are needed"}
        if novelty is None
        else novelty.facts(),
    }


def run_novelty(
    model: Classifier, preprocessing: Preprocessing, dataset: Dataset, split: Split, *, precision: str = "fp32"
) -> Novelty | None:
    """Fit the novelty score of a trained model to features of training windows, chosen on validation.

    At most 600 windows of training and 400 of validation are drawn; outliers are generated from validation windows.
    None for fewer than 50 validation windows.
    """
    if len(split.val) < FEWEST:
        return None
    drawn = generator(0, TRAINING)
    train, val = (
        np.sort(drawn.choice(rows, min(most, len(rows)), replace=False))
        for rows, most in ((split.train, TRAINING), (split.val, VALIDATION))
    )
    prefix, rate = FrozenPrefix(model, FEATURES), dataset.sampling_rate

    def features(signal: NDArray[np.float32]) -> NDArray[np.float32]:
        return logits_of(prefix, preprocessing(signal, rate), precision=precision)

    training, validation = (features(np.array(dataset.signal[rows])) for rows in (train, val))
    source = np.array(dataset.signal[val[:: max(1, len(val) // GENERATED)][:GENERATED]])
    found = {kind: features(outliers(kind, source, rate, generator(0, number))) for number, kind in enumerate(OUTLIERS)}
    return fit_novelty(training, validation, found)

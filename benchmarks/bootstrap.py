"""Seconds of a bootstrap over patients, beside a loop over resamples with scikit-learn.

    python benchmarks/bootstrap.py

computes all metrics of 10,000 predictions of 2,000 patients on 2,000 resamples of the patients, and AUROC alone with
scikit-learn on 40 of them, and writes both to benchmarks/results/bootstrap.json. The ratio is per resample.
"""

import time

import numpy as np
from machines import RESULTS, write_result
from sklearn.metrics import roc_auc_score

from ecgtune.evaluation.decision import binary_decision
from ecgtune.evaluation.intervals import bootstrap_intervals, resampled_counts
from ecgtune.evaluation.scorer import make_scorer

RESULT = RESULTS / "bootstrap.json"
PREDICTIONS, PATIENTS, RESAMPLES, LOOPED, ROUNDS = 10_000, 2_000, 2_000, 40, 5


def main() -> None:
    generator = np.random.default_rng(0)
    patient = np.sort(generator.integers(0, PATIENTS, PREDICTIONS))
    label = generator.integers(0, 2, PREDICTIONS)
    probability = 1 / (1 + np.exp(-(2 * label - 1) - generator.normal(size=PREDICTIONS)))
    scorer = make_scorer(label, probability, binary_decision())
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        bootstrap_intervals(scorer, patient, resamples=RESAMPLES)
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    for counts in resampled_counts(int(patient.max()) + 1, PREDICTIONS, LOOPED, 0):
        for row in counts[:, patient]:
            roc_auc_score(label, probability, sample_weight=row)
    looped = (time.perf_counter() - start) / LOOPED
    facts = {
        "predictions": PREDICTIONS,
        "patients": PATIENTS,
        "resamples": RESAMPLES,
        "seconds": float(np.median(seconds)),
        "seconds_of_scikit_learn": looped * RESAMPLES,
        "ratio": looped * RESAMPLES / float(np.median(seconds)),
    }
    print(write_result(RESULT, facts))


if __name__ == "__main__":
    main()

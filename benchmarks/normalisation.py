"""Effect of gain, offset and normalisation on the tokens of ECG-FM with one lead.

    python benchmarks/normalisation.py

encodes the same simulated windows with each normalisation, and with another gain and offset, and writes differences of
token values to benchmarks/results/normalisation.json and docs/normalisation.md. The output of the encoder is
normalised, so the standard deviation of tokens is about 1. Weights are random, because the effect depends on the
architecture.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from machines import RESULTS, write_result
from pages import ROOT, markdown, replace_section

from ecgtune import Preprocessing, load_model, simulate, split_dataset

RESULT, PAGE = RESULTS / "normalisation.json", ROOT / "docs" / "normalisation.md"
WINDOWS = 200
GAIN, OFFSET = 3.0, 0.7  # of another recorder: three times the amplitude, 0.7 mV higher


def table(result: Mapping[str, Any]) -> str:
    """Return a Markdown table with one row per normalisation."""
    header = (
        *("normalisation", "difference to z-score, largest", "median"),
        *("with another gain and offset, largest", "median"),
    )
    rows = []
    for row in result["rows"]:
        name, *values = row.values()
        rows.append((name, *(f"{value:.{digits}f}" for value, digits in zip(values, (4, 5, 4, 5), strict=True))))
    return markdown(header, rows)


def main() -> None:
    dataset = simulate(WINDOWS, seed=0)
    train = split_dataset(dataset).train
    model = load_model("ecg-fm-tiny-random").eval()

    def tokens(normalisation: str, signal: np.ndarray) -> torch.Tensor:
        how = {"sampling_rate": 100.0, "resampling": "polyphase", "normalisation": normalisation}
        prepare = Preprocessing.fit(dataset, train, **how)
        with torch.no_grad():
            return model.encode(torch.from_numpy(prepare(signal, dataset.sampling_rate)))[0]

    reference = tokens("zscore", dataset.signal)
    other_recorder = (GAIN * dataset.signal + OFFSET).astype(np.float32)
    rows = []
    for normalisation in ("zscore", "global", "none"):
        plain, changed = tokens(normalisation, dataset.signal), tokens(normalisation, other_recorder)
        pairs = {"to_zscore": (plain - reference).abs(), "with_another_gain_and_offset": (changed - plain).abs()}
        row: dict[str, Any] = {"normalisation": normalisation}
        for name, difference in pairs.items():
            row |= {f"largest_difference_{name}": float(difference.max())}
            row |= {f"median_difference_{name}": float(difference.median())}
        rows.append(row)
    facts = {"weights": model.weights.describe(), "windows": WINDOWS, "gain": GAIN, "offset_millivolts": OFFSET}
    result = write_result(RESULT, {**facts, "token_standard_deviation": float(reference.std()), "rows": rows})
    replace_section(PAGE, "normalisation", table(result))


if __name__ == "__main__":
    main()

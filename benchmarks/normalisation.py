"""How much of gain, offset and normalisation reaches the tokens of ECG-FM with one lead.

    python benchmarks/normalisation.py

encodes the same simulated windows under each normalisation and with another gain and offset, and writes the largest
difference of any token value to benchmarks/results/normalisation.json. Tokens leave the encoder through a norm, so
their standard deviation is about 1 and the differences can be read as they are. Random weights: the effect is the
architecture's.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from ecgtune import Preprocessing, load_model, simulate, split_dataset
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parent / "results" / "normalisation.json"
WINDOWS = 200
GAIN, OFFSET = 3.0, 0.7  # of another recorder: three times the amplitude, 0.7 mV up


def main() -> None:
    dataset = simulate(WINDOWS, seed=0)
    train = split_dataset(dataset).train
    model = load_model("ecg-fm-tiny-random").eval()

    def tokens(normalisation: str, signal: np.ndarray) -> torch.Tensor:
        prepare = Preprocessing.fit(
            dataset, train, sampling_rate=100.0, resampling="polyphase", normalisation=normalisation
        )
        with torch.no_grad():
            return model.encode(torch.from_numpy(prepare(signal, dataset.sampling_rate)))[0]

    reference = tokens("zscore", dataset.signal)
    other_recorder = (GAIN * dataset.signal + OFFSET).astype(np.float32)
    rows = []
    for normalisation in ("zscore", "global", "none"):
        plain, changed = tokens(normalisation, dataset.signal), tokens(normalisation, other_recorder)
        rows.append(
            {
                "normalisation": normalisation,
                "largest_difference_to_zscore": float((plain - reference).abs().max()),
                "median_difference_to_zscore": float((plain - reference).abs().median()),
                "largest_difference_with_another_gain_and_offset": float((changed - plain).abs().max()),
                "median_difference_with_another_gain_and_offset": float((changed - plain).abs().median()),
            }
        )
    write_json(
        RESULT,
        {
            "command": "python benchmarks/normalisation.py",
            "date": now(),
            "machine": machine(),
            "weights": model.weights.describe(),
            "windows": WINDOWS,
            "gain": GAIN,
            "offset_millivolts": OFFSET,
            "token_standard_deviation": float(reference.std()),
            "rows": rows,
        },
    )
    print("normalisation  to z-score: largest (median)   with gain and offset: largest (median)", file=sys.stderr)
    for row in rows:
        print("{:13}  {:.4f} ({:.5f})                {:.4f} ({:.5f})".format(*row.values()))
    print(f"wrote {RESULT}")


if __name__ == "__main__":
    main()

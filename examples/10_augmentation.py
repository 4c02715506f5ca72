"""
Augmentation
============

Random changes of training windows. Each draw depends on seed, epoch and window only, so a resumed training repeats it.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt

import ecgtune

dataset = ecgtune.simulate(windows=200, seed=10)
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for name, settings in {"plain": {"shift": 0.0, "noise": 0.0}, "augmented": {"shift": 0.1, "noise": 0.1}}.items():
    run = ecgtune.fine_tune(
        dataset, ecgtune.recipe("lora", epochs=6, **settings), model="ecg-fm-tiny", out=f"runs/{name}"
    )
    print(name, run.metrics["window"]["metrics"]["auroc"])
    log = [json.loads(line) for line in Path(f"runs/{name}/log.jsonl").read_text().splitlines()]
    axis.plot([row["epoch"] for row in log], [row["val_loss"] for row in log], marker="o", label=name)
axis.set_xlabel("epoch")
axis.set_ylabel("validation loss")
axis.legend()

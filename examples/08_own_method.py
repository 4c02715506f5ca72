"""
Add a method
============

A method is a frozen dataclass with a name. This one trains the first block of any encoder.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt

import ecgtune


@ecgtune.register_method("first-block")
@dataclass(frozen=True)
class FirstBlock(ecgtune.Method):
    """Train the first block of an encoder."""

    learning_rate = 5e-4

    def trained_parameters(self, encoder):
        first = next(iter(encoder.blocks))
        return frozenset(name for name, _ in encoder.named_parameters() if name.startswith(f"{first}."))


# %%
# The audits of every training apply to it: a method that trains nothing is an error.

dataset = ecgtune.simulate(windows=300, seed=8)
run = ecgtune.fine_tune(dataset, ecgtune.recipe(FirstBlock(), epochs=6), model="ecg-fm-tiny", out="runs/first-block")
print(run.metrics["parameters"])
print(run.metrics["audits"]["gradients"])

# %%
# The run folder has the log of the training.

log = [json.loads(line) for line in Path("runs/first-block/log.jsonl").read_text().splitlines()]
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for name, label in {"train_loss": "training", "val_loss": "validation"}.items():
    axis.plot([row["epoch"] for row in log], [row[name] for row in log], marker="o", label=label)
axis.set_xlabel("epoch")
axis.set_ylabel("loss")
axis.legend()

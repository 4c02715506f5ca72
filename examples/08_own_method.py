"""
Add a method
============

A method is a frozen dataclass with a name. This one trains the first block of any encoder.
"""

from dataclasses import dataclass

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

dataset = ecgtune.simulate(windows=120, seed=8)
run = ecgtune.fine_tune(dataset, ecgtune.recipe(FirstBlock(), epochs=2), model="ecg-fm-tiny", out="runs/first-block")
print(run.metrics["parameters"])
print(run.metrics["audits"]["gradients"])

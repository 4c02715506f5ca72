"""
Leads that the encoder does not have
====================================

A trained linear mixer of the recorded leads in front of a one-lead encoder.
"""

from dataclasses import replace

import numpy as np

import ecgtune

dataset = ecgtune.simulate(windows=200, seed=7)
noise = np.random.default_rng(0).normal(0, 0.05, dataset.signal.shape).astype("float32")
signal = np.concatenate([0.5 * dataset.signal + noise, dataset.signal], axis=1)
dataset = replace(dataset, signal=signal, leads=("I", "II"))

recipe = ecgtune.recipe("lora", epochs=3, lead_adapter=True)
run = ecgtune.fine_tune(dataset, recipe, model="ecg-fm-tiny", out="runs/leads")
print(run.metrics["window"]["metrics"]["auroc"]["value"])

# %%
# The run predicts windows that have these leads.

print(run.predict(signal[:2]).round(3))

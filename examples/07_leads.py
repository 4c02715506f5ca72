"""
Leads that the encoder does not have
====================================

A trained linear mixer of the recorded leads in front of a one-lead encoder.
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import ecgtune

dataset = ecgtune.simulate(windows=200, seed=7)
noise = np.random.default_rng(0).normal(0, 0.05, dataset.signal.shape).astype("float32")
signal = np.concatenate([0.5 * dataset.signal + noise, dataset.signal], axis=1)
dataset = replace(dataset, signal=signal, leads=("I", "II"))

figure, axes = plt.subplots(2, 1, figsize=(8, 3), sharex=True, sharey=True, layout="constrained")
for axis, lead, values in zip(axes, dataset.leads, dataset.signal[0], strict=True):
    axis.plot(values, color="black", linewidth=0.8)
    axis.set_title(f"lead {lead}", loc="left", fontsize=9)
    axis.set_ylabel("mV")
axes[-1].set_xlabel(f"samples at {dataset.sampling_rate:g} Hz")

# %%
# ``lead_adapter`` trains one weight for each recorded lead, and LoRA beside it.

recipe = ecgtune.recipe("lora", epochs=3, lead_adapter=True)
run = ecgtune.fine_tune(dataset, recipe, model="ecg-fm-tiny", out="runs/leads")
print(run.metrics["window"]["metrics"]["auroc"]["value"])

# %%
# The run predicts windows that have these leads.

print(run.predict(signal[:2]).round(3))

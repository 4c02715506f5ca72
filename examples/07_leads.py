"""
Leads that the encoder does not have
====================================

A trained linear mixer of the recorded leads in front of a one-lead encoder.
"""

import matplotlib.pyplot as plt

import ecgtune

dataset = ecgtune.simulate(windows=200, leads=["I", "II"], seed=7)

figure, axes = plt.subplots(2, 1, figsize=(8, 3), sharex=True, sharey=True, layout="constrained")
for axis, lead, values in zip(axes, dataset.leads, dataset.signal[0], strict=True):
    axis.plot(values, color="black", linewidth=0.8)
    axis.set_title(f"lead {lead}", loc="left", fontsize=9)
    axis.set_ylabel("mV")
axes[-1].set_xlabel(f"samples at {dataset.sampling_rate:g} Hz")

# %%
# ``lead_mode="adapter"`` trains one weight for each recorded lead, and LoRA beside it.

recipe = ecgtune.recipe("lora", epochs=3, lead_mode="adapter")
run = ecgtune.fine_tune(dataset, recipe, model="ecg-fm-tiny", out="runs/leads")
print(run.metrics["window"]["metrics"]["auroc"]["value"])

# %%
# The run predicts windows that have these leads.

print(run.predict(dataset.signal[:2]).round(3))

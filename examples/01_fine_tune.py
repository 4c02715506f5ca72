"""
Fine-tune an encoder
====================

LoRA on simulated windows of sinus rhythm and atrial fibrillation.
"""

import matplotlib.pyplot as plt

import ecgtune

dataset = ecgtune.simulate(windows=200, seed=1)
print(dataset)

# %%
# The classes differ in the regularity of the beats.

figure, axes = plt.subplots(2, 1, figsize=(8, 3), sharex=True, layout="constrained")
for axis, index in zip(axes, (0, 1), strict=True):
    row = int((dataset.label == index).argmax())
    axis.plot(dataset.signal[row, 0], color="black", linewidth=0.8)
    axis.set_title(dataset.classes[index], loc="left", fontsize=9)
    axis.set_ylabel("mV")
axes[-1].set_xlabel(f"samples at {dataset.sampling_rate:g} Hz")

# %%
# A recipe is a method with all its settings. Keyword arguments replace single settings.

recipe = ecgtune.recipe("lora", epochs=3)
run = ecgtune.fine_tune(dataset, recipe, model="ecg-fm-tiny", out="runs/lora")
print(run.metrics["window"]["metrics"]["auroc"])

# %%
# The run folder is complete: it predicts without the training data.

run = ecgtune.load_run("runs/lora")
print(run.predict(dataset.signal[:3]).round(3))

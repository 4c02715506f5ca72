"""
Choose a threshold
==================

A threshold that keeps a sensitivity of 0.95 on the validation split.
"""

import matplotlib.pyplot as plt
import numpy as np

import ecgtune

dataset = ecgtune.simulate(windows=300, seed=6)
for rule in ("fixed", "youden", "sensitivity:0.95"):
    recipe = ecgtune.recipe("probe", epochs=10, threshold=rule)
    run = ecgtune.fine_tune(dataset, recipe, model="ecg-fm-tiny", out=f"runs/{rule.replace(':', '-')}")
    metrics = run.metrics["window"]["metrics"]
    print(
        f"{rule:<17} threshold {run.metrics['threshold']['value']:.2f}, "
        f"sensitivity {metrics['recall']['value']:.2f}, specificity {metrics['specificity']['value']:.2f}"
    )

# %%
# A lower threshold finds more and is wrong more often. Here on new simulated windows.

new = ecgtune.simulate(windows=300, seed=60)
probability = run.predict(new.signal)[:, 1]
thresholds = np.linspace(0, 1, 101)
figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
axis.plot(thresholds, [(probability[new.label == 1] >= value).mean() for value in thresholds], label="sensitivity")
axis.plot(thresholds, [(probability[new.label == 0] < value).mean() for value in thresholds], label="specificity")
axis.axvline(run.threshold, color="gray", linestyle="--", label="threshold of sensitivity:0.95")
axis.set_xlabel("threshold")
axis.legend()

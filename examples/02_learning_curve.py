"""
Learning curve
==============

AUROC of a probe against the fraction of the training labels. The fraction is drawn by patient or recording, and the
test split is the same for all.
"""

import matplotlib.pyplot as plt

import ecgtune

dataset = ecgtune.simulate(windows=400, seed=2)
fractions = [0.05, 0.2, 1.0]
scores = []
for fraction in fractions:
    recipe = ecgtune.recipe("probe", epochs=20, label_fraction=fraction)
    run = ecgtune.fine_tune(dataset, recipe, model="ecg-fm-tiny", out=f"runs/probe-{fraction}")
    scores.append(run.metrics["window"]["metrics"]["auroc"])

figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
value = [score["value"] for score in scores]
below = [score["value"] - score["ci_low"] for score in scores]
above = [score["ci_high"] - score["value"] for score in scores]
axis.errorbar(fractions, value, yerr=(below, above), marker="o", capsize=3)
axis.set_xscale("log")
axis.set_xlabel("fraction of the training labels")
axis.set_ylabel("test AUROC, 95 % interval")

"""
Features of an encoder
======================

``run.embed`` returns the features that the head reads, for clustering, retrieval or a classifier of your own.
"""

import matplotlib.pyplot as plt
import numpy as np

import ecgtune

dataset = ecgtune.simulate(windows=200, seed=4)
run = ecgtune.fine_tune(dataset, ecgtune.recipe("probe", epochs=10), model="ecg-fm-tiny", out="runs/probe")
features = run.embed(dataset.signal)
print(features.shape)

# %%
# The first two principal components.

centred = features - features.mean(0)
_, _, axes = np.linalg.svd(centred, full_matrices=False)
first, second = (centred @ axes[:2].T).T
figure, axis = plt.subplots(figsize=(5, 3.5), layout="constrained")
for index, name in enumerate(dataset.classes):
    chosen = dataset.label == index
    axis.scatter(first[chosen], second[chosen], s=12, label=name)
axis.set_xlabel("first component")
axis.set_ylabel("second component")
axis.legend()

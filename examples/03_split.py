"""
Split without leaks
===================

Windows of one patient stay in one split.
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import ecgtune

dataset = ecgtune.simulate(windows=120, seed=3)
patients = np.repeat([f"p{number:02}" for number in range(30)], 4)  # four windows each
dataset = replace(dataset, group=patients)

split = ecgtune.split_dataset(dataset, fractions=(0.6, 0.2, 0.2), seed=0)
print(split.unit, {name: len(getattr(split, name)) for name in ("train", "val", "test")})

# %%
# No patient is in two splits.

train, test = set(patients[split.train]), set(patients[split.test])
print("patients in both:", train & test)

figure, axis = plt.subplots(figsize=(8, 2), layout="constrained")
for name in ("train", "val", "test"):
    rows = getattr(split, name)
    axis.scatter(rows // 4, rows % 4, marker="s", s=30, label=name)
axis.set_xlabel("patient")
axis.set_ylabel("window")
axis.legend(loc="upper left", bbox_to_anchor=(1, 1))

# %%
# Cross-validation tests each patient once.

for number, fold in enumerate(ecgtune.k_folds(dataset, 3, seed=0)):
    split = ecgtune.split_dataset(fold)
    print(f"fold {number}: {len(set(patients[split.test]))} patients in the test split")

"""
Compare methods
===============

Several methods on one split, with baselines, intervals and paired differences.
"""

from pathlib import Path

import matplotlib.pyplot as plt

import ecgtune

dataset = ecgtune.simulate(windows=400, seed=1)
recipes = [ecgtune.recipe(name, epochs=8) for name in ("probe", "lora", "norm-bias")]
results = ecgtune.compare(dataset, recipes, ecgtune.CompareSettings(seeds=1), out="runs/compare")
print(Path("runs/compare/table.md").read_text())

# %%
# The report, ``runs/compare/report.html``, has such figures. The results are a dictionary.

figure, axis = plt.subplots(figsize=(6, 2.5), layout="constrained")
for row in results["rows"]:
    auroc = row["metrics"]["auroc"]
    axis.plot([auroc["ci_low"], auroc["ci_high"]], [row["title"]] * 2, color="gray")
    axis.plot(auroc["mean"], row["title"], "o", color="black")
axis.set_xlabel("test AUROC, 95 % interval")
axis.invert_yaxis()

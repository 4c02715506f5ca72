"""
Compare methods
===============

Several methods on one split, with baselines, intervals and paired differences.
"""

from pathlib import Path

import ecgtune

dataset = ecgtune.simulate(windows=200, seed=5)
recipes = [ecgtune.recipe(name, epochs=3) for name in ("probe", "lora", "norm-bias")]
ecgtune.compare(dataset, recipes, seeds=1, out="runs/compare")
print(Path("runs/compare/table.md").read_text())

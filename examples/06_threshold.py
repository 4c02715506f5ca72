"""
Choose a threshold
==================

A threshold that keeps a sensitivity of 0.95 on the validation split.
"""

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

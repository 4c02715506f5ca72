"""
Augmentation
============

Random changes of training windows. Each draw depends on seed, epoch and window only, so a resumed training repeats it.
"""

import ecgtune

dataset = ecgtune.simulate(windows=200, seed=10)
for name, settings in {"plain": {"shift": 0.0, "noise": 0.0}, "augmented": {"shift": 0.1, "noise": 0.1}}.items():
    run = ecgtune.fine_tune(
        dataset, ecgtune.recipe("lora", epochs=3, **settings), model="ecg-fm-tiny", out=f"runs/{name}"
    )
    print(name, run.metrics["window"]["metrics"]["auroc"])

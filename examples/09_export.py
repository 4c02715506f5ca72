"""
Predict without PyTorch
=======================

One ONNX file with preprocessing, encoder, method and head. It is compared with its run before it is written.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt

import ecgtune

dataset = ecgtune.simulate(windows=120, seed=9)
run = ecgtune.fine_tune(dataset, ecgtune.recipe("lora", epochs=2), model="ecg-fm-tiny", out="runs/for-export")
ecgtune.export("runs/for-export", "model.onnx")
report = json.loads(Path("model.verification.json").read_text())
print(json.dumps(report, indent=1)[:900])

# %%
# ``ecgtune.runtime`` imports numpy and onnxruntime only.

model = ecgtune.runtime.Model("model.onnx")
exported = model.predict(dataset.signal, dataset.sampling_rate)[:, 1]
trained = run.predict(dataset.signal, precision="fp32")[:, 1]
print(f"largest difference: {abs(exported - trained).max():.1g}")

figure, axis = plt.subplots(figsize=(4, 4), layout="constrained")
axis.plot([0, 1], [0, 1], color="gray", linewidth=0.8)
axis.scatter(trained, exported, s=14)
axis.set_xlabel("probability of the run")
axis.set_ylabel("probability of the exported file")

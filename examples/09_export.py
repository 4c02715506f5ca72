"""
Predict without PyTorch
=======================

One ONNX file with preprocessing, encoder, method and head. It is compared with its run before it is written.
"""

import json
from pathlib import Path

import ecgtune

dataset = ecgtune.simulate(windows=120, seed=9)
run = ecgtune.fine_tune(dataset, ecgtune.recipe("lora", epochs=2), model="ecg-fm-tiny", out="runs/for-export")
ecgtune.export("runs/for-export", "model.onnx")
report = json.loads(Path("model.verification.json").read_text())
print(json.dumps(report, indent=1)[:900])

# %%
# ``ecgtune.runtime`` imports numpy and onnxruntime only.

model = ecgtune.runtime.Model("model.onnx")
print(model.predict(dataset.signal[:3], dataset.sampling_rate).round(3))
print(run.predict(dataset.signal[:3]).round(3))

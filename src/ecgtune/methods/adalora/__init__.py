"""AdaLoRA: low-rank updates whose ranks are allocated during training."""

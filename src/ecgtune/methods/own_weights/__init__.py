"""Full fine-tuning, top-layers tuning, norm and bias tuning."""

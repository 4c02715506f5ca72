"""LoRA, rsLoRA, DoRA, PiSSA and LoRA+."""

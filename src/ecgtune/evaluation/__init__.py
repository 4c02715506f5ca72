"""Predictions into metrics, intervals and comparisons. Pure numpy: no torch, no files."""

"""Predictions into metrics, intervals, paired differences and comparisons. Pure numpy: no torch, no files."""

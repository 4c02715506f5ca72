"""Metrics, intervals and comparisons of predictions, in numpy."""

"""Calibration of probabilities: monotone maps fitted on validation, and measures on test windows."""

"""Hyperparameter search with the same number of trials for every method, on the validation windows."""

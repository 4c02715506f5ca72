"""A run folder into predictions."""

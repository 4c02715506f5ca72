"""Recordings and a table of labels to windows: selection, first pass, cache, report."""

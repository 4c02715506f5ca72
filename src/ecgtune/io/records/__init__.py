"""Recordings and a table of labels into windows: the first pass, its cache, and what it met."""

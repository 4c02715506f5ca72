"""`ecgtune auto`: from files to a model, one module per step, each from files to files."""

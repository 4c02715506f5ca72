"""Windows of ECGs as values, and pure functions on them."""

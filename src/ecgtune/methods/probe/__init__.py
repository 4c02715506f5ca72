"""Linear probe on the last tokens of the encoder, or on a learned mix of all depths."""

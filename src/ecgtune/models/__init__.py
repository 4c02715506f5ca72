"""A name or a checkpoint in, an encoder with a head out, every tensor accounted for."""

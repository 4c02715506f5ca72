"""OFT: learned rotations of the inputs of frozen layers."""

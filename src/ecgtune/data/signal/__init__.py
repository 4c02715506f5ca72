"""What is done to a whole recording on its way into windows: pure functions from arrays (leads, samples) to arrays."""

"""The one loop and the run folder that it fills."""

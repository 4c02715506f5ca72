"""Recordings without labels in, an encoder that knows them out, through the one loop."""

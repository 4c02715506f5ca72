"""Conformance checks for encoders, methods and readers, the ones that this package runs on its own."""

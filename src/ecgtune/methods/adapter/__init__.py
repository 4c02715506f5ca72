"""Bottleneck adapters, as a tuner for peft."""

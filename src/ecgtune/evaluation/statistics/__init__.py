"""Tests, estimates and sample sizes for predictions of the same recordings or patients."""

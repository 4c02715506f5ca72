"""Ladder side-tuning: a narrow network beside a frozen encoder."""

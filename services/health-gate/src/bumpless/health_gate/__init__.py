"""Judges a batch by its metrics against a baseline, and says so once."""

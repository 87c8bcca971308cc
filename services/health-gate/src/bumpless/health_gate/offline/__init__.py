"""Judging without a rollout: recorded traces, simulated traffic, and how long a bake has to be."""

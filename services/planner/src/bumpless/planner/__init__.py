"""Turns a release and an observed fleet into a plan, and owns forward rollouts."""

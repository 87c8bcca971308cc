"""Rollouts in a browser: what anybody may read of the broker, and the orders that people give."""

"""Alerts: told to people until somebody takes them up, and to rollouts that cause them."""

"""Switches programs that do not keep the service contract, by hooks."""

"""Ports of the executor on the real machine: processes, artifacts, broker, and the wrapper that obeys drills."""

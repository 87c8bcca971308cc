"""Samples that a Prometheus scraped."""

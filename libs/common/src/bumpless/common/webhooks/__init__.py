"""Webhooks, out and in: what is posted to others and how, and how either side proves who it is."""

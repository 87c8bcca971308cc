"""Header fields the gateway adds to every answer."""

ADDED = {"X-Content-Type-Options": "nosniff"}

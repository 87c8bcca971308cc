"""Header fields the gateway adds to every answer."""

from shop import VERSION

ADDED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Gateway-Version": VERSION,
}

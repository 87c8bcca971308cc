"""Events for other tools: the delivery vocabulary out, `artifact.published` in, webhooks both ways."""

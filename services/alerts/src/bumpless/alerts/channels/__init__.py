"""Ways to tell somebody: one port, and what implements it."""

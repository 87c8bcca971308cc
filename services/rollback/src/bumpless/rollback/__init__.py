"""Takes a rollout back by its reverse plan, whether or not the planner is alive."""

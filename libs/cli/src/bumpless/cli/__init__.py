"""The `bumpless` command: the whole control plane on one machine, and everything a person does with it."""

"""The executor: owns what runs on one node. Takes signed commands, switches components, says what it observes."""

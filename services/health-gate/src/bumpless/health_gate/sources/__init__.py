"""Where samples come from. Each module is one `ports.MetricSource`."""

"""Components as systemd units: one `.socket` for every listener, one generated `.service` for every instance."""

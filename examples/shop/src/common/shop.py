"""What the components of the shop share: where things are and which version this tree is."""

import os
from pathlib import Path

TREE = Path(__file__).resolve().parent
VERSION = (TREE / "VERSION").read_text().strip() if (TREE / "VERSION").exists() else "dev"

PORTS = {"database": 7101, "cache": 7102, "api": 7103, "gateway": 7104}


def listen(component: str) -> str:
    """Where a component listens when it is started by hand."""
    return os.environ.get("LISTEN", f"127.0.0.1:{PORTS[component]}")


def peers(component: str) -> str:
    """The `host:port[,host:port]` of another component."""
    return os.environ.get(component.upper(), f"127.0.0.1:{PORTS[component]}")

"""Which drivers a node has: the one place where they are put together."""

from __future__ import annotations

from pathlib import Path

from bumpless.common.model.release import Driver
from bumpless.executor.drivers.by_kind import SwitchByKind
from bumpless.executor.drivers.native import NativeSwitch


def switch_of_node(node: str, run_dir: Path, components_dir: Path) -> SwitchByKind:
    """Every driver that can work here. The directories are this node's alone."""
    return SwitchByKind({Driver.NATIVE: NativeSwitch(node, run_dir, components_dir)})

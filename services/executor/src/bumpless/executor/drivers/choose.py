"""Which drivers a node has: the one place where they are put together."""

from __future__ import annotations

from pathlib import Path

from bumpless.common.model.release import Driver
from bumpless.executor.drivers.by_kind import SwitchByKind
from bumpless.executor.drivers.hooks.switch import HooksSwitch
from bumpless.executor.drivers.itself import ItselfSwitch
from bumpless.executor.drivers.kept import KeptSockets
from bumpless.executor.drivers.native import NativeSwitch
from bumpless.executor.drivers.proxied import ProxiedSwitch
from bumpless.executor.drivers.systemd.manager import usable
from bumpless.executor.drivers.systemd.switch import UNIT_DIR, SystemdSwitch
from bumpless.executor.launch import Launch
from bumpless.executor.ports import ProcessSwitch


def switch_of_node(
    node: str,
    run_dir: Path,
    components_dir: Path,
    kept: KeptSockets,
    launched: Launch,
    unit_dir: Path = UNIT_DIR,
) -> ProcessSwitch:
    """Every driver that can work here, behind a proxy where a release says so.

    The directories are this node's alone, except for `unit_dir`.
    """
    drivers: dict[Driver, ProcessSwitch] = {
        Driver.NATIVE: NativeSwitch(node, run_dir, components_dir, kept),
        Driver.HOOKS: HooksSwitch(node, run_dir, components_dir),
        Driver.EXECUTOR: ItselfSwitch(launched),
    }
    if usable(unit_dir):
        drivers[Driver.SYSTEMD] = SystemdSwitch(node, components_dir, unit_dir)
    return ProxiedSwitch(SwitchByKind(drivers), node)

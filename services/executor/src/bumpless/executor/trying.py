"""Tries a probe for one component of one node: what only the node knows is filled in, and commands get their place."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from bumpless.common.model.probe import CommandProbe, Probe
from bumpless.executor.drivers import probing, scenarios
from bumpless.executor.drivers.environment import base as environment
from bumpless.executor.drivers.probing import Outcome
from bumpless.executor.layout import Layout
from bumpless.executor.record import Instance
from bumpless.executor.starter import Starter


class Trying:
    """See `prober.Tries`."""

    def __init__(self, component: str, node: str, layout: Layout, starter: Starter) -> None:
        self._component, self._node = component, node
        self._layout, self._starter = layout, starter

    async def __call__(self, probe: Probe, instance: Instance) -> Mapping[str, Outcome]:
        run, limit = instance.target.run, probe.timeout_s
        if probe.links is not None:
            addresses = probe.links.addresses
            found = await asyncio.gather(*(probing.tcp(address, limit) for address in addresses))
            return dict(zip(addresses, found, strict=True))
        if probe.http is not None:
            (url,) = self._starter.fill((probe.http.url,), run)
            return {"": await probing.http(probe.http.model_copy(update={"url": url}), limit)}
        if probe.scenario is not None:
            (base,) = self._starter.fill((probe.scenario.base,), run)
            return {"": await scenarios.play(probe.scenario.model_copy(update={"base": base}), limit)}
        if probe.tcp is not None:
            return {"": await probing.tcp(self._starter.fill((probe.tcp.address,), run)[0], limit)}
        assert probe.command is not None
        return {"": await self._command(probe.name, probe.command, instance, limit)}

    async def _command(self, name: str, probe: CommandProbe, instance: Instance, timeout_s: float) -> Outcome:
        target = instance.target
        env = {
            **environment(),
            **self._starter.filled(target.run).env,
            "BUMPLESS_PROBE": name,
            "BUMPLESS_NODE": self._node,
            "BUMPLESS_COMPONENT": self._component,
            "BUMPLESS_VERSION": target.version,
            "BUMPLESS_DIGEST": target.root,
            "BUMPLESS_INSTANCE": instance.id,
            "BUMPLESS_ADMIN_SOCKET": instance.admin,
            "BUMPLESS_STATE_DIR": os.fspath(self._layout.state.resolve()),
        }
        argv = self._starter.fill(probe.argv, target.run)
        directory = self._layout.version(target.root).resolve()
        return await probing.command(probe, argv, env, directory, timeout_s, self._log(name))

    def _log(self, name: str) -> Path:
        return self._layout.log / "probes" / f"{name}.log"

"""The peers of a gate, less those that the stream of alerts shows in trouble when it was opened."""

from __future__ import annotations

from bumpless.common.contract.alerts import AlertChanged, SilenceChanged
from bumpless.common.contract.base import MessageId
from bumpless.common.contract.commands import OpenGate
from bumpless.common.contract.subjects import Stream, subject_for
from bumpless.common.errors import Retryable
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.reading import readable
from bumpless.health_gate.peers import without_troubled

log = get_logger(__name__)
GATES_KEPT = 256


class AlertedPeers:
    """See `ports.PeerChoice`. A gate's peers are looked up once, and again after a restart, with the same answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._chosen: dict[MessageId, OpenGate] = {}

    async def chosen(self, gate: OpenGate) -> OpenGate | None:
        found = self._chosen.get(gate.gate)
        if found is not None:
            return found
        wanted = [subject_for(AlertChanged), subject_for(SilenceChanged)]
        try:
            items = await self._connection.snapshot(Stream.ALR, wanted, history=True)
        except Retryable:
            return None
        found = without_troubled(gate, readable(items, AlertChanged), readable(items, SilenceChanged))
        left = sorted({member.node for member in gate.control} - {member.node for member in found.control})
        if left:
            log.info("peers left out: an alert fires or a silence holds", gate=gate.gate, nodes=left)
        while len(self._chosen) >= GATES_KEPT:
            del self._chosen[next(iter(self._chosen))]
        self._chosen[gate.gate] = found
        return found

"""From bytes to a command this node may obey. Signed and addressed to this node, or it is set aside.

Nothing an unsigned message says is answered to anybody: whoever can write to the broker could else make a rollout
fail by naming it. What is refused is logged and parked, once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from datetime import datetime

from bumpless.common.artifacts.errors import Untrusted
from bumpless.common.artifacts.signing import Role, TrustStore
from bumpless.common.contract import wire
from bumpless.common.contract.base import derive_id
from bumpless.common.contract.commands import ApplyComponent, SetAvailability, StageComponent
from bumpless.common.contract.envelope import COMMAND_TYPE, Envelope
from bumpless.common.contract.events import MessageParked
from bumpless.common.contract.subjects import NODE_TOKEN, Stream
from bumpless.common.errors import Refused
from bumpless.common.shell.broker import Received
from bumpless.executor.record import Command

REMEMBERED = 1024
"""Bodies that were parked; the standing value of a subject is read again every minute."""
PARKED_BODY = 64 << 10


class Intake:
    """Verifies what arrives for one node."""

    def __init__(self, node: str, trust: TrustStore) -> None:
        self._node, self._trust = node, trust
        self._parked: OrderedDict[str, None] = OrderedDict()

    def read(self, received: Received) -> Command | SetAvailability:
        """The command in `received`: its signature is checked over the bytes as they came, then they are parsed once.

        Raises:
            Refused: it is no envelope, not signed for deploying, no command, or for another node or component.
        """
        try:
            envelope = Envelope.from_bytes(received.data)
            payload = self._trust.verify(envelope, payload_type=COMMAND_TYPE, role=Role.DEPLOY)
            command = wire.decode(payload)
        except Untrusted as error:
            raise Refused(
                error.expected, error.found, "sign it with a deploy key of the trust store"
            ) from error
        except (ValueError, RecursionError) as error:
            raise Refused("a signed node command", str(error)) from error
        if not isinstance(command, StageComponent | ApplyComponent | SetAvailability):
            raise Refused("a signed node command", wire.type_of(command))
        # The signer wrote the address; the subject is only where somebody put it.
        addressed = received.subject.split(".")[1:]
        component = NODE_TOKEN if isinstance(command, SetAvailability) else command.component
        if [command.node, component] != addressed or command.node != self._node:
            raise Refused(
                f"a command for node {self._node} on {received.subject}",
                f"one for {command.node}/{component}",
                "somebody moved a signed command to another subject",
            )
        return command

    def park(self, received: Received, reason: str, now: datetime) -> MessageParked | None:
        """The message to keep for a person; None: it was kept before."""
        digest = hashlib.sha256(received.data).hexdigest()
        key = f"{received.subject.split('.', 1)[-1]} {digest}"
        if key in self._parked:
            return None
        self._parked[key] = None
        if len(self._parked) > REMEMBERED:
            self._parked.popitem(last=False)
        return MessageParked(
            id=derive_id("executor", self._node, "parked", key),
            at=now,
            service="executor",
            stream=Stream.CMD.value,
            subject=received.subject,
            stream_sequence=received.sequence,
            reason=reason,
            headers=dict(received.headers),
            body=received.data[:PARKED_BODY],
        )

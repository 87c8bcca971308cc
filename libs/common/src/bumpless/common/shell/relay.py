"""The way out of the engine: log entries by compare-and-set, node commands signed and in atomic batches.

Publishing the same messages again changes nothing: events carry their id, commands are skipped where the standing
command is as new or newer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.signing import Role, SigningKey, TrustStore
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import Message
from bumpless.common.contract.commands import ApplyBatch, NodeCommand, StageArtifacts
from bumpless.common.contract.envelope import COMMAND_TYPE, Envelope
from bumpless.common.contract.events import RolloutAdvanced
from bumpless.common.contract.subjects import Stream
from bumpless.common.engine.expand import node_commands
from bumpless.common.errors import Retryable
from bumpless.common.model.plan import Plan
from bumpless.common.shell import tracing
from bumpless.common.shell.broker import BATCH_LIMIT, Connection, Headers, Received, StaleSequence
from bumpless.common.shell.kind import Still
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.places import Places

log = get_logger(__name__)

GENERATION_HEADER = "Bumpless-Generation"
SEQUENCE_HEADER = "Bumpless-Sequence"
READ_AT_ONCE = 500


class Relay:
    """Publishes for one service. `plans` finds a plan by its hash; `key` signs commands (None: sends none).

    `places` begins the logs of rollouts; None: they begin whoever else is at work. `trust` says whose standing commands
    count as newer than ours; None: only those that `key` signed.
    """

    def __init__(
        self,
        connection: Connection,
        source: str,
        *,
        key: SigningKey | None = None,
        plans: Callable[[str], Awaitable[Plan]] | None = None,
        trust: TrustStore | None = None,
        places: Places | None = None,
    ) -> None:
        self._connection = connection
        self._source = source
        self._key = key
        self._plans = plans
        self._places = places
        self._trust = trust or (TrustStore() if key is None else TrustStore.of(deploy=key.public))

    async def log(self, entry: Message, after: int, still: Still | None = None) -> int:
        if (
            after == 0
            and self._places is not None
            and isinstance(entry, RolloutAdvanced)
            and entry.version == 1
        ):
            return await self._places.begin(entry, self._source, still)
        return await self._connection.publish(entry, source=self._source, expect_last=after)

    async def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if isinstance(message, StageArtifacts | ApplyBatch):
                if self._plans is None:
                    raise Retryable("no plans to expand a command with")
                with tracing.commanded(message):
                    await self._command(node_commands(await self._plans(message.plan_hash), message))
            else:
                await self._connection.publish(message, source=self._source)

    async def _command(self, commands: Sequence[NodeCommand]) -> None:
        for start in range(0, len(commands), BATCH_LIMIT):
            chunk = commands[start : start + BATCH_LIMIT]
            for _ in range(5):
                try:
                    await self._command_once(chunk)
                    break
                except StaleSequence:
                    continue
            else:
                raise Retryable("commands of another writer keep arriving")

    async def _command_once(self, commands: Sequence[NodeCommand]) -> None:
        wanted = [subjects.subject_of(command) for command in commands]
        standing: dict[str, Received] = {}
        for start in range(0, len(wanted), READ_AT_ONCE):
            for item in await self._connection.last(Stream.CMD, wanted[start : start + READ_AT_ONCE]):
                standing[item.subject] = item
        items: list[tuple[str, bytes, Headers]] = []
        for subject, command in zip(wanted, commands, strict=True):
            found = standing.get(subject)
            if found is not None and self._as_new(found, command):
                continue
            after = 0 if found is None else found.sequence
            items.append((subject, self._signed(command), self._headers(command, after)))
        if items:
            await self._connection.publish_batch(items)

    def _as_new(self, found: Received, command: NodeCommand) -> bool:
        """Whether what stands is `command` or a newer one. The headers are only a hint: nobody signed them."""
        number = (command.generation, command.sequence)
        if _hinted(found) < number:
            return False
        try:
            envelope = Envelope.from_bytes(found.data)
            payload = self._trust.verify(envelope, payload_type=COMMAND_TYPE, role=Role.DEPLOY)
            standing = wire.decode(payload)
        except (ArtifactError, ValueError) as error:
            log.warning("replacing what is no command of ours", subject=found.subject, reason=str(error))
            return False
        return (
            isinstance(standing, NodeCommand)
            and (standing.node, standing.component) == (command.node, command.component)
            and (standing.generation, standing.sequence) >= number
        )

    def _signed(self, command: NodeCommand) -> bytes:
        if self._key is None:
            raise Retryable("no key to sign commands with")
        return self._key.sign(COMMAND_TYPE, wire.encode(command)).to_bytes()

    def _headers(self, command: NodeCommand, after: int) -> Headers:
        return {
            **wire.headers(command, self._source),
            **tracing.headers(command, self._source),
            "content-type": COMMAND_TYPE,
            GENERATION_HEADER: str(command.generation),
            SEQUENCE_HEADER: str(command.sequence),
            "Nats-Expected-Last-Subject-Sequence": str(after),
        }


def _hinted(found: Received) -> tuple[int, int]:
    generation, sequence = (found.headers.get(name, "") for name in (GENERATION_HEADER, SEQUENCE_HEADER))
    if not (generation.isdecimal() and sequence.isdecimal()):
        return (0, 0)
    return int(generation), int(sequence)

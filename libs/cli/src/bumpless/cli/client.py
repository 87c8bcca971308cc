"""A person's side of the wire: announce, command and be answered, read the fleet, follow a rollout to its end."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from bumpless.cli.watched import Watched, changes
from bumpless.common.access.entry import Entry
from bumpless.common.artifacts.signing import Role, TrustStore
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.artifacts.stores.open_store import open_store
from bumpless.common.artifacts.stores.store import BlobReader
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import Message, RolloutId
from bumpless.common.contract.commands import NodeOrder, OperatorCommand
from bumpless.common.contract.envelope import RELEASE_TYPE, Envelope
from bumpless.common.contract.plan_answer import PlanAnswer
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Refused, Retryable
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.plan import Direction
from bumpless.common.model.release import Release
from bumpless.common.model.rollout import RolloutStatus
from bumpless.common.shell.answers import ANSWER_S, answer_to
from bumpless.common.shell.broker import Connection, Received
from bumpless.common.shell.reading import read, readable
from bumpless.common.shell.rollouts import Plans, attempt_of


def whoami() -> str:
    """Who gives a command, for the log."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


class Client:
    """Commands and questions over one connection; `artifacts` is the store that packages go to."""

    def __init__(self, connection: Connection, artifacts: BlobReader | None = None) -> None:
        self.connection = connection
        self.artifacts = artifacts or JetStreamBlobs(connection.js, subjects.ARTIFACT_BUCKET)

    async def fleet(self) -> Fleet:
        items = await self.connection.snapshot(Stream.INV, subjects.subject_for(e.NodeObserved))
        nodes = [observed.node for observed in readable(items, e.NodeObserved)]
        return Fleet(nodes=tuple(sorted(nodes, key=lambda node: node.name)))

    async def release(self, product: str, version: str | None, trust: TrustStore) -> Release:
        """The release of that version that was announced last, or the last of all; its signature is checked.

        Raises: Refused, ArtifactError.
        """
        subject = subjects.subject_for(e.ReleaseAnnounced, product=product)
        items = await self.connection.snapshot(Stream.REL, subject, history=True)
        seen: list[str] = []
        for message in reversed(list(readable(items, e.ReleaseAnnounced))):
            envelope = Envelope.from_bytes(message.envelope.encode())
            payload = trust.verify(envelope, payload_type=RELEASE_TYPE, role=Role.RELEASE)
            found = Release.model_validate_json(payload)
            if version in (None, found.version):
                return found
            seen.append(found.version)
        known = ", ".join(dict.fromkeys(seen)) or "none"
        raise Refused(f"a published release of {product} ({known})", version or "none")

    async def plan(self, announcement: e.ReleaseAnnounced, timeout_s: float = 30) -> PlanAnswer:
        """The planner's answer to a dry run; a large plan is read from where the planner put it."""
        raw = await self.connection.request(subjects.API_PLAN, wire.encode(announcement), timeout_s)
        answer = PlanAnswer.model_validate_json(raw)
        if answer.plan is None and answer.plan_hash is not None:
            plans = Plans(JetStreamBlobs(self.connection.js, subjects.SHOWN_BUCKET))
            answer = answer.model_copy(update={"plan": await plans.get(answer.plan_hash)})
        return answer

    async def attempt(self, product: str, digest: str) -> int:
        return await attempt_of(self.connection, product, digest)

    async def planned(self, rollout: RolloutId) -> e.RolloutPlanned | e.ReleaseRefused:
        """The planner's one answer to an announcement.

        Raises:
            Retryable: none in time; the announcement is kept and will be answered when a planner is back.
        """
        wanted = [
            subjects.subject_for(kind, rollout=rollout) for kind in (e.RolloutPlanned, e.ReleaseRefused)
        ]
        try:
            async with asyncio.timeout(ANSWER_S):
                async for item in self.connection.follow(Stream.RO, wanted, last_values=True):
                    message = read(item)
                    if isinstance(message, e.RolloutPlanned | e.ReleaseRefused):
                        return message
        except TimeoutError:
            pass
        raise Retryable(
            f"expected an answer from the planner within {ANSWER_S:g} s, found none; the release is announced and "
            f"will be planned when it is back: `bumpless rollout watch {rollout}` follows it"
        )

    async def rollouts(self) -> list[e.RolloutProgressed]:
        """The last progress of every rollout and revert, oldest first; from the log where progress was lost."""
        items = await self.connection.snapshot(Stream.PROG, subjects.subject_for(e.RolloutProgressed))
        found = {m.rollout: m for m in readable(items, e.RolloutProgressed)}
        planned = await self.connection.snapshot(
            Stream.RO, subjects.subject_for(e.RolloutPlanned), history=True
        )
        ended = await self.connection.snapshot(Stream.RO, subjects.subject_for(e.RolloutAdvanced))
        status = {m.rollout: m for m in readable(ended, e.RolloutAdvanced)}
        order: list[e.RolloutProgressed] = []
        for message in readable(planned, e.RolloutPlanned):
            known = found.get(message.rollout)
            last = status.get(message.rollout)
            if known is None:
                known = e.RolloutProgressed(
                    id=message.id,
                    at=message.at,
                    rollout=message.rollout,
                    of=message.of,
                    product=message.product,
                    release_version=message.release_version,
                    direction=message.direction,
                    status="planned" if last is None else last.status,
                    since=message.at if last is None else last.at,
                )
            elif last is not None and last.at > known.at:
                known = known.model_copy(update={"status": last.status, "since": last.at, "until": None})
            order.append(known)
        return order

    async def find(self, given: str | None) -> RolloutId:
        """The rollout meant: by its id or the start of it; without one, the latest forward rollout.

        Raises:
            Refused: none, or more than one.
        """
        known = [r for r in await self.rollouts() if given is not None or r.direction is Direction.FORWARD]
        if given is None:
            if not known:
                raise Refused("a rollout", "none yet", "publish a release first")
            return known[-1].rollout
        found = [r.rollout for r in known if r.rollout.startswith(given)]
        if len(found) != 1:
            names = ", ".join(r.rollout for r in known[-5:]) or "none"
            raise Refused(
                f"one rollout whose id starts with {given}", f"{len(found)}", f"the latest are: {names}"
            )
        return found[0]

    async def history(self, rollout: str) -> list[Received]:
        """Everything that was logged about a rollout."""
        return await self.connection.snapshot(Stream.RO, subjects.rollout_subjects(rollout), history=True)

    async def command(self, command: OperatorCommand) -> e.CommandAnswered:
        """Give a command and wait for its one answer.

        Raises:
            Retryable: nobody answered in time; the command is kept and will be answered when its owner is back.
        """
        subject = subjects.subject_for(e.CommandAnswered, rollout=command.rollout)
        return await answer_to(
            self.connection, command, command.to, e.CommandAnswered, subject, "`bumpless status`"
        )

    async def order(self, order: NodeOrder) -> e.NodeOrderAnswered:
        """Give an order about a node and wait for its one answer. Raises: as `command`."""
        subject = subjects.subject_for(e.NodeOrderAnswered, node=order.node)
        return await answer_to(
            self.connection, order, order.to, e.NodeOrderAnswered, subject, "`bumpless fleet list`"
        )

    async def watch(
        self, rollout: RolloutId, earlier: frozenset[RolloutId] | None = None
    ) -> AsyncGenerator[tuple[Watched, Message], None]:
        """Every change of a rollout and of its reverts, from now's picture on, until it has ended (see `Watched`)."""
        lost = [p for p in await self.rollouts() if p.version == 0 and p.status != RolloutStatus.FAILED]
        async with aclosing(changes(self.connection, rollout, earlier, lost)) as found:
            async for watched, message in found:
                yield watched, message


@asynccontextmanager
async def client(
    broker: str | Entry, timeout_s: float = 5, store: str | None = None
) -> AsyncIterator[Client]:
    """A client, closed afterwards. `store` is the URL of the blob store; else BUMPLESS_STORE_URL, else the broker's.

    BUMPLESS_STORE_CA names a file with the certificate authorities for it.

    Raises:
        Refused: the store's URL is of no known form.
        Retryable: no broker there.
    """
    connection = await Connection.connect(broker, name="bumpless-cli", connect_timeout_s=timeout_s)
    try:
        ca_file = os.environ.get("BUMPLESS_STORE_CA")
        artifacts = open_store(
            store or os.environ.get("BUMPLESS_STORE_URL") or f"jetstream:{subjects.ARTIFACT_BUCKET}",
            js=connection.js,
            ca_file=Path(ca_file) if ca_file else None,
        )
        try:
            yield Client(connection, artifacts)
        finally:
            await artifacts.close()
    finally:
        await connection.close()

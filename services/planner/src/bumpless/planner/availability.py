"""Orders about nodes: an operator takes one out of service and back. What is commanded, and what is answered.

The standing word of a node is the last message on its subject, so nothing is stored here. Its number is above every
one that the node or the broker knows of; an order that is delivered again is known by its id.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.signing import Role, SigningKey, TrustStore
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import Message, derive_id
from bumpless.common.contract.commands import DrainNode, SetAvailability, UndrainNode
from bumpless.common.contract.envelope import COMMAND_TYPE, Envelope
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Retryable
from bumpless.common.model.fleet import Drain, Fleet, Node
from bumpless.common.model.release import ITSELF
from bumpless.common.shell.broker import Connection, StaleSequence
from bumpless.common.shell.log import get_logger
from bumpless.planner.placement import SEEN_WITHIN_S, listed

log = get_logger(__name__)

Order = DrainNode | UndrainNode
REMEMBERED = 16
"""Orders that a word names: a redelivery comes within minutes."""
TRIES = 5


@dataclass(frozen=True)
class Answer:
    """What is said to the operator, and the word that follows; None: what stands is what is wanted, or it is refused."""

    accepted: bool
    text: str
    word: SetAvailability | None = None


def decide(order: Order, standing: SetAvailability | None, fleet: Fleet, now: datetime) -> Answer:
    """What `order` makes of the `standing` word of its node. Pure."""
    node = fleet.node(order.node)
    if node is None:
        known = listed([n.name for n in fleet.nodes]) or "none"
        return Answer(False, f"expected a node of the fleet, found {order.node}; known are {known}")
    if standing is not None and order.id in standing.orders:
        return Answer(True, f"{order.node}: obeyed before")
    drain = _in_force(standing, now) or node.drain
    if isinstance(order, UndrainNode):
        if drain is None:
            return Answer(True, f"{order.node} is in service")
        return Answer(True, f"{order.node} comes back into service", _word(order, standing, node, now))
    alone = [] if drain is not None or order.force else served_only_by(node, fleet, now)
    if alone:
        return Answer(
            False,
            f"expected another node that serves what {order.node} does, found none for {', '.join(alone)}; "
            "bring one up first, or drain it all the same with --force",
        )
    word = _word(order, standing, node, now, drain)
    silent = now - node.observed_at > timedelta(seconds=SEEN_WITHIN_S)
    later = "; its executor is silent, and will obey when it is back" if silent else ""
    return Answer(True, f"{order.node}: {_drain(word)}{later}", word)


def served_only_by(node: Node, fleet: Fleet, now: datetime) -> list[str]:
    """The components of `node` that no other node would serve."""

    def serves(other: Node, name: str) -> bool:
        found = other.components.get(name)
        seen = now - other.observed_at <= timedelta(seconds=SEEN_WITHIN_S)
        return found is not None and found.instances > 0 and seen and other.drain is None

    mine = [name for name in sorted(node.components) if name != ITSELF and serves(node, name)]
    others = [other for other in fleet.nodes if other.name != node.name]
    return [name for name in mine if not any(serves(other, name) for other in others)]


def _word(
    order: Order,
    standing: SetAvailability | None,
    node: Node,
    now: datetime,
    drain: Drain | None = None,
) -> SetAvailability:
    """The next word about `node`. A drain that is renewed keeps its beginning."""
    number = max(0 if standing is None else standing.sequence, node.ordered) + 1
    for_s = order.for_s if isinstance(order, DrainNode) else None
    return SetAvailability(
        id=derive_id(order.id, "set-availability"),
        at=now,
        cause=order.id,
        node=order.node,
        sequence=number,
        drained=isinstance(order, DrainNode),
        by=order.by,
        reason=order.reason,
        since=now if drain is None else drain.since,
        until=None if for_s is None else now + timedelta(seconds=for_s),
        orders=(*(() if standing is None else standing.orders[1 - REMEMBERED :]), order.id),
    )


def _drain(word: SetAvailability) -> Drain:
    return Drain(by=word.by, reason=word.reason, since=word.since, until=word.until)


def _in_force(word: SetAvailability | None, now: datetime) -> Drain | None:
    over = word is None or not word.drained or (word.until is not None and word.until <= now)
    return None if word is None or over else _drain(word)


class NodeOrders:
    """Obeys orders, each once, and answers them. `key` signs what is commanded."""

    def __init__(self, connection: Connection, key: SigningKey, trust: TrustStore) -> None:
        self._connection, self._key, self._trust = connection, key, trust

    async def obey(self, order: Order, fleet: Fleet, now: datetime) -> None:
        """Returns once the word stands in the broker and the order is answered. Raises: Retryable."""
        for _ in range(TRIES):
            standing, after = await self._standing(order.node)
            answer = decide(order, standing, fleet, now)
            try:
                if answer.word is not None:
                    await self._publish(answer.word, after)
                break
            except StaleSequence:
                continue
        else:
            raise Retryable("words of another writer keep arriving")
        log.info("node order", node=order.node, order=order.id, accepted=answer.accepted, text=answer.text)
        await self._connection.publish(answered(order, answer, now), source="planner")

    async def _standing(self, node: str) -> tuple[SetAvailability | None, int]:
        """The last word and its place; None where it is nobody's whom we trust."""
        subject = subjects.subject_for(SetAvailability, node=node)
        found = await self._connection.last(Stream.CMD, subject)
        if not found:
            return None, 0
        try:
            envelope = Envelope.from_bytes(found[-1].data)
            payload = self._trust.verify(envelope, payload_type=COMMAND_TYPE, role=Role.DEPLOY)
            word = wire.decode(payload)
        except (ArtifactError, ValueError) as error:
            log.warning("replacing what is no word of ours", subject=subject, reason=str(error))
            return None, found[-1].sequence
        mine = isinstance(word, SetAvailability) and word.node == node
        return word if mine and isinstance(word, SetAvailability) else None, found[-1].sequence

    async def _publish(self, word: SetAvailability, after: int) -> None:
        headers = {
            **wire.headers(word, "planner"),
            "content-type": COMMAND_TYPE,
            "Nats-Expected-Last-Subject-Sequence": str(after),
        }
        body = self._key.sign(COMMAND_TYPE, wire.encode(word)).to_bytes()
        await self._connection.publish_batch([(subjects.subject_of(word), body, headers)])


def answered(order: Order, answer: Answer, now: datetime) -> Message:
    """The one answer to `order`: given again, it has the same id."""
    return e.NodeOrderAnswered(
        id=derive_id(order.id, "answer"),
        at=now,
        cause=order.id,
        node=order.node,
        command=order.type,
        accepted=answer.accepted,
        text=answer.text,
    )

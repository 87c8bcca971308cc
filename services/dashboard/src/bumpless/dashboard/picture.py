"""What is known of fleet and rollouts, from messages, kept as topics for browsers. Pure, and bounded.

Topics: `rollouts` (a row for each), `fleet` (a row for each node), and one for each of the latest rollouts, by its id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message, PlanHash
from bumpless.common.model.fleet import Node
from bumpless.common.model.rollout import BatchStatus, RolloutStatus
from bumpless.common.model.verdict import Curve, Evidence
from bumpless.dashboard.topic import Topic
from bumpless.dashboard.wording import event, stamp, why

T = TypeVar("T")
ROLLOUTS, FLEET = "rollouts", "fleet"
KEPT_ROWS = 500
KEPT_DETAILS = 24
KEPT_EVENTS = 500
KEPT_LOOKS = 600
"""Rows of rollouts, rollouts with all that is known of them, and of each: events, and looks of all its gates."""
CURVE_POINTS = 300


class Picture:
    def __init__(self) -> None:
        self.topics: dict[str, Topic] = {ROLLOUTS: Topic(), FLEET: Topic()}
        self._progress: dict[str, e.RolloutProgressed] = {}
        self._orders: dict[str, c.OperatorCommand] = {}
        self._answers: dict[str, e.CommandAnswered] = {}
        self._acts: dict[str, dict[str, Any]] = {}
        self._reverts: dict[str, str] = {}
        self._touched: dict[str, None] = {}
        self._looks = 0
        self._first = 0

    # what came in

    def take(self, message: Message) -> None:
        match message:
            case e.NodeObserved():
                self.topics[FLEET].set(message.node.name, _node_row(message.node))
            case e.RolloutProgressed():
                self._progressed(message)
            case e.StepProgressed():
                key = f"s/{message.node}/{message.component}"
                value = [message.state, message.share, message.detail, stamp(message.at)]
                self._details(message.rollout).set(key, value)
            case e.GateProgressed():
                self._gate(message.rollout, message.batch, message, message.evidence)
            case _:
                self._logged(message)

    def outlined(self, rollout: str, found: dict[str, Any]) -> None:
        """The outline of the rollout's plan was read."""
        self._details(rollout).set("outline", found)

    def wanting(self) -> list[tuple[str, PlanHash]]:
        """The rollouts whose plan is known by its hash only."""
        found = []
        for rollout in self._touched:
            topic = self.topics[rollout]
            planned = topic.get("planned")
            if planned is not None and topic.get("outline") is None:
                found.append((rollout, PlanHash(planned["plan_hash"])))
        return found

    def progress(self, rollout: str) -> e.RolloutProgressed | None:
        return self._progress.get(rollout)

    # rollouts

    def _progressed(self, message: e.RolloutProgressed) -> None:
        known = self._progress.get(message.rollout)
        if known is not None and known.version > message.version:
            return
        self._progress.pop(message.rollout, None)
        self._progress[message.rollout] = message
        self._batches(message, {} if known is None else known.batches)
        self._show(message.rollout)
        while len(self._progress) > KEPT_ROWS:
            oldest = next(iter(self._progress))
            del self._progress[oldest]
            self.topics[ROLLOUTS].set(oldest, None)
            self._forget(oldest)

    def _show(self, rollout: str) -> None:
        progress = self._progress.get(rollout)
        if progress is None:
            return
        topic = self._details(rollout)
        planned = topic.get("planned") or {}
        row = {
            "id": rollout,
            "of": progress.of,
            "product": progress.product,
            "version": progress.release_version,
            "direction": progress.direction,
            "status": progress.status,
            "since": stamp(progress.since),
            "until": None if progress.until is None else stamp(progress.until),
            "reason": progress.reason,
            "done": progress.steps_done,
            "total": progress.steps_total,
            "by": planned.get("by", ""),
            "begun": planned.get("at"),
        }
        self.topics[ROLLOUTS].set(rollout, row)
        act = self._acts.get(rollout)
        shown = {"batches": progress.batches, "why": why(progress, act), "act": act}
        topic.set("rollout", {**row, **shown, "revert": self._reverts.get(rollout)})

    def _batches(self, message: e.RolloutProgressed, before: dict[str, str]) -> None:
        """When batches came to where they are, for the time line and the log."""
        for name, state in message.batches.items():
            plain = state.split(" ")[0]
            if plain == BatchStatus.PENDING or before.get(name, "").split(" ")[0] == plain:
                continue
            self._entered(message.rollout, name, plain, stamp(message.at))

    def _entered(self, rollout: str, batch: str, state: str, at: int) -> None:
        topic = self._details(rollout)
        known: list[list[Any]] = topic.get(f"t/{batch}") or []
        if all(entry[0] != state for entry in known):
            topic.set(f"t/{batch}", sorted([*known, [state, at]], key=lambda entry: entry[1]))

    # the log

    def _logged(self, message: Message) -> None:
        rollout = getattr(message, "rollout", None)
        if rollout is None:
            return
        match message:
            case e.RolloutPlanned():
                self._details(rollout).set(
                    "planned",
                    {
                        "plan_hash": message.plan_hash,
                        "by": message.by,
                        "at": stamp(message.at),
                        "out": message.out,
                    },
                )
            case c.OperatorCommand():
                _keep(self._orders, message.id, message)
                self._acted(message.id)
            case e.CommandAnswered() if message.accepted and message.cause is not None:
                _keep(self._answers, message.cause, message)
                self._acted(message.cause)
            case e.RevertStarted():
                self._reverts[rollout] = message.revert
            case c.OpenGate():
                self._entered(rollout, message.batch, BatchStatus.BAKING, stamp(message.switched_at))
            case e.VerdictReached():
                self._gate(rollout, message.batch, message, message.evidence)
        self._where(message)
        entry = event(message)
        if entry is not None:
            topic = self._details(rollout)
            topic.set(f"e/{message.id}", entry)
            _bound(topic, "e/", KEPT_EVENTS)
        self._show(rollout)

    def _where(self, message: Message) -> None:
        """The log's word on where a rollout is, which stands where progress was lost: a broker keeps that in memory."""
        match message:
            case e.RolloutPlanned() if message.rollout not in self._progress:
                self._progressed(
                    e.RolloutProgressed(
                        id=message.id,
                        at=message.at,
                        rollout=message.rollout,
                        of=message.of,
                        product=message.product,
                        release_version=message.release_version,
                        direction=message.direction,
                        status=RolloutStatus.PLANNED,
                        since=message.at,
                        reason=message.reason,
                    )
                )
            case e.RolloutSucceeded():
                self._ended(message.rollout, RolloutStatus.SUCCEEDED, message)
            case e.RolloutReverted():
                self._ended(message.rollout, RolloutStatus.REVERTED, message)
                self._ended(message.revert, RolloutStatus.REVERTED, message)
            case e.RolloutFailed():
                self._ended(message.rollout, RolloutStatus.FAILED, message, message.reason)
            case e.RolloutHalted():
                self._ended(message.rollout, RolloutStatus.HALTED, message, message.reason)
            case e.RolloutCancelled():
                self._ended(message.rollout, RolloutStatus.CANCELLED, message, message.reason)

    def _ended(self, rollout: str, status: RolloutStatus, message: Message, reason: str = "") -> None:
        known = self._progress.get(rollout)
        if known is None or known.at >= message.at or known.status == status:
            return
        ended: dict[str, Any] = {"status": status, "at": message.at, "since": message.at, "until": None}
        if status is RolloutStatus.SUCCEEDED:
            ended["batches"] = dict.fromkeys(known.batches, BatchStatus.PASSED.value)
            ended["steps_done"] = known.steps_total
        version = max(known.version, stamp(message.at))
        self._progressed(known.model_copy(update={**ended, "reason": reason, "version": version}))

    def _acted(self, order_id: str) -> None:
        """An order and its answer are both there, whichever came first: they are in different streams."""
        order, answer = self._orders.get(order_id), self._answers.get(order_id)
        if order is None or answer is None:
            return
        known = self._acts.get(answer.rollout)
        if known is None or known["at"] <= stamp(answer.at):
            act = {"who": order.by, "command": answer.command, "reason": order.reason, "at": stamp(answer.at)}
            self._acts[answer.rollout] = act

    # gates

    def _gate(
        self,
        rollout: str,
        batch: str,
        message: e.GateProgressed | e.VerdictReached,
        evidence: Iterable[Evidence],
    ) -> None:
        topic = self._details(rollout)
        known = topic.get(f"g/{batch}")
        at = stamp(message.at)
        if known is not None and known["at"] > at:
            return
        shown = [_evidence(item) for item in evidence]
        topic.set(
            f"g/{batch}", {"at": at, "verdict": message.verdict, "detail": message.detail, "evidence": shown}
        )
        numbers = {
            item["rule"]: [item["observed"], item["baseline"], item["limit"]]
            for item in shown
            if item["observed"] is not None
        }
        if numbers:
            self._looks += 1
            topic.set(f"p/{self._looks:09}", [batch, at, numbers])
            _bound(topic, "p/", KEPT_LOOKS)

    # how much is kept

    def _details(self, rollout: str) -> Topic:
        self._touched.pop(rollout, None)
        self._touched[rollout] = None
        topic = self.topics.get(rollout)
        if topic is None:
            topic = self.topics[rollout] = Topic(self._first)
            while len(self._touched) > KEPT_DETAILS:
                self._forget(next(iter(self._touched)))
        return topic

    def _forget(self, rollout: str) -> None:
        self._touched.pop(rollout, None)
        self._acts.pop(rollout, None)
        self._reverts.pop(rollout, None)
        topic = self.topics.pop(rollout, None)
        if topic is not None:
            self._first = max(self._first, topic.number + 1)


def _keep(known: dict[str, T], key: str, value: T) -> None:
    known[key] = value
    while len(known) > KEPT_EVENTS:
        del known[next(iter(known))]


def _bound(topic: Topic, prefix: str, most: int) -> None:
    found = topic.under(prefix)
    for key in found[: max(0, len(found) - most)]:
        topic.set(key, None)


def _node_row(node: Node) -> dict[str, Any]:
    """`seen` in whole minutes: a node says every few seconds that nothing has changed."""
    return {
        "address": node.address,
        "labels": node.labels,
        "drain": None if node.drain is None else str(node.drain),
        "seen": stamp(node.observed_at) // 60_000 * 60_000,
        "components": {
            name: [
                "" if part.target is None else part.target.version,
                part.state,
                (part.root or "").removeprefix("sha256:")[:12],
                part.reason or "",
            ]
            for name, part in node.components.items()
        },
    }


def _evidence(item: Evidence) -> dict[str, Any]:
    found: dict[str, Any] = {
        "rule": item.rule,
        "verdict": item.verdict,
        "observed": item.observed,
        "baseline": item.baseline,
        "limit": item.limit,
        "samples": item.samples,
        "text": item.text,
        "decides": item.decides,
    }
    if item.sequential is not None:
        found["control"] = item.sequential.control
        found["curve"] = _curve(item.sequential.curve)
    return found


def _curve(curve: Curve | None) -> dict[str, Any] | None:
    """Thinned, its end kept."""
    if curve is None or not curve.log_m:
        return None
    every = -(-len(curve.log_m) // CURVE_POINTS)
    last = len(curve.log_m) - 1
    places = [place for place in range(len(curve.log_m)) if (last - place) % every == 0]
    return {
        "bound": curve.bound,
        "points": [
            [stamp(curve.since) + round((place + 1) * curve.step_s * 1000), curve.log_m[place]]
            for place in places
        ],
    }

"""Planted bugs: each replaces a piece of the source of one module while it is imported, in a process of its own.

The text of a bug is matched exactly once, so that a change of the code under it is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

ENGINE = "bumpless.common.engine."
SHELL = "bumpless.common.shell."
EXECUTOR = "bumpless.executor."


@dataclass(frozen=True)
class Mutant:
    """`law`: which law of the architecture it leaves out, where it is one."""

    name: str
    module: str
    old: str
    new: str
    law: int | None = None


MUTANTS: tuple[Mutant, ...] = (
    # law 3: state and what follows from it are saved in one write, and published after it
    Mutant(
        "publishes-before-it-saves",
        SHELL + "run",
        "        await self._store.save(aggregate, value, self._kind.next_deadline(state))\n        self._note(aggregate, state)",
        "        await self._outbound.send(out)\n"
        "        await self._store.save(aggregate, value, self._kind.next_deadline(state))\n        self._note(aggregate, state)",
        law=3,
    ),
    Mutant(
        "forgets-the-outbox",
        SHELL + "run",
        "            outbox=tuple(wire.encode(m) for m in outbox),",
        "            outbox=(),",
        law=3,
    ),
    Mutant(
        "leaves-the-outbox-of-the-killed",
        SHELL + "run",
        "        await self._drain_all(await self._store.unpublished())",
        "        return",
        law=3,
    ),
    Mutant(
        "empties-the-outbox-before-it-publishes",
        SHELL + "run",
        "        await self._outbound.send(messages)\n        state = await self._state(aggregate, value.state)",
        "        await self._store.save(aggregate, replace(value, revision=value.revision + 1, outbox=()), None)\n"
        "        value = replace(value, revision=value.revision + 1)\n"
        "        await self._outbound.send(messages)\n        state = await self._state(aggregate, value.state)",
        law=3,
    ),
    # law 4: the log is the authority
    Mutant(
        "does-not-rebuild",
        SHELL + "run",
        "        rebuilt = await self._kind.rebuild(aggregate)",
        "        rebuilt = None",
        law=4,
    ),
    Mutant(
        "ignores-a-log-that-moved-on",
        SHELL + "relay",
        "        return await self._connection.publish(entry, source=self._source, expect_last=after)",
        "        return await self._connection.publish(entry, source=self._source)",
        law=4,
    ),
    Mutant(
        "log-without-the-last-input",
        SHELL + "rollouts",
        'message=message.model_dump(mode="json")) for message in inputs\n',
        'message=message.model_dump(mode="json")) for message in inputs[:1]\n',
        law=4,
    ),
    Mutant(
        "does-not-look-what-is-unfinished",
        SHELL + "rollouts",
        "            if entry.owner == self.owner and RolloutStatus(entry.status) not in TERMINAL",
        "            if False",
        law=4,
    ),
    # law 5: commands carry plan, generation and expiry, and a node refuses what is stale
    Mutant(
        "node-takes-lower-commands",
        EXECUTOR + "precheck",
        "    if number < record.number:",
        "    if False:",
        law=5,
    ),
    Mutant(
        "node-takes-the-same-command-again",
        EXECUTOR + "precheck",
        "        if command.id == standing.id:\n            return Repeated()",
        "        if command.id == standing.id:\n            return None",
        law=5,
    ),
    Mutant(
        "node-takes-expired-commands",
        EXECUTOR + "precheck",
        "    if command.expires_at <= now:",
        "    if False:",
        law=5,
    ),
    Mutant(
        "generation-is-used-twice",
        "bumpless.planner.handlers",
        "        generation = 1 + max([await self._highest_planned(), *(node.generation for node in fleet.nodes)])",
        "        generation = max([1, await self._highest_planned(), *(node.generation for node in fleet.nodes)])",
        law=5,
    ),
    Mutant(
        "revert-is-numbered-like-its-rollout",
        "bumpless.rollback.reverse",
        '            "sequence_base": SEQUENCE_BASE + SEQUENCES_PER_REVERT * number,',
        '            "sequence_base": 0,',
        law=5,
    ),
    # law 6: a revert covers every node that was commanded; a revert that fails halts
    Mutant(
        "revert-leaves-out-who-did-not-answer",
        "bumpless.rollback.reverse",
        "    plan, commanded = state.plan, state.commanded",
        "    plan = state.plan\n"
        "    commanded = frozenset(k for b in state.batches.values() for k, f in b.steps.items() if f.ok)",
        law=6,
    ),
    Mutant(
        "revert-in-the-order-of-the-rollout",
        "bumpless.rollback.reverse",
        "        needs = tuple(found for other in sorted(after.get(stage, ())) for found in ids.get(other, ()))",
        "        needs: tuple[BatchId, ...] = ()",
        law=6,
    ),
    Mutant(
        "revert-without-a-fence",
        "bumpless.rollback.reverse",
        "        if step.place not in touched\n    )",
        "        if False\n    )",
        law=6,
    ),
    Mutant(
        "revert-brings-the-new-version",
        "bumpless.rollback.reverse",
        '                        step.model_copy(update={"before": step.after, "after": step.before}) for step in part',
        '                        step.model_copy(update={"before": step.before, "after": step.after}) for step in part',
        law=6,
    ),
    Mutant(
        "failed-revert-is-a-failure",
        ENGINE + "turn",
        "        if plan.direction is Direction.REVERT:\n            self.halted(reason)\n            return",
        "",
        law=6,
    ),
    # law 7: missing data is not health
    Mutant(
        "inconclusive-passes",
        ENGINE + "rollout",
        "            turn.batch(batch.id, gate=None, carried=message.carried)\n            policy = gate.on_inconclusive",
        "            turn.batch(batch.id, gate=None)\n            return _pass_batch(turn, batch, message.detail)\n"
        "            policy = gate.on_inconclusive",
        law=7,
    ),
    Mutant(
        "verdict-of-an-earlier-gate-counts",
        ENGINE + "rollout",
        "known.status is not B.BAKING or known.gate != message.gate:",
        "known.status is not B.BAKING:",
        law=7,
    ),
    # law 8: every wait has a deadline
    Mutant(
        "pause-has-no-end",
        ENGINE + "turn",
        '            after("pause", state.since, plan.pause_timeout_s)',
        "            pass",
        law=8,
    ),
    Mutant(
        "apply-has-no-end",
        ENGINE + "turn",
        '                    after("apply:" + batch.id, known.since, batch.apply_timeout_s)',
        "                    pass",
        law=8,
    ),
    Mutant(
        "revert-is-waited-for-for-ever",
        ENGINE + "turn",
        '            after("revert", state.since, plan.revert_timeout_s)',
        "            pass",
        law=8,
    ),
    Mutant(
        "gate-has-no-deadline",
        ENGINE + "turn",
        '                    after("bake:" + batch.id, known.since, batch.gate.timeout_s + b.GATE_GRACE_S)',
        "                    pass",
        law=8,
    ),
    # law 9: the old version serves until the new one is proven
    Mutant(
        "old-instance-is-paused-too-early",
        EXECUTOR + "component",
        "    return Decision(enter(record, S.STARTING, now, **changes), (do.Start(command, fresh, reuse),))",
        "    early = () if record.serving is None else (do.PauseOld(record.serving),)\n"
        "    return Decision(enter(record, S.STARTING, now, **changes), (*early, do.Start(command, fresh, reuse)))",
        law=9,
    ),
    Mutant(
        "failed-switch-does-not-restore",
        EXECUTOR + "transition",
        "        effects = (do.Abort(fresh), do.StopReviving(), undo)",
        "        effects = (do.Abort(fresh), do.StopReviving())",
        law=9,
    ),
    Mutant(
        "restore-is-forgotten-at-a-restart",
        EXECUTOR + "upkeep",
        "    if record.failing is not None:\n        return fail(with_(record, fresh=fresh), record.failing)",
        "    if record.failing is not None:\n        return Decision(record)",
        law=9,
    ),
    Mutant(
        "current-is-not-kept-as-previous",
        EXECUTOR + "transition",
        "        previous=replaced(record, command.target),\n        serving=fresh,",
        "        previous=command.target,\n        serving=fresh,",
        law=9,
    ),
    # the budget, the order, the ends
    Mutant(
        "budget-is-not-looked-at",
        ENGINE + "batch",
        "    return len(nodes) <= rollout.plan.max_unavailable",
        "    return True",
    ),
    Mutant(
        "drained-nodes-do-not-count",
        "bumpless.planner.budget",
        "        if node.drain is not None:",
        "        if False:",
    ),
    Mutant(
        "nodes-of-other-rollouts-do-not-count",
        "bumpless.planner.budget",
        "            if other != plan.rollout and not self._left_before(other, plan, planned):\n",
        "            if False:\n",
    ),
    Mutant(
        "needs-are-not-waited-for",
        ENGINE + "batch",
        "    if any(state.status is not BatchStatus.PASSED for state in needed):",
        "    if any(state.status is BatchStatus.PENDING for state in needed):",
    ),
    Mutant(
        "the-gate-is-not-opened",
        ENGINE + "rollout",
        "    if batch.gate is None:\n        return _pass_batch",
        "    if True:\n        return _pass_batch",
    ),
    Mutant(
        "a-batch-settles-with-nodes-that-wait",
        ENGINE + "rollout",
        "    if b.is_waiting(known):\n        return None",
        "    if len(b.waiting(known)) > 1:\n        return None",
    ),
    Mutant(
        "paused-goes-on",
        ENGINE + "turn",
        "        if self.state.status is not S.ROLLING:\n            return",
        "        if self.state.status not in (S.ROLLING, S.PAUSED):\n            return",
    ),
    Mutant(
        "a-failed-gate-lets-the-rest-go-on",
        ENGINE + "rollout",
        '            _fail_batch(turn, batch, f"{message.reason}: {message.detail}")',
        "            turn.batch(batch.id, status=B.FAILED, since=turn.now)\n            turn.advance()",
    ),
    Mutant(
        "an-operator-command-acts-twice",
        ENGINE + "rollout",
        "    if message.id in state.answered:",
        "    if False:",
    ),
    Mutant(
        "one-more-failure-is-tolerated",
        ENGINE + "rollout",
        "    if len(failed) > batch.tolerance:",
        "    if len(failed) > batch.tolerance + 1:",
    ),
    Mutant(
        "two-rollouts-on-one-place",
        "bumpless.common.shell.places",
        "            if places & {step.place for step in other.plan.steps()}:",
        "            if False:",
    ),
    Mutant(
        "taking-over-does-not-stop-the-rollout",
        "bumpless.rollback.handlers",
        "                await self._relay.log(entry, found.log_sequence)",
        "                pass",
    ),
    Mutant(
        "a-drained-node-goes-on-serving",
        EXECUTOR + "out_of_service",
        "    if serving is not None and record.leaving != serving.id:",
        "    if False:",
    ),
    Mutant(
        "what-died-on-a-drained-node-starts-again",
        EXECUTOR + "upkeep",
        "    if record.out or record.current is None or record.serving is not None:",
        "    if record.current is None or record.serving is not None:",
    ),
    Mutant(
        "an-ended-gate-opens-again",
        "bumpless.health_gate.gate_run",
        "            if state is None:\n                return Decision(_run(message, GateStatus.OPEN",
        "            if True:\n                return Decision(_run(message, GateStatus.OPEN",
    ),
    Mutant(
        "a-gate-has-a-verdict-at-every-tick",
        "bumpless.health_gate.gate_run",
        "    if tick.verdict is not None:\n        messages.append",
        '    if True:\n        object.__setattr__(tick, "verdict", tick.verdict or "pass")\n        messages.append',
    ),
    Mutant(
        "results-are-not-said-again",
        EXECUTOR + "component",
        "    left = tuple(r for r in record.outbox if r.id != given.message)",
        "    left = ()",
    ),
    Mutant(
        "work-is-not-resumed-at-a-restart",
        EXECUTOR + "upkeep",
        "            return Decision(record, (do.Stage(command, target),))",
        "            return Decision(record)",
    ),
    Mutant(
        "both-exclusive-instances-work",
        EXECUTOR + "component",
        "    if record.exclusive:\n        return exclusive.start(record, command, command.target, now)",
        "",
    ),
    Mutant(
        "waiting-command-is-lost",
        EXECUTOR + "transition",
        "    if record.waiting is None:\n        return decision",
        "    if True:\n        return decision",
    ),
)
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}

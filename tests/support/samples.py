"""One message of every type of the contract, every optional field filled."""

from __future__ import annotations

from typing import Any

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message, derive_id
from bumpless.common.model.finding import Code, blocking
from bumpless.common.model.verdict import Evidence, Verdict
from support.plans import GATE, T0, at, batch, digest, node, plan, target

PLAN = plan(batch("api-1", ["n1"], gate=GATE))
STEP = next(PLAN.steps())
COMMAND = {
    "rollout": "r1",
    "batch": "api-1",
    "plan_hash": PLAN.hash,
    "direction": "forward",
    "generation": 3,
    "sequence": 2,
    "node": "n1",
    "component": "api",
    "target": target("api", "v2"),
    "before": target("api", "v1"),
    "expires_at": at(60),
}
BATCH = {
    "rollout": "r1",
    "plan_hash": PLAN.hash,
    "direction": "revert",
    "generation": 3,
    "sequence": 2,
    "steps": (STEP,),
    "expires_at": at(60),
}
ORDER = {"rollout": "r1", "by": "ann", "reason": "lunch"}
EVIDENCE = (
    Evidence(
        rule="latency", verdict=Verdict.FAIL, observed=0.5, baseline=0.1, limit=0.2, samples=9, text="slow"
    ),
)

_FIELDS: dict[type[Message], dict[str, Any]] = {
    c.StageComponent: {**COMMAND, "batch": None},
    c.ApplyComponent: COMMAND,
    c.StageArtifacts: BATCH,
    c.ApplyBatch: {**BATCH, "batch": "api-1"},
    c.OpenGate: {
        "gate": "g1",
        "rollout": "r1",
        "batch": "api-1",
        "spec": GATE,
        "canary": (c.GateMember(node="n1", component="api", version="v2", root="sha256:1"),),
        "control": (c.GateMember(node="n2", component="api", version="v1", root="sha256:2"),),
        "switched_at": at(1),
        "deadline": at(100),
    },
    c.CloseGate: {"gate": "g1", "rollout": "r1", "batch": "api-1"},
    c.Pause: ORDER,
    c.Resume: ORDER,
    c.Promote: {**ORDER, "batch": "api-1"},
    c.Abort: ORDER,
    c.Approve: {**ORDER, "plan_hash": PLAN.hash, "batch": "api-1"},
    c.Retry: ORDER,
    c.Rollback: {**ORDER, "only": ("n1/api",), "now": True, "policy": "manual"},
    c.InjectFault: {"node": "n1", "component": "api", "fault": "fail-start", "by": "ann"},
    c.RequestReport: {},
    e.ReleaseAnnounced: {
        "product": "shop",
        "digest": digest("release"),
        "envelope": "{}",
        "attempt": 1,
        "expected_plan": PLAN.hash,
    },
    e.ReleaseRefused: {
        "rollout": "r1",
        "product": "shop",
        "digest": digest("release"),
        "reasons": ("unsigned", "unknown node"),
        "findings": (blocking(Code.NODE_UNKNOWN, "n9", "nobody", "start it", waivable=True),),
    },
    e.RolloutPlanned: {
        "rollout": "r2",
        "of": "r1",
        "product": "shop",
        "release_version": "v2",
        "direction": "revert",
        "plan_hash": PLAN.hash,
        "generation": 3,
        "by": "ann",
        "reason": "slow",
    },
    e.RolloutAdvanced: {
        "rollout": "r1",
        "owner": "planner",
        "version": 4,
        "inputs": (e.LoggedInput(at=at(1), message={"type": "pause", "deep": [1, None, "ü"]}),),
        "status_before": "rolling",
        "status": "paused",
        "notes": ("waits",),
    },
    e.RolloutSucceeded: {"rollout": "r1", "product": "shop", "release_version": "v2"},
    e.RolloutFailed: {
        "rollout": "r1",
        "product": "shop",
        "plan_hash": PLAN.hash,
        "generation": 3,
        "reason": "slow",
        "policy_auto": True,
        "switched_anything": True,
    },
    e.RolloutCancelled: {"rollout": "r1", "reason": "wrong day"},
    e.RolloutHalted: {"rollout": "r1", "of": "r2", "reason": "stuck"},
    e.RevertStarted: {"rollout": "r1", "revert": "r2", "reason": "slow", "by": "policy"},
    e.RolloutReverted: {"rollout": "r1", "revert": "r2"},
    e.CommandAnswered: {"rollout": "r1", "command": "pause", "accepted": True, "text": "paused"},
    e.StepStaged: {
        "rollout": "r1",
        "plan_hash": PLAN.hash,
        "node": "n1",
        "component": "api",
        "sequence": 1,
        "ok": True,
        "used": "delta",
        "bytes_fetched": 10,
        "full_bytes": 1000,
        "reason": "fine",
    },
    e.StepFinished: {
        "rollout": "r1",
        "batch": "api-1",
        "plan_hash": PLAN.hash,
        "node": "n1",
        "component": "api",
        "generation": 3,
        "sequence": 2,
        "outcome": "done",
        "root": digest("root"),
        "version": "v2",
        "reason": "fine",
        "switched_at": at(2),
        "cut": ("10.0.0.1:80",),
        "seconds": {"stage": 0.25},
    },
    e.ComponentCrashLooping: {
        "rollout": "r1",
        "plan_hash": PLAN.hash,
        "node": "n1",
        "component": "api",
        "root": digest("root"),
        "version": "v2",
        "crashes": 5,
        "window_s": 120.0,
        "reason": "v2 crashed 5 times within 120 s",
        "returning": True,
    },
    e.ReturnedToPrevious: {
        "rollout": "r1",
        "node": "n1",
        "component": "api",
        "root": digest("before"),
        "version": "v1",
        "left_root": digest("root"),
        "left_version": "v2",
        "warm": True,
        "reason": "v2 crashed 5 times within 120 s",
    },
    e.NodeObserved: {"node": node("n1", {"api": target("api", "v1"), "db": None})},
    e.MetricsSampled: {
        "node": "n1",
        "component": "api",
        "instance": "i1",
        "version": "v2",
        "root": digest("root"),
        "sequence": 7,
        "up": True,
        "restarts": 1,
        "samples": {'http_requests_total{status="200"}': 12.0, "inflight": float("inf")},
    },
    e.VerdictReached: {
        "gate": "g1",
        "rollout": "r1",
        "batch": "api-1",
        "verdict": "fail",
        "reason": "regression",
        "detail": "too slow",
        "evidence": EVIDENCE,
        "opened_at": at(1),
    },
    e.AlertFired: {"rollout": "r1", "name": "errors", "detail": "too many", "fail": False},
    e.MessageParked: {
        "service": "planner",
        "stream": "OPS",
        "subject": "somewhere",
        "stream_sequence": 9,
        "reason": "unreadable",
        "headers": {"a": "b"},
        "body": bytes(range(256)),
    },
    e.DeadlineReached: {"aggregate": "r1", "name": "pause", "due": at(3)},
    e.NodesOut: {"rollout": "r1", "nodes": {"n1": "rollout r2 is switching it"}},
    e.RolloutProgressed: {
        "rollout": "r1",
        "of": "r0",
        "product": "shop",
        "release_version": "v2",
        "direction": "forward",
        "status": "rolling",
        "since": at(0),
        "until": at(9),
        "reason": "waits",
        "batches": {"api-1": "baking"},
        "steps_done": 1,
        "steps_total": 2,
        "version": 5,
    },
    e.StepProgressed: {
        "rollout": "r1",
        "node": "n1",
        "component": "api",
        "state": "staging",
        "detail": "fetching",
        "share": 0.5,
    },
    e.GateProgressed: {
        "rollout": "r1",
        "batch": "api-1",
        "verdict": "pass",
        "detail": "fine",
        "evidence": EVIDENCE,
    },
}

SAMPLES: dict[type[Message], Message] = {
    kind: kind.model_validate({"id": derive_id("sample", kind.__name__), "at": T0, "cause": "c1", **fields})
    for kind, fields in _FIELDS.items()
}

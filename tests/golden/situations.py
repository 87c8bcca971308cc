"""Ten situations in which a person looks at a plan before it runs, each with what its picture is to show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.plan_answer import Earlier, PlanAnswer, Took
from bumpless.common.model.compat import CompatFile, HopsFile, Horizon
from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.fleet import Fleet, Node
from bumpless.common.model.level import Level
from bumpless.common.model.plan import Plan, Target
from bumpless.common.model.release import Component, Placement, Run
from bumpless.common.model.strategy import NodeSet, Strategy, StrategyKind
from bumpless.planner.plan import make_plan
from support.hops import over
from support.plans import GATE, T0, component, digest, fleet, node, release, target

SHOP = ("database", "cache", "api", "gateway")
OLD = {name: target(name, "v1") for name in SHOP}
ROLLING = Strategy()
NOTHING_KNOWN = Earlier()
CANARY = Strategy(kind=StrategyKind.CANARY, batch_size="50%", interval_s=30, approval=True)


@dataclass(frozen=True)
class Situation:
    """`shows` is one sentence."""

    shows: str
    answer: Callable[[], PlanAnswer]


def planned(known: Fleet, *parts: Component, version: str = "v2", **more: object) -> Plan:
    return make_plan(
        release(*parts, version=version, **more),
        digest(f"release {version}"),
        known,
        rollout=RolloutId("rollout-1"),
        generation=4,
        now=T0,
    )


def shop(strategy: Strategy = ROLLING, version: str = "v2") -> list[Component]:
    """A chain of four; `database` stands on the first node only."""
    return [
        component(
            name,
            version,
            depends_on=SHOP[place - 1 : place] if place else (),
            strategy=strategy,
            gate=GATE if name in ("api", "gateway") else None,
            place=Placement(nodes=("n1",)) if name == "database" else Placement(),
        )
        for place, name in enumerate(SHOP)
    ]


def running(versions: dict[str, Target], *names: str) -> list[Node]:
    return [node(name, versions) for name in names]


def answered(plan: Plan, *findings: Finding, earlier: Earlier = NOTHING_KNOWN) -> PlanAnswer:
    return PlanAnswer(plan=plan, plan_hash=plan.hash, findings=findings, earlier=earlier)


def first_install() -> PlanAnswer:
    return answered(planned(fleet(*running({}, "n1", "n2", "n3")), *shop(Strategy(batch_size=3))))


def rolling_upgrade() -> PlanAnswer:
    took = [Took(component=name, rollouts=3, seconds=(1.5, 2.25, 3.0, 4.5, 9.0)) for name in SHOP[1:]]
    earlier = Earlier(steps=tuple(took), staging_s=(6.0, 8.0, 20.0))
    found = planned(
        fleet(*running(OLD, "n1", "n2", "n3"), node("n4", {"cache": target("cache", "v2")})), *shop()
    )
    return answered(found, earlier=earlier)


def canary() -> PlanAnswer:
    nodes = running(OLD, "n1", "n2", "n3", "n4")
    return answered(planned(fleet(*nodes), *shop(CANARY), max_unavailable="50%", approval=True))


def parallel_branches() -> PlanAnswer:
    parts = [
        component("database", place=Placement(nodes=("db-1",))),
        component("api", depends_on=("database",), place=Placement(labels={"role": "web-"})),
        component("worker", depends_on=("database",), place=Placement(labels={"role": "job-"})),
        component("gateway", depends_on=("api", "worker"), place=Placement(labels={"role": "web-"})),
    ]
    old = {part.name: target(part.name, "v1") for part in parts}
    return answered(planned(fleet(*running(old, "db-1", "web-1", "web-2", "job-1", "job-2")), *parts))


def intermediate_hop() -> PlanAnswer:
    compat = CompatFile(
        levels={
            "orders": {"1.4.0>2.1.0": Level.FULL, "2.1.0>3.0.0": Level.BACKWARD, "1.4.0>3.0.0": Level.NONE}
        },
        hops={"orders": HopsFile(horizon=Horizon.FREEZE)},
    )
    old, between = {"orders": target("orders", "1.4.0")}, {"orders": target("orders", "2.1.0")}
    orders = over("orders", "3.0.0", "2.1.0", gate=GATE, strategy=Strategy(batch_size=2))
    found = planned(
        fleet(*running(old, "n1", "n2", "n3"), *running(between, "n4")),
        orders,
        version="3.0.0",
        compat=compat,
        max_unavailable=2,
    )
    waived = Finding(
        code=Code.SCAN_MISSING,
        severity=Severity.WARN,
        subject="orders",
        evidence="no report of the tree that is shipped",
        recommendation="scan that tree",
        waivable=True,
        waived="by ann until 2026-01-02 18:00 UTC: incident 41",
    )
    return answered(found, waived)


def downgrade() -> PlanAnswer:
    new = {name: target(name, "2.0.0") for name in SHOP}
    return answered(planned(fleet(*running(new, "n1", "n2")), *shop(version="1.9.3"), version="1.9.3"))


def refusal() -> PlanAnswer:
    return PlanAnswer(
        reasons=(
            "api: expected a node of the fleet (n1, n2), found 'n7'",
            "cache: node n2 was last seen 340 s ago; start its executor, or take it out of the placement",
        ),
        findings=(
            Finding(code=Code.API_NO_DEPRECATION, severity=Severity.WARN, subject="api GET /v1/orders",
                    evidence="removed in v2 without having been deprecated", recommendation="deprecate it first, and keep it for 90 days",
                    waivable=True),
            Finding(code=Code.API_REMOVED_IN_USE, severity=Severity.BLOCK, subject="api GET /v1/carts",
                    evidence="gateway v1 called it 1,204 times in the last day", recommendation="move gateway to /v2/carts before this release"),
        ),
    )  # fmt: skip


def changed_settings() -> PlanAnswer:
    after = target("api", "v2").run.model_copy(update={"env": {"WORKERS": "8"}})
    now = {"api": target("api", "v2"), "cache": target("cache", "v2")}
    ready = target("api", "v2").model_copy(update={"run": Run.model_validate(after)})
    nodes = [*running(now, "n1", "n2"), node("n3", {**now, "api": ready})]
    return answered(
        planned(fleet(*nodes), component("cache"), component("api", run=after, depends_on=("cache",)))
    )


def thousand_nodes() -> PlanAnswer:
    names = [f"node-{number}" for number in range(1, 1001)]
    old = {"agent": target("agent", "v1"), "api": target("api", "v1")}
    parts = [
        component("agent", strategy=Strategy(batch_size=5)),
        component("api", depends_on=("agent",), gate=GATE, strategy=Strategy(kind=StrategyKind.CANARY, canary=3, batch_size="10%")),
    ]  # fmt: skip
    return answered(planned(fleet(*running(old, *names)), *parts, max_unavailable="10%"))


def blue_green() -> PlanAnswer:
    sets = Strategy(
        kind=StrategyKind.BLUE_GREEN,
        blue=NodeSet(labels={"role": "blue-"}),
        green=NodeSet(labels={"role": "green-"}),
        hold_s=600,
        approval=True,
    )
    old = running({"web": target("web", "v1")}, *(f"blue-{number}" for number in range(1, 5)))
    new = running({}, *(f"green-{number}" for number in range(1, 5)))
    web = component("web", strategy=sets, gate=GATE)
    return answered(planned(fleet(*old, *new), web, rollback_policy="manual"))


SITUATIONS = {
    "01-first-install": Situation(
        "A fleet that runs nothing yet: everything is installed, and no capacity is lost on the way to the first node.",
        first_install,
    ),
    "02-rolling-upgrade": Situation(
        "A chain of four components, node after node, timed by earlier rollouts as far as there are any.",
        rolling_upgrade,
    ),
    "03-canary-gate-approval": Situation(
        "Canaries first, judged by gates; a person approves the start and every batch after the first.", canary
    ),
    "04-parallel-branches": Situation(
        "Two components that do not need each other go side by side, and what needs both waits for both.",
        parallel_branches,
    ),
    "05-intermediate-hop": Situation(
        "A mixed fleet reaches 3.0.0 through 2.1.0, each hop with its reason; from the second on there is no free way back, and a failure halts; a finding was waived.",
        intermediate_hop,
    ),
    "06-downgrade": Situation(
        "An older version comes: it is called a downgrade and listed as a risk.", downgrade
    ),
    "07-refusal": Situation("There is no plan: every reason and finding at once, blocks first.", refusal),
    "08-changed-settings": Situation(
        "The same tree with other settings is restarted, where the node does not run it that way already.",
        changed_settings,
    ),
    "09-thousand-nodes": Situation(
        "A thousand nodes in hundreds of batches still fit on a page.", thousand_nodes
    ),
    "10-blue-green": Situation(
        "A second set takes over; the first is removed when a person approves, and held for the way back, which is by hand.",
        blue_green,
    ),
}  # fmt: skip

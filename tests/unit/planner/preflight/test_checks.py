"""Every check on its own: what it finds, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from bumpless.common.compat.sql_findings import sql_findings
from bumpless.common.model.channels import Consumes, Produces
from bumpless.common.model.compat import CompatFile, LifecycleFile, SignedRecord
from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.fleet import BackupFact, Drain, Fleet, NodeFacts
from bumpless.common.model.migration import Migration, SqlProblem
from bumpless.common.model.preflight import Needs, Preflight, ScanSeverity, Window
from bumpless.common.model.release import Component, Release, Run
from bumpless.common.model.statement import Rehearsed
from bumpless.common.model.strategy import Strategy
from bumpless.planner.preflight.case import Case, History
from bumpless.planner.preflight.registry import look, look_at
from bumpless.planner.preflight.windows import is_open
from support.plans import T0, batch, component, digest, fleet, node, plan, release, target

DIGEST = digest("release")
CALM = {"compat": CompatFile.model_validate({"hops": {"api": {}}})}
"""Says something of the component, so that its versions are no finding."""


def rules(**fields: Any) -> Preflight:
    return Preflight.model_validate(fields)


def found(
    what: Release,
    where: Fleet,
    policy: Preflight | None = None,
    history: History | None = None,
    now: datetime = T0,
) -> dict[Code, Severity]:
    case = Case(what, DIGEST, where, now, policy or Preflight(), history or History())
    return {finding.code: finding.severity for finding in look(case)}


def on(running: str = "1.0.0", facts: NodeFacts | None = None, free: int | None = None) -> Fleet:
    one = node("n1", {"api": target("api", running)})
    return fleet(one.model_copy(update={"facts": facts, "free_bytes": free}))


def api(version: str = "2.0.0", **more: Any) -> Component:
    return component("api", version, **more)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found(release(api(), **CALM), on()) == {}


@pytest.mark.parametrize("by_fleet", [True, False])
def test_an_unstated_change_blocks_where_statements_are_required(by_fleet: bool) -> None:
    wanted = rules(compat="required")
    what = release(api()) if by_fleet else release(api(), preflight=wanted)
    assert found(what, on(), wanted if by_fleet else None) == {Code.COMPAT_UNSTATED: Severity.BLOCK}
    assert found(what, on("2.0.0"), wanted if by_fleet else None) == {}


OTHERS = {"compat": CompatFile.model_validate({"pairs": [{"client": "a", "provider": "b", "accepts": "*"}]})}


def two(first: str = "1.0.0", second: str = "1.0.0") -> Fleet:
    return fleet(node("n1", {"api": target("api", first)}), node("n2", {"api": target("api", second)}))


@pytest.mark.parametrize(
    ("where", "strategy", "more", "severity"),
    [
        (on(), {}, {}, None),  # one node: side by side only while it switches
        (two(), {}, {}, Severity.INFO),
        (two(), {}, OTHERS, Severity.WARN),
        (two(), {"kind": "all-at-once"}, OTHERS, None),
        (two(), {"kind": "rolling", "batch_size": 2}, OTHERS, None),
        (two(), {"kind": "rolling", "batch_size": 2}, {**OTHERS, "max_unavailable": 1}, Severity.WARN),
        (two("1.0.0", "1.1.0"), {"kind": "all-at-once"}, {}, Severity.INFO),
        (two("2.0.0", "1.1.0"), {"kind": "all-at-once"}, {}, Severity.INFO),
        (two("2.0.0", "2.0.0"), {}, OTHERS, None),
    ],
)
def test_an_unstated_change_is_told_where_both_versions_serve_for_long(
    where: Fleet, strategy: dict[str, Any], more: dict[str, Any], severity: Severity | None
) -> None:
    what = release(api(strategy=Strategy.model_validate(strategy)), **more)
    expected = {} if severity is None else {Code.COMPAT_UNSTATED: severity}
    assert found(what, where) == expected


def records(
    of: str | None = "api", lens: Sequence[Any] = ({"rename": {"a": "b"}},)
) -> dict[str, SignedRecord]:
    edges = [{"from": "1", "to": "2", "lens": list(lens)}]
    schemas = {"1": {"type": "object"}, "2": {"type": "object"}, "3": {"type": "object"}}
    return {"file": SignedRecord.model_validate({"of": of, "schemas": schemas, "edges": edges})}


LOST = [{"drop": ["a"]}]
ONE_WAY = [{"py": "lenses:up"}]


@pytest.mark.parametrize(
    ("running", "wanted", "given", "more", "codes"),
    [
        ("1.0.0", "2.0.0", records(), {}, {}),
        ("2.0.0", "2.9.0", records(lens=LOST), {}, {}),
        ("0.9.0", "2.0.0", records(), {}, {}),  # before there were records
        ("1.4.0", "2.1.0", records(lens=LOST), {}, {Code.RECORD_LOSSY: Severity.WARN}),
        ("1.0.0", "3.0.0", records(), {}, {Code.RECORD_PATH_NONE: Severity.BLOCK}),
        ("1.0.0", "2.0.0", records(lens=ONE_WAY), {}, {Code.ROLLBACK_LOSSY: Severity.BLOCK}),
        ("1.0.0", "2.0.0", records(lens=ONE_WAY), {"rollback_policy": "manual"}, {}),
        ("1.0.0", "2.0.0", records(of=None), {}, {Code.RECORD_UNKNOWN: Severity.INFO}),
        ("nightly", "2.0.0", records(), {}, {Code.RECORD_UNKNOWN: Severity.INFO}),
        ("1.0.0", "2.0.0", records(of="other"), {}, {}),
        ("1.0.0", "2.0.0", records(lens=[{"turn": {}}]), {}, {Code.RECORD_INVALID: Severity.BLOCK}),
    ],
)
def test_records_are_carried_on_from_what_runs(
    running: str,
    wanted: str,
    given: dict[str, SignedRecord],
    more: dict[str, Any],
    codes: dict[Code, Severity],
) -> None:
    assert found(release(api(wanted), records=given, **more, **CALM), on(running)) == codes


def test_a_schema_that_is_none_is_told_with_its_place() -> None:
    bad = {"file": SignedRecord.model_validate({"of": "api", "schemas": {"1": {"type": "thing"}}})}
    case = Case(release(api(), records=bad, **CALM), DIGEST, on(), T0)
    (finding,) = look(case)
    assert finding.code is Code.RECORD_INVALID
    assert "file 1.0.0" in finding.evidence
    assert "type" in finding.evidence


def test_the_horizon_of_a_plan_says_what_a_failure_after_it_means() -> None:
    crossed = [batch("api-1", ["n1"]), batch("api-2", ["n2"], horizon="api v1 does not read what v2 writes")]
    case = Case(release(api()), DIGEST, on(), T0)
    (warned,) = look_at(plan(*crossed, batch("api-3", ["n3"], horizon="again")), case)
    assert (warned.code, warned.severity, warned.waivable) == (Code.ROLLBACK_LOSSY, Severity.WARN, True)
    assert "from batch api-2 on there is no free way back: api v1 does not read" in warned.evidence
    assert "taken back all the same" in warned.evidence
    assert "horizon: freeze" in warned.recommendation
    (frozen,) = look_at(plan(crossed[1].model_copy(update={"freeze": True})), case)
    assert "halts for a person" in frozen.evidence
    (manual,) = look_at(plan(crossed[1], rollback_policy="manual"), case)
    assert "stays where it is" in manual.evidence
    assert look_at(plan(crossed[0]), case) == ()


def test_messages_that_still_wait_are_told_where_there_is_a_plan() -> None:
    old = target("api", "1.0.0").model_copy(update={"produces": (Produces(channel="files", writes="1"),)})
    reads = target("reader", "1.0.0").model_copy(update={"consumes": (Consumes(channel="files", reads="1"),)})
    where = fleet(node("n1", {"api": old, "reader": reads}))
    what = release(
        api(produces=(Produces(channel="files", writes="2"),)),
        component("reader", "2.0.0", consumes=(Consumes(channel="files", reads=">=2"),)),
        **CALM,
    )
    assert found(what, where)[Code.QUEUE_ORDER] is Severity.WARN


OLD_KEY = Finding(
    code=Code.CONFIG_OLD_KEY, severity=Severity.WARN, subject="a", evidence="b", recommendation="c"
)


def script(*rules: str) -> tuple[Migration, ...]:
    problems = tuple(SqlProblem(rule=rule, lines=(3, 7), text=f"{rule}!") for rule in rules)
    one = Migration(id="m1", sql="m/1.sql", digest=digest("sql"), linter="squawk 1", found=problems)
    return (one,)


def test_what_was_found_when_it_was_published_is_told_while_the_component_changes() -> None:
    what = release(api(found=(OLD_KEY,), migrations=script("ban-drop-column")), **CALM)
    seen = found(what, on())
    assert seen == {Code.CONFIG_OLD_KEY: Severity.WARN, Code.SQL_UNSAFE: Severity.BLOCK}
    assert found(what, on("2.0.0")) == {}


@pytest.mark.parametrize(
    ("rule", "severity"),
    [
        ("renaming-column", Severity.BLOCK),
        ("require-concurrent-index-creation", Severity.BLOCK),
        ("require-lock-timeout", Severity.BLOCK),
        ("syntax-error", Severity.BLOCK),
        ("require-statement-timeout", Severity.WARN),
        ("a-rule-of-tomorrow", Severity.WARN),
        ("prefer-robust-stmts", Severity.INFO),
    ],
)
def test_rules_of_sql(rule: str, severity: Severity) -> None:
    (finding,) = sql_findings("db", script(rule))
    assert (finding.severity, finding.waivable) == (severity, True)
    assert finding.subject == f"db: m/1.sql: {rule}"
    assert finding.evidence == f"line 3, 7: {rule}! (squawk 1)"
    assert finding.recommendation


def items(**fields: Any) -> LifecycleFile:
    row = {"kind": "endpoint", "id": "GET /a", "of": "api", "in": "1.0.0", "removed": "2.0.0", **fields}
    new = {"kind": row["kind"], "id": "new", "of": "api", "in": row.pop("successor", "2.0.0")}
    return LifecycleFile.model_validate({"items": [{**row, "use": "new"}, new]})


USED = NodeFacts(item_calls={"api": {"GET /a": 7.0}})


@pytest.mark.parametrize(
    ("lifecycle", "facts", "codes"),
    [
        (items(), None, {Code.API_NO_DEPRECATION: Severity.WARN}),
        (items(), USED, {Code.API_NO_DEPRECATION: Severity.WARN, Code.API_REMOVED_IN_USE: Severity.BLOCK}),
        (items(removed="3.0.0"), USED, {}),
        (items(deprecated="2.0.0", removed="3.0.0"), USED, {Code.API_DEPRECATED: Severity.INFO}),
        (items(deprecated="1.0.0"), None, {}),
        (items(deprecated="1.0.0", kind="auth"), None, {Code.AUTH_NO_OVERLAP: Severity.BLOCK}),
        (items(deprecated="1.0.0", kind="auth", successor="1.0.0"), None, {}),
        (items(deprecated="3.0.0"), None, {Code.LIFECYCLE_INVALID: Severity.BLOCK}),
    ],
)
def test_items_that_go(
    lifecycle: LifecycleFile, facts: NodeFacts | None, codes: dict[Code, Severity]
) -> None:
    seen = found(release(api(), lifecycle=lifecycle, **CALM), on(facts=facts))
    if Code.LIFECYCLE_INVALID in codes:
        seen.pop(Code.API_NO_DEPRECATION, None)
    assert seen == codes


def test_versions_that_are_none_are_told_where_items_need_them() -> None:
    what = release(component("api", "blue"), lifecycle=items(deprecated="1.0.0"), **CALM)
    assert found(what, on()) == {Code.LIFECYCLE_INVALID: Severity.BLOCK}


def test_levels_that_contradict_each_other_are_told() -> None:
    levels = {"api": {"1.0.0>2.0.0": "full", "2.0.0>1.0.0": "none"}}
    what = release(api(), compat=CompatFile.model_validate({"levels": levels}))
    assert found(what, on()) == {Code.COMPAT_INVALID: Severity.BLOCK}


NIGHT = Window.model_validate({"days": ["fri"], "from": "22:00", "to": "04:00", "zone": "Europe/Berlin"})


@pytest.mark.parametrize(
    ("moment", "opened"),
    [
        ("2026-11-27T20:59:00+00:00", False),  # Friday 21:59 in Berlin
        ("2026-11-27T21:00:00+00:00", True),
        ("2026-11-28T02:59:00+00:00", True),  # Saturday 03:59, of the window that opened on Friday
        ("2026-11-28T03:00:00+00:00", False),
        ("2026-11-28T22:00:00+00:00", False),
        ("2026-07-03T20:00:00+00:00", True),  # summer time
        ("2026-07-03T19:59:00+00:00", False),
    ],
)
def test_a_window_over_midnight_belongs_to_its_first_day(moment: str, opened: bool) -> None:
    assert is_open(NIGHT, datetime.fromisoformat(moment)) is opened


DAY = {"from": "11:00", "to": "13:00"}
T0_DAY = {"from": "2030-01-01", "to": "2030-01-01", "why": "new year"}


@pytest.mark.parametrize(
    ("wanted", "codes"),
    [
        (rules(windows=[DAY]), {}),
        (rules(windows=[{**DAY, "zone": "Asia/Tokyo"}]), {Code.WINDOW}),
        (rules(windows=[{**DAY, "zone": "Asia/Tokyo"}, DAY]), {}),
        (rules(windows=[{**DAY, "days": ["mon"]}]), {Code.WINDOW}),
        (rules(windows=[{**DAY, "zone": "Mars/Olympus"}]), {Code.POLICY_INVALID}),
        (rules(freezes=[T0_DAY]), {Code.FREEZE}),
        (rules(freezes=[{**T0_DAY, "from": "2029-12-01", "to": "2029-12-31"}]), {}),
        (rules(approval="required"), {Code.APPROVAL}),
        (rules(rehearsal={"fleet": "staging"}), {Code.REHEARSAL_MISSING}),
        (rules(backups=[{"component": "api"}]), {Code.BACKUP_MISSING}),
        (rules(backups=[{"component": "other"}]), {}),
        (rules(scans=[{"component": "api"}]), {Code.SCAN_MISSING}),
    ],
)
@pytest.mark.parametrize("by_fleet", [True, False])
def test_rules_hold_whoever_states_them(wanted: Preflight, codes: set[Code], by_fleet: bool) -> None:
    what = release(api(), **CALM) if by_fleet else release(api(), preflight=wanted, **CALM)
    seen = found(what, on(), wanted if by_fleet else None)
    assert seen == dict.fromkeys(codes, Severity.BLOCK)


def test_who_waits_for_approval_says_so() -> None:
    what = release(api(), approval=True, preflight=rules(approval="required"), **CALM)
    assert found(what, on()) == {Code.APPROVAL: Severity.INFO}


@pytest.mark.parametrize(
    ("ident", "tested_h", "missing"),
    [("b1", 1, False), ("b1", 25, True), ("b1", None, True), ("b2", 1, True), ("b1", -1, True)],
)
def test_a_backup_counts_when_its_restore_was_tested_lately(
    ident: str, tested_h: float | None, missing: bool
) -> None:
    at = None if tested_h is None else T0 - timedelta(hours=tested_h)
    facts = NodeFacts(backups=(BackupFact(id=ident, component="api", restore_tested_at=at),))
    what = release(api(), preflight=rules(backups=[{"component": "api", "id": "b1"}]), **CALM)
    assert (Code.BACKUP_MISSING in found(what, on(facts=facts))) is missing


def scan(root: str, severities: Sequence[str], allowed: str | None) -> Preflight:
    result = {"root": root, "found": {ScanSeverity(s): [f"CVE-{s}"] for s in severities}}
    return rules(scans=[{"component": "api", "max_severity": allowed, "result": result}])


@pytest.mark.parametrize(
    ("root", "severities", "allowed", "missing"),
    [
        (api().root, ["low", "medium"], "medium", False),
        (api().root, ["high"], "medium", True),
        (api().root, ["low"], None, True),
        (api().root, [], None, False),
        (digest("another tree"), [], "medium", True),
    ],
)
def test_a_scan_is_of_the_tree_that_is_shipped(
    root: str, severities: list[str], allowed: str | None, missing: bool
) -> None:
    what = release(api(), preflight=scan(root, severities, allowed), **CALM)
    assert (Code.SCAN_MISSING in found(what, on())) is missing


@pytest.mark.parametrize(
    ("fleet_name", "of", "missing"),
    [("staging", DIGEST, False), ("other", DIGEST, True), ("staging", digest("x"), True)],
)
def test_a_rehearsal_is_of_this_release_on_that_fleet(fleet_name: str, of: str, missing: bool) -> None:
    said = Rehearsed.model_validate(
        {"release": of, "fleet": fleet_name, "rollout": "r", "by": "ann", "at": T0}
    )
    what = release(api(), preflight=rules(rehearsal={"fleet": "staging"}), **CALM)
    assert (Code.REHEARSAL_MISSING in found(what, on(), history=History(rehearsed=(said,)))) is missing


LISTENS = Run(command=("bin/api",), listen={"main": "tcp://{node.address}:80"})
DATAGRAMS = Run(command=("bin/api",), listen={"dns": "udp://{node.address}:53"})
ADDRESS = on().nodes[0].address


@pytest.mark.parametrize(
    ("facts", "free", "more", "codes"),
    [
        (NodeFacts(), 99, {"tree_bytes": 100}, {Code.DISK}),
        (NodeFacts(), 100, {"tree_bytes": 100}, set()),
        (NodeFacts(), None, {"tree_bytes": 100}, set()),
        (NodeFacts(inodes_free=9), 1, {"tree_files": 10}, {Code.INODES}),
        (NodeFacts(memory_available=1 << 20), 1, {"needs": {"memory": "2MiB"}}, {Code.MEMORY}),
        (NodeFacts(memory_available=1 << 30), 1, {"needs": {"memory": "2MiB"}}, set()),
        (None, 1, {"needs": {"memory": "2MiB"}}, {Code.FACTS_MISSING}),
        (NodeFacts(listening=(f"{ADDRESS}:80",)), 1, {"run": LISTENS}, {Code.PORT}),
        (NodeFacts(listening=("[::]:80",)), 1, {"run": LISTENS}, {Code.PORT}),
        (NodeFacts(listening=("127.0.0.1:80",)), 1, {"run": LISTENS}, set()),
        (NodeFacts(bound=(f"{ADDRESS}:80",)), 1, {"run": LISTENS}, set()),
        (NodeFacts(bound=(f"{ADDRESS}:53",)), 1, {"run": DATAGRAMS}, {Code.PORT}),
        (NodeFacts(bound=("0.0.0.0:53",)), 1, {"run": DATAGRAMS}, {Code.PORT}),
        (NodeFacts(listening=("0.0.0.0:53",)), 1, {"run": DATAGRAMS}, set()),
        (NodeFacts(changed={"api": ("main.py is changed",)}), 1, {}, {Code.DRIFT}),
        (NodeFacts(changed={"db": ("main.py is changed",)}), 1, {}, set()),
        (NodeFacts(architecture="x86_64"), 1, {"needs": {"runtime": {"architecture": ["x86_64"]}}}, set()),
        (
            NodeFacts(architecture="armv7l"),
            1,
            {"needs": {"runtime": {"architecture": ["x86_64"]}}},
            {Code.RUNTIME},
        ),
        (
            NodeFacts(runtime={"kernel": "6.1.0-18-amd64"}),
            1,
            {"needs": {"runtime": {"kernel": ">=5.10"}}},
            set(),
        ),
        (
            NodeFacts(runtime={"libc": "glibc 2.28"}),
            1,
            {"needs": {"runtime": {"libc": ">=2.31"}}},
            {Code.RUNTIME},
        ),
        (NodeFacts(), 1, {"needs": {"runtime": {"systemd": ">=250"}}}, {Code.RUNTIME}),
    ],
)
def test_what_nodes_are_like(
    facts: NodeFacts | None, free: int | None, more: dict[str, Any], codes: set[Code]
) -> None:
    if "needs" in more:
        more = {**more, "needs": Needs.model_validate(more["needs"])}
    assert set(found(release(api(**more), **CALM), on(facts=facts, free=free))) == codes


def test_a_tree_that_is_there_needs_no_room() -> None:
    where = on(free=1)
    seen = where.nodes[0].components["api"].model_copy(update={"staged": (api().root,)})
    there = fleet(where.nodes[0].model_copy(update={"components": {"api": seen}}))
    assert found(release(api(tree_bytes=100), **CALM), there) == {}


def test_what_no_release_brought_is_drift() -> None:
    what = release(api(), **CALM)
    known = History(roots=frozenset({target("api", "1.0.0").root}))
    assert found(what, on(), history=known) == {}
    assert found(what, on("1.0.1"), history=known) == {Code.DRIFT: Severity.WARN}


def test_a_drained_node_is_told_with_who_and_why() -> None:
    out = on().nodes[0].model_copy(update={"drain": Drain(by="ada", reason="new disk", since=T0)})
    assert found(release(api(), **CALM), fleet(out)) == {Code.NODE_DRAINED: Severity.WARN}
    [said] = look(Case(release(api(), **CALM), DIGEST, fleet(out), T0, Preflight(), History()))
    assert (said.subject, "n1 drained by ada" in said.evidence) == ("n1", True)
    assert "new disk" in said.evidence

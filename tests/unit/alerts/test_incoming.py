"""Alertmanager's webhook, good and bad; and what rules tell alerts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bumpless.alerts import machine, routing
from bumpless.alerts.evaluate import Answer
from bumpless.alerts.incoming import understood
from bumpless.alerts.observing import Observing
from bumpless.common.model.alert import Alert, Severity
from bumpless.common.model.alerting import AlertsFile
from unit.alerts.scenes import T0, at

GOOD = {
    "status": "firing",
    "labels": {"alertname": "Slow", "severity": "page", "product": "shop"},
    "annotations": {"description": "p95 is 3 s"},
    "startsAt": "2026-03-01T11:59:00.123Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus/graph",
    "fingerprint": "f0f0f0f0f0f0f0f0",
}
FILE = AlertsFile.model_validate(
    {
        "channels": {"chat": {"kind": "webhook", "url": "https://example.org"}},
        "escalations": {
            "all": {"steps": [{"channels": ["chat"]}]},
            "default": {"steps": [{"channels": ["chat"]}], "ack_s": 5},
        },
        "routes": [{"match": 'product="shop"', "severity": "critical", "escalation": "all"}],
        "actions": [{"name": "back", "match": 'alertname="Slow"', "do": "rollback", "severity": "critical"}],
    }
)


def body(*alerts: Any, **more: Any) -> bytes:
    return json.dumps({"version": "4", "groupKey": "{}", "alerts": list(alerts), **more}).encode()


def test_a_firing_alert_is_understood_with_its_route_and_actions() -> None:
    (found,) = understood(body(GOOD), FILE, T0).observed
    assert (found.holds, found.severity, found.detail, found.ends_at) == (
        True,
        "critical",
        "p95 is 3 s",
        None,
    )
    assert found.route.name == "all"
    assert [action.name for action in found.actions] == ["back"]
    less = {**GOOD, "labels": {**GOOD["labels"], "severity": "odd"}}  # type: ignore[dict-item]
    (found,) = understood(body(less), FILE, T0).observed
    assert (found.severity, found.route.name, found.actions) == ("warning", "default", ())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"status": "odd"}, "status"),
        ({"labels": {}}, "labels"),
        ({"labels": {"alertname": 5}}, "labels.alertname"),
        ({"labels": {"al ert": "x"}}, "labels"),
        ({"labels": {"product": "shop"}}, "expected the label alertname"),
        ({"labels": {"alertname": "x" * 2000}}, "labels.alertname"),
        ({"annotations": []}, "annotations"),
        ({"startsAt": "yesterday"}, "startsAt"),
        ({"startsAt": "2026-01-01T00:00:00"}, "startsAt"),
    ],
)
def test_a_bad_alert_does_not_take_the_others_with_it(wrong: dict[str, Any], said: str) -> None:
    found = understood(body(GOOD, {**GOOD, **wrong}, GOOD), FILE, T0)
    assert len(found.observed) == 2
    (fault,) = found.faults
    assert fault.place == 1
    assert said in fault.reason


def test_our_own_alerts_that_come_back_are_not_taken() -> None:
    ours = {**GOOD, "labels": {"alertname": "NodeDown", "origin": "bumpless"}}
    found = understood(body(ours), FILE, T0)
    assert (found.observed, found.faults, found.ours) == ([], [], 1)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b"[]", "expected an object"),
        (b'{"version": "3", "alerts": []}', '"version": "4"'),
        (b'{"version": "4"}', "expected a list"),
        (body(*[GOOD] * 1001), "at most 1000 alerts"),
    ],
)
def test_what_is_no_webhook_is_refused_as_a_whole(raw: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        understood(raw, FILE, T0)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(st.sampled_from([*GOOD, "alertname", "é"]), x, max_size=4)
        ),
        max_leaves=8,
    )
)
@settings(max_examples=100, deadline=None)
def test_nothing_breaks_it(junk: Any) -> None:
    found = understood(body(junk, GOOD), FILE, T0)
    assert len(found.observed) + len(found.faults) + found.ours == 2


# What rules tell.

RULES = AlertsFile.model_validate(
    {
        "built_in": False,
        "stale_s": 100,
        "rules": [
            {
                "rule": "threshold",
                "name": "Full",
                "metric": "disk",
                "above": 1,
                "for_s": 9,
                "runbook": "https://example.org",
            },
            {"rule": "event", "name": "Crash", "event": "crash-loop"},
        ],
    }
)
GROUP = (("component", "api"), ("node", "n1"))


def told(
    observing: Observing, second: float, *active: Alert, file: AlertsFile = RULES, **answers: bool | None
) -> list[tuple[str, bool, str]]:
    found = {name: {GROUP: Answer(holds, 1, "numbers")} for name, holds in answers.items()}
    return [
        (m.labels["alertname"], m.holds, m.detail) for m in observing.told(file, found, active, at(second))
    ]


def alert(name: str = "Full", source: str = "rule") -> Alert:
    raw = {
        "fingerprint": "0" * 16,
        "labels": {"alertname": name, **dict(GROUP)},
        "severity": "warning",
        "source": source,
        "status": "firing",
        "since": T0,
        "active_since": T0,
    }
    found = Alert.model_validate(raw)
    return found.model_copy(update={"fingerprint": machine.fingerprint(found.labels)})


def test_only_what_begins_and_what_ends_is_told() -> None:
    seen = Observing()
    assert told(seen, 0, Full=False) == []
    assert told(seen, 1, Full=None) == []
    assert told(seen, 2, Full=True) == [("Full", True, "numbers")]
    assert told(seen, 3, alert(), Full=True) == []
    assert told(seen, 4, alert(), Full=False) == [("Full", False, "numbers")]


def test_what_is_not_known_ends_nothing_until_it_is_stale() -> None:
    seen = Observing()
    assert told(seen, 0, alert(), Full=True) == []
    assert told(seen, 90, alert(), Full=None) == []
    assert told(seen, 100, alert()) == []
    assert told(seen, 101, alert()) == [
        ("Full", False, "no data for 101 s, so nobody knows whether it holds")
    ]


def test_events_that_are_not_seen_again_end_and_so_do_rules_that_are_gone() -> None:
    seen = Observing()
    assert told(seen, 0, alert("Crash")) == [("Crash", False, "it was not seen again")]
    assert told(seen, 0, alert("Gone")) == [("Gone", False, "its rule is gone")]
    assert told(seen, 0, alert("Gone", source="alertmanager")) == []


def test_a_severity_that_no_label_says_is_matched_all_the_same() -> None:
    file = AlertsFile.model_validate(
        {"actions": [{"name": "all", "match": 'severity="critical"', "do": "pause"}]}
    )
    for labels, severity, found in (
        ({}, Severity.CRITICAL, ["all"]),
        ({}, Severity.WARNING, []),
        ({"severity": "page"}, Severity.CRITICAL, []),
    ):
        assert [wanted.name for wanted in routing.wanted(file, labels, severity)] == found

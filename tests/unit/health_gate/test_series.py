from __future__ import annotations

import pytest
from pydantic import ValidationError

from bumpless.common.model.gate import (
    ClassicRule,
    ErrorRateRule,
    GateSpec,
    GaugeRule,
    LatencyRule,
    parse_selector,
)
from bumpless.health_gate.series import parse_series, selects, total


@pytest.mark.parametrize(
    ("text", "name", "labels"),
    [
        ("up", "up", ()),
        ("up{}", "up", ()),
        ('name{b="2",a="1"}', "name", (("a", "1"), ("b", "2"))),
        ('name{le="+Inf",}', "name", (("le", "+Inf"),)),
        ('name{a="x,y=\\"z\\"",b="}{"}', "name", (("a", 'x,y="z"'), ("b", "}{"))),
        ('name{a="one\\ntwo\\\\"}', "name", (("a", "one\ntwo\\"),)),
        ("job:rate:5m", "job:rate:5m", ()),
    ],
)
def test_series_are_read(text: str, name: str, labels: tuple[tuple[str, str], ...]) -> None:
    assert parse_series(text) == (name, labels)


@pytest.mark.parametrize(
    "text", ["", "1name", 'name{a="1"', "name{a=1}", 'name{a="1",a="2"}', "a b", 'a{"x"}']
)
def test_what_is_no_series_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_series(text)


@pytest.mark.parametrize(
    ("text", "labels", "kept"),
    [
        ('status=~"5.."', {"status": "503"}, True),
        ('status=~"5.."', {"status": "200"}, False),
        ('status=~"5"', {"status": "503"}, False),
        ('status=~"5.."', {}, False),
        ('status!~"5.."', {}, True),
        ('status="500"', {"status": "500"}, True),
        ('status!="500"', {"status": "200"}, True),
        ('status=""', {}, True),
        ('status=~"5..",method="GET"', {"status": "500", "method": "GET"}, True),
        ('status=~"5..", method!="GET"', {"status": "500", "method": "GET"}, False),
        ('path="a,b"', {"path": "a,b"}, True),
        (r'path=~"/v\\d"', {"path": "/v1"}, False),
        (r'path=~"/v\d"', {"path": "/v1"}, True),
    ],
)
def test_selectors_keep_what_fits(text: str, labels: dict[str, str], kept: bool) -> None:
    assert selects(parse_selector(text), tuple(sorted(labels.items()))) is kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "status",
        "status=5",
        'status=="5"',
        'status=~"5"x',
        'a="1",',
        ',a="1"',
        'a="1" b="2"',
        'a=~"("',
        '{a="1"}',
    ],
)
def test_bad_selectors_are_refused_when_the_spec_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        parse_selector(text)
    with pytest.raises(ValidationError, match="expected a"):
        ErrorRateRule(bad=text)
    with pytest.raises(ValidationError, match="expected a"):
        ClassicRule(bad=text)


def test_the_total_sums_what_is_kept() -> None:
    family = {(("status", "200"),): 7.0, (("status", "500"),): 2.0, (("status", "503"),): 1.0}
    assert total(family.items()) == 10
    assert total(family.items(), parse_selector('status=~"5.."')) == 3


def test_rules_that_could_never_fail_and_gates_that_could_never_pass_are_refused() -> None:
    for kind in (ErrorRateRule, LatencyRule):
        with pytest.raises(ValidationError, match="could never fail"):
            kind(max_ratio=None)
    with pytest.raises(ValidationError, match="could never fail"):
        GaugeRule(metric="queue_length")
    with pytest.raises(ValidationError, match="could never pass"):
        GateSpec(warm_up_s=10, window_s=60, timeout_s=69)
    with pytest.raises(ValidationError):
        GaugeRule(metric="queue length", max_value=1)


def test_a_gate_names_the_families_it_reads() -> None:
    spec = GateSpec(rules=(ErrorRateRule(), LatencyRule(), GaugeRule(metric="queue_length", max_value=3)))
    assert spec.metric_names() == {
        "http_requests_total",
        "http_request_duration_seconds",
        "queue_length",
    }

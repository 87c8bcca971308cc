"""What is asked of a Prometheus, and what its answers mean."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from bumpless.common.model.metric_source import MetricsFrom, PrometheusFrom
from bumpless.health_gate.sources.prometheus import answers, queries
from bumpless.health_gate.sources.prometheus.answers import BadAnswer, newest, scrapes
from bumpless.health_gate.window import Member

MEMBER = Member("n-1", "api")


def spec(**fields: Any) -> PrometheusFrom:
    return PrometheusFrom.model_validate({"name": "main", **fields})


def matrix(*series: tuple[dict[str, str], list[tuple[float, str]]], **more: Any) -> bytes:
    result = [{"metric": metric, "values": found} for metric, found in series]
    return json.dumps(
        {"status": "success", "data": {"resultType": "matrix", "result": result}, **more}
    ).encode()


def test_the_query_names_the_families_and_the_member() -> None:
    found = queries.selector(spec(), MEMBER, {"http_requests_total", "depth"})
    names = '__name__=~"(?:depth|http_requests_total)(?:_bucket|_count|_sum|_total)?|up|release_info"'
    assert found == "{" + names + ',node="n-1",component="api"}'
    assert queries.ranged(found, timedelta(seconds=2.5)) == found + "[2500ms]"


def test_values_are_quoted_and_names_in_patterns_are_literal() -> None:
    source = spec(labels={"job": 'a"b\\c'}, patterns={"instance": "{node}:.*"})
    found = queries.selector(source, Member("n.1", "api"), ())
    assert 'job="a\\"b\\\\c"' in found
    assert 'instance=~"n\\\\.1:.*"' in found


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"url": "http://h:1"}, "either name or url"),
        ({"name": None}, "either name or url"),
        ({"name": None, "url": "http://ann:secret@h:1"}, "without user and password"),
        ({"name": None, "url": "ftp://h"}, "expected http://"),
        ({"labels": {"job": "{component}"}}, "expected {node}"),
        ({"labels": {"node": "{host}"}}, "no placeholder but"),
        ({"patterns": {"node": "{node}("}}, "regular expression"),
        ({"scrape_interval_s": 0}, "greater than 0"),
    ],
)
def test_a_source_that_cannot_work_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        spec(**fields)


def test_a_gate_without_a_source_is_written_as_before() -> None:
    from bumpless.common.model.gate import GateSpec

    assert "source" not in GateSpec().model_dump()
    named = GateSpec(source=MetricsFrom(prometheus=spec()))
    assert GateSpec.model_validate_json(named.model_dump_json()) == named


def test_samples_of_one_moment_are_one_scrape_and_no_number_is_missing() -> None:
    found = scrapes(
        matrix(
            ({"__name__": "a_total", "status": "200"}, [(1.0, "3"), (2.0, "NaN")]),
            ({"__name__": "a_total", "status": "500"}, [(2.0, "1")]),
            ({"__name__": "up"}, [(1.0, "1"), (2.0, "0"), (3.0, "+Inf")]),
        )
    )
    assert [(s.at.timestamp(), s.up) for s in found] == [(1.0, True), (2.0, False)]
    assert found[0].families["a_total"] == {(("status", "200"),): 3.0}
    assert found[1].families["a_total"] == {(("status", "500"),): 1.0}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"<html>", "expected JSON"),
        (b"[]", "Prometheus API"),
        (b'{"status":"error","errorType":"timeout","error":"query timed out"}', "timeout: query timed out"),
        (b'{"status":"success"}', "expected a matrix"),
        (b'{"status":"success","data":{"resultType":"vector","result":[]}}', "expected a matrix"),
        (b'{"status":"success","data":{"resultType":"matrix","result":{}}}', "list of series"),
        (
            b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{}}]}}',
            "series with values",
        ),
        (matrix(warnings=["a store is away"]), "may be incomplete: a store is away"),
        (matrix(({"__name__": "a"}, [(1e300, "1")])), "series with values"),
    ],
)
def test_what_is_no_whole_answer_is_refused(body: bytes, text: str) -> None:
    with pytest.raises(BadAnswer, match=text):
        scrapes(body)


def test_too_many_series_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_SERIES", 2)
    many = [({"__name__": "a", "user": str(number)}, [(1.0, "1")]) for number in range(3)]
    with pytest.raises(BadAnswer, match="3 series, which is more than 2"):
        scrapes(matrix(*many))


def test_the_newest_values_are_read_as_series() -> None:
    body = {
        "status": "success",
        "data": {
            "resultType": "vector",
            "result": [{"metric": {"__name__": "a", "b": 'x"'}, "value": [1, "2"]}],
        },
    }
    assert newest(json.dumps(body).encode()) == {'a{b="x\\""}': 2.0}

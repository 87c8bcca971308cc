"""Which series leave the node."""

from __future__ import annotations

from bumpless.executor.metrics import MAX_SERIES, keep

TEXT = """\
# HELP http_requests_total Requests answered.
# TYPE http_requests_total counter
http_requests_total{method="GET",status="200"} 12
http_requests_total{path="/a b {c} d"} 3 1700000000000
http_request_duration_seconds_bucket{le="0.1"} 4
http_request_duration_seconds_sum 1.5
http_request_duration_seconds_count 9
http_requests_in_flight 2
queue_length NaN
process_cpu_seconds_total 5
release_info{version="v1",digest="sha256:x"} 1
broken{
broken 1 2 3 x
"""


def test_a_family_is_kept_with_all_its_series_and_nothing_that_only_begins_like_it() -> None:
    assert keep(TEXT, ("http_requests", "http_request_duration_seconds")) == {
        'http_requests_total{method="GET",status="200"}': 12,
        'http_requests_total{path="/a b {c} d"}': 3,
        'http_request_duration_seconds_bucket{le="0.1"}': 4,
        "http_request_duration_seconds_sum": 1.5,
        "http_request_duration_seconds_count": 9,
        'release_info{version="v1",digest="sha256:x"}': 1,
    }


def test_what_is_no_number_is_no_sample() -> None:
    assert keep(TEXT, ("queue_length",)) == {'release_info{version="v1",digest="sha256:x"}': 1}


def test_the_number_of_series_is_bounded() -> None:
    assert len(keep("".join(f'a{{n="{n}"}} 1\n' for n in range(MAX_SERIES * 2)), ("a",))) == MAX_SERIES

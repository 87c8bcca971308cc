"""What a Prometheus answers: JSON to scrapes. Pure.

Samples with one moment are one scrape of one target. NaN and infinity are missing. An answer that says of itself
that it may lack something is no answer: a lacking series of errors would look like health.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bumpless.health_gate.series import Labels
from bumpless.health_gate.window import Family

NAME = "__name__"
MAX_SERIES = 10_000
"""Of one component on one node; more is a metric with an identifier among its labels."""


class BadAnswer(ValueError):
    """Not what was asked for; the text says what came instead."""


@dataclass(frozen=True)
class Scrape:
    """Everything with one moment. `up` False: Prometheus could not read the target."""

    at: datetime
    up: bool
    families: Mapping[str, Family]


def scrapes(body: bytes) -> tuple[Scrape, ...]:
    """The scrapes in the answer to a query with a range, by time.

    Raises:
        BadAnswer: no success, not a matrix, a warning, or more than MAX_SERIES series.
    """
    found: dict[datetime, dict[str, dict[Labels, float]]] = {}
    for metric, values in _matrix(_success(body)):
        name = metric.get(NAME)
        if name is None:
            continue
        labels = tuple(sorted((label, text) for label, text in metric.items() if label != NAME))
        for at, value in values:
            if math.isfinite(value):
                found.setdefault(at, {}).setdefault(name, {})[labels] = value
    return tuple(Scrape(at, _is_up(families), families) for at, families in sorted(found.items()))


def newest(body: bytes) -> dict[str, float]:
    """Series, as text, to value: the answer to an instant query. Raises: BadAnswer."""
    data = _success(body)
    if data.get("resultType") != "vector":
        raise BadAnswer(f"expected a vector, found {data.get('resultType')!r}")
    found: dict[str, float] = {}
    for one in _bounded(data.get("result")):
        metric, (_, text) = one["metric"], one["value"]
        inside = ",".join(
            f"{label}={json.dumps(value)}" for label, value in sorted(metric.items()) if label != NAME
        )
        found[f"{metric.get(NAME, '')}{{{inside}}}"] = float(text)
    return found


def _is_up(families: Mapping[str, Family]) -> bool:
    return any(value > 0 for value in families.get("up", {(): 1.0}).values())


def _success(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise BadAnswer(f"expected JSON, found {body[:80]!r}") from error
    if not isinstance(answer, dict) or not isinstance(answer.get("data", {}), dict):
        raise BadAnswer(f"expected an answer of the Prometheus API, found {body[:80]!r}")
    if answer.get("status") != "success":
        raise BadAnswer(f"{answer.get('errorType', 'error')}: {str(answer.get('error', 'no reason'))[:300]}")
    if answer.get("warnings"):
        raise BadAnswer(f"it may be incomplete: {'; '.join(map(str, answer['warnings']))[:300]}")
    data: dict[str, Any] = answer.get("data", {})
    return data


def _matrix(data: dict[str, Any]) -> Iterator[tuple[dict[str, str], list[tuple[datetime, float]]]]:
    if data.get("resultType") != "matrix":
        raise BadAnswer(f"expected a matrix, found {data.get('resultType')!r}")
    for one in _bounded(data.get("result")):
        try:
            yield one["metric"], [(_moment(at), float(text)) for at, text in one["values"]]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadAnswer(f"expected series with values, found {str(one)[:80]}") from error


def _bounded(result: Any) -> list[Any]:
    if not isinstance(result, list):
        raise BadAnswer(f"expected a list of series, found {type(result).__name__}")
    if len(result) > MAX_SERIES:
        raise BadAnswer(
            f"{len(result)} series, which is more than {MAX_SERIES}: narrow labels, or drop a label that names "
            "users or requests"
        )
    return result


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

"""Where a gate's numbers come from, where that is not what the nodes scrape themselves.

Part of a gate's spec. It names places, never secrets: credentials belong to the health gate's own settings.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from bumpless.common.contract.base import StrictModel, Token

LabelName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
NODE, COMPONENT = "{node}", "{component}"
_PLACEHOLDER = re.compile(r"\{(?:node|component)\}")
_URL = re.compile(r"https?://[^/?#\s]+(?:/[^?#\s]*)?")
_BRACED = re.compile(r"\{[a-z_.]*\}")


def _known_words(text: str) -> str:
    for word in _BRACED.findall(text):
        if not _PLACEHOLDER.fullmatch(word):
            raise ValueError(f"expected no placeholder but {NODE} and {COMPONENT}, found {word} in {text!r}")
    return text


def _pattern(text: str) -> str:
    try:
        re.compile(_PLACEHOLDER.sub("x", _known_words(text)))
    except re.error as error:
        raise ValueError(f"expected a regular expression, found {text!r}: {error}") from error
    return text


def _without_secrets(url: str) -> str:
    if "@" in url:
        raise ValueError(
            "expected a URL without user and password: give the Prometheus a name in the settings of the health "
            "gate, and name it here"
        )
    if not _URL.fullmatch(url):
        raise ValueError(f"expected http://HOST:PORT or https://HOST:PORT, maybe with a path, found {url!r}")
    return url.rstrip("/")


Template = Annotated[str, AfterValidator(_known_words)]
PatternTemplate = Annotated[str, AfterValidator(_pattern)]
PrometheusUrl = Annotated[str, AfterValidator(_without_secrets)]


class PrometheusFrom(StrictModel):
    """Which Prometheus, and by which labels it knows a component on a node.

    `name` is one of those in the health gate's settings; `url` is one that needs no credentials. `labels` have to be
    equal, `patterns` are regular expressions over the whole value; `{node}` and `{component}` are filled in.
    `scrape_interval_s` is how often that Prometheus scrapes: four times as long without a sample is a silence.
    """

    name: Token | None = None
    url: PrometheusUrl | None = None
    labels: dict[LabelName, Template] = {"node": NODE, "component": COMPONENT}
    patterns: dict[LabelName, PatternTemplate] = {}
    scrape_interval_s: float = Field(default=15, gt=0, le=300)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.name is None) == (self.url is None):
            raise ValueError("expected either name or url, found both or neither")
        return self

    @model_validator(mode="after")
    def _tells_nodes_apart(self) -> Self:
        if not any(NODE in text for text in (*self.labels.values(), *self.patterns.values())):
            raise ValueError(f"expected {NODE} in labels or patterns: all nodes would have the same series")
        return self

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"prometheus {self.name or self.url}"


class PushedFrom(StrictModel):
    """Metrics that somebody on each node pushes over the broker, every `interval_s`."""

    interval_s: float = Field(default=10, gt=0, le=300)


class MetricsFrom(StrictModel):
    """The source of a gate's metrics. Liveness, version and restarts always come from the nodes.

    A source that has told nothing of any canary node for `silent_s` ends the gate as inconclusive.
    """

    prometheus: PrometheusFrom | None = Field(default=None, exclude_if=lambda found: found is None)
    pushed: PushedFrom | None = Field(default=None, exclude_if=lambda found: found is None)
    silent_s: float = Field(default=120, gt=0)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.prometheus is None) == (self.pushed is None):
            raise ValueError("expected either prometheus or pushed, found both or neither")
        return self

    @property
    def title(self) -> str:
        """How messages call it."""
        return "pushed metrics" if self.prometheus is None else self.prometheus.title

    @property
    def interval_s(self) -> float:
        """How often a sample of a node is to be expected."""
        if self.pushed is not None:
            return self.pushed.interval_s
        assert self.prometheus is not None
        return self.prometheus.scrape_interval_s

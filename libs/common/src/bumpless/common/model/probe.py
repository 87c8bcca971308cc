"""What nodes try out for a gate, and the rules that read what came of it.

A probe is run by the executor beside an instance that takes traffic, again and again while that instance does. Its
outcome is shipped as samples of that instance: `bumpless_probe_success`, `bumpless_probe_duration_seconds`, and
`bumpless_probe_value`. Texts may hold `{node.name}`, `{node.address}`, `{state}`, `{config}`. Durations are seconds.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bumpless.common.contract.base import StrictModel, Token
from bumpless.common.model.gate_rules import JudgedRule
from bumpless.common.model.scenario import ScenarioFile

SUCCESS = "bumpless_probe_success"
DURATION = "bumpless_probe_duration_seconds"
VALUE = "bumpless_probe_value"
LINK = "bumpless_dependency_up"
STATUS = Annotated[int, Field(ge=100, le=599)]
_URL = re.compile(r"https?://[^/?#\s]+(?:[/?]\S*)?")
_PORT = re.compile(r".+:\d{1,5}")


def _web(url: str) -> str:
    if not _URL.fullmatch(url):
        raise ValueError(f"expected a URL such as http://{{node.address}}:8080/healthz, found {url!r}")
    return url


def _host_and_port(address: str) -> str:
    if not _PORT.fullmatch(address):
        raise ValueError(f"expected HOST:PORT, found {address!r}")
    return address


Url = Annotated[str, AfterValidator(_web)]
Address = Annotated[str, AfterValidator(_host_and_port)]


class HttpProbe(StrictModel):
    """One request; it succeeds with one of `status`, and `contains` within the body. Redirects are not followed."""

    url: Url
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] = "GET"
    headers: dict[str, str] = {}
    body: str = ""
    status: tuple[STATUS, ...] = (200,)
    contains: str | None = None


class TcpProbe(StrictModel):
    """Succeeds when somebody accepts a connection."""

    address: Address


class CommandProbe(StrictModel):
    """Succeeds with exit status 0. `reads: number`: and the last line of its output is a number, which is shipped.

    An argument list, run in the tree of the version with the environment of the service.
    """

    argv: tuple[str, ...] = Field(min_length=1)
    reads: Literal["exit", "number"] = "exit"


class LinkProbe(StrictModel):
    """The addresses of a dependency, made by the planner: each is tried, and each outcome is shipped."""

    addresses: tuple[str, ...]


class Probe(StrictModel):
    """`node`: only there. `repeat` False: not again after it has succeeded once beside an instance.

    `scenario_file` is read when the release is built, and is `scenario` from then on.
    """

    name: Token
    http: HttpProbe | None = None
    tcp: TcpProbe | None = None
    command: CommandProbe | None = None
    scenario: ScenarioFile | None = Field(default=None, exclude_if=lambda found: found is None)
    scenario_file: str | None = Field(default=None, exclude_if=lambda found: found is None)
    links: LinkProbe | None = None
    interval_s: float = Field(default=5, ge=0.1)
    timeout_s: float = Field(default=5, gt=0, le=600)
    node: Token | None = None
    repeat: bool = True

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.http, self.tcp, self.command, self.scenario, self.scenario_file, self.links]
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError(
                "expected one of http, tcp, command, scenario and scenario_file, found none or several"
            )
        return self

    @property
    def patience_s(self) -> float:
        """After so long without an outcome there is none."""
        return 4 * self.interval_s + self.timeout_s


class ProbeRule(JudgedRule):
    """Fails when the probe failed `failures` times in a row on a node of the batch.

    Passes when it succeeded on every one, lately; `once`: at any time since the switch.
    """

    rule: Literal["probe"] = "probe"
    probe: Token
    failures: int = Field(default=3, ge=1)
    once: bool = False

    @property
    def called(self) -> str:
        """Its name, or its kind and its probe."""
        return self.name or f"{self.rule} {self.probe}"


class ValueRule(JudgedRule):
    """Fails when the number that the probe's command printed is below `min` or above `max`, `failures` times in a row."""

    rule: Literal["value"] = "value"
    probe: Token
    min: float | None = None
    max: float | None = None
    failures: int = Field(default=1, ge=1)

    @property
    def called(self) -> str:
        """Its name, or its kind and its probe."""
        return self.name or f"{self.rule} {self.probe}"

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("expected min or max, found neither: the rule could never fail")
        return self


class DependenciesRule(JudgedRule):
    """Fails when, from a node of the batch, `need` of a dependency's addresses did not answer `failures` times in a row.

    `need: any`: one that answers is enough. A link that is broken for nodes with the earlier version as well is not
    the release's fault, and makes the gate wait instead.
    """

    rule: Literal["dependencies"] = "dependencies"
    need: Literal["any", "all"] = "any"
    failures: int = Field(default=3, ge=1)
    interval_s: float = Field(default=5, ge=0.1)
    timeout_s: float = Field(default=2, gt=0, le=60)


class SpeedRule(JudgedRule):
    """Fails when the new version answers the probe slower than the old one, by more than chance explains.

    The medians are compared: the new one's must not be above `max_ratio` times the old one's and `floor_s`. `least` is how
    many successful tries each of them needs.
    """

    rule: Literal["speed"] = "speed"
    probe: Token
    max_ratio: float = Field(default=1.5, ge=1)
    floor_s: float = Field(default=0.005, ge=0)
    least: int = Field(default=10, ge=5)

    @property
    def called(self) -> str:
        """Its name, or its kind and its probe."""
        return self.name or f"{self.rule} {self.probe}"


ProbeRules = ProbeRule | ValueRule | SpeedRule | DependenciesRule


class NoTraffic(StrictModel):
    """What stands in for requests where there are none for `after_s`: the probe succeeds on every node of the batch."""

    after_s: float = Field(default=60, ge=0)
    probe: Token

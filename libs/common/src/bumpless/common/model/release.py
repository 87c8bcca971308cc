"""A release: what a person writes (`ReleaseFile`) and what is signed and announced (`Release`).

The file form is strict: an unknown field is refused. The signed form has every artifact pinned by digest and
every default made explicit, so that two readers of different age see the same release.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from bumpless.common.contract.base import Digest, Model, StrictModel, Token, canonical_json
from bumpless.common.model.channels import Consumes, Produces
from bumpless.common.model.compat import CompatFile, LifecycleFile, RecordFile, SignedRecord, VersionText
from bumpless.common.model.config import ConfigContent, ConfigSource
from bumpless.common.model.contracts import Contract, ContractFile
from bumpless.common.model.finding import Finding
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.hooks import Profile, Proxy, SwitchHooks
from bumpless.common.model.interfaces import Interfaces, InterfacesFile
from bumpless.common.model.migration import Migration, MigrationFile
from bumpless.common.model.preflight import Needs, Preflight
from bumpless.common.model.probe import DependenciesRule
from bumpless.common.model.release_hooks import Hooks
from bumpless.common.model.service_settings import ServiceSettings
from bumpless.common.model.strategy import CheckedShare, Strategy


class RollbackPolicy(StrEnum):
    """`auto`: a failed rollout is taken back at once. `manual`: it stays where it is until a person acts."""

    AUTO = "auto"
    MANUAL = "manual"


class Placement(StrictModel):
    """The nodes of a component: named, or all that carry every given label. Neither given: every node."""

    nodes: tuple[Token, ...] = ()
    labels: dict[str, str] = {}


class Timing(StrictModel):
    """Limits of one switch on a node, in seconds."""

    ready_timeout_s: float = Field(default=60, gt=0)
    soak_s: float = Field(default=1, ge=0)
    lame_duck_s: float = Field(default=5, ge=0)
    drain_timeout_s: float = Field(default=30, gt=0)
    warm_s: float = Field(default=60, ge=0)


class Limits(StrictModel):
    """How long a rollout waits before it decides without an answer, in seconds.

    `fetch_allowance_s` is part of every batch's time, beside its ready, soak, lame duck and drain limits: for the
    command, the journal, and a fetch when what was staged is gone.
    """

    stage_timeout_s: float = Field(default=600, gt=0)
    fetch_allowance_s: float = Field(default=60, gt=0)
    pause_timeout_s: float = Field(default=86_400, gt=0)
    approval_timeout_s: float = Field(default=86_400, gt=0)
    revert_timeout_s: float = Field(default=900, gt=0)


ListenAddress = Annotated[str, StringConstraints(pattern=r"^((tcp|udp)://[^/\s]+:[0-9]{1,5}|unix:///\S+)$")]


class Driver(StrEnum):
    """What runs the instances of a component on a node. `executor`: the component is the node's executor itself."""

    NATIVE = "native"
    SYSTEMD = "systemd"
    HOOKS = "hooks"
    EXECUTOR = "executor"


ITSELF = "executor"
"""The name of the component that is the executor. No other component may have it: launchers start its versions."""


class OnCrashLoop(StrEnum):
    """What a node does by itself about a component that crashes again and again.

    `restart`: it goes on starting the current version. `previous`: it returns to the version before, once.
    """

    RESTART = "restart"
    PREVIOUS = "previous"


class CrashLoop(StrictModel):
    """`crashes` of the serving process or failed starts of it within `window_s` seconds are a crash loop."""

    crashes: int = Field(default=5, ge=2, le=100)
    window_s: float = Field(default=120, gt=0)


class Keep(StrictModel):
    """How many trees stay on a node beside the current and the previous one, and for how many days after they came."""

    versions: int = Field(default=0, ge=0, le=1000)
    days: float = Field(default=30, gt=0, le=36_500)


class Run(StrictModel):
    """How an instance is started. Commands are argument lists; no shell takes part.

    `{node.name}`, `{node.address}`, `{state}`, `{config}` and `{config.shared}` are filled in on the node; `{peers.COMPONENT}` by the planner,
    as a comma-separated list of that component's first listeners. `service` are settings of systemd.exec(5) and
    systemd.resource-control(5) for the unit of an instance. `overlap` False: two instances must never work at once,
    so the new one waits as a standby until the old one is gone; none is kept warm. `config` are the files below
    `{config}`, rendered when the release was built; a release file has their sources in the component's `config`.
    """

    driver: Driver = Driver.NATIVE
    overlap: bool = True
    command: tuple[str, ...] = ()
    listen: dict[Token, ListenAddress] = {}
    env: dict[str, str] = {}
    service: ServiceSettings = {}
    metrics_interval_s: float = Field(default=5, gt=0)
    on_crash_loop: OnCrashLoop = OnCrashLoop.RESTART
    crash_loop: CrashLoop = CrashLoop()
    timing: Timing = Timing()
    keep: Keep = Keep()
    switch_hooks: SwitchHooks | None = None
    profile: Profile | None = None
    proxy: Proxy | None = None
    config: tuple[ConfigContent, ...] = Field(default=(), exclude_if=lambda files: not files)

    def names_word(self, word: str) -> bool:
        """Whether a placeholder such as `{config}` stands in the command or the environment."""
        return any(word in text for text in (*self.command, *self.env.values()))

    @model_validator(mode="after")
    def _hooks_belong_to_their_driver(self) -> Self:
        given = [name for name in ("switch_hooks", "profile") if getattr(self, name) is not None]
        if (self.driver is Driver.HOOKS) != (len(given) == 1):
            raise ValueError(
                "expected one of switch_hooks and profile with driver hooks, and none with another, "
                f"found driver {self.driver} and {' and '.join(given) or 'neither'}"
            )
        return self

    @model_validator(mode="after")
    def _the_proxy_has_something_to_stand_before(self) -> Self:
        if self.proxy is not None and self.proxy.haproxy.servers:
            wanted = self.proxy.haproxy.listener
            if not self.listen or (wanted is not None and wanted not in self.listen):
                raise ValueError(
                    f"expected the proxy's own address in listen as {wanted or 'its first'}, found none"
                )
        return self

    @model_validator(mode="after")
    def _a_standby_keeps_the_service_contract(self) -> Self:
        if not self.overlap and self.driver is Driver.HOOKS:
            raise ValueError("expected overlap: false with driver native or systemd, found driver hooks")
        return self

    @model_validator(mode="after")
    def _settings_of_a_unit(self) -> Self:
        if self.service and self.driver is not Driver.SYSTEMD:
            raise ValueError(f"expected run.service only with the driver systemd, found {self.driver}")
        return self

    @model_validator(mode="after")
    def _fits_its_driver(self) -> Self:
        if self.driver is not Driver.EXECUTOR:
            if not self.command:
                raise ValueError("expected a `command`, found none")
        elif self.command or self.listen or self.env or not self.overlap:
            raise ValueError(
                "expected no command, listen, env and overlap with the driver executor, because an executor is started by "
                "its launcher with the node's own settings"
            )
        return self


class ThroughFile(StrictModel):
    """A version on the way to the component's. `run` None: it is run as the component is."""

    version: VersionText
    artifact: str
    run: Run | None = None


class ComponentFile(StrictModel):
    """One component in a release file. `through`: versions that nodes may have to pass, in any order."""

    name: Token
    version: str | None = None
    depends_on: tuple[Token, ...] = ()
    produces: tuple[Produces, ...] = ()
    consumes: tuple[Consumes, ...] = ()
    artifact: str | None = None
    through: tuple[ThroughFile, ...] = ()
    place: Placement = Placement()
    run: Run | None = None
    hooks: Hooks = Hooks()
    needs: Needs = Needs()
    strategy: Strategy | None = None
    gate: GateSpec | None = None
    config: tuple[ConfigSource, ...] = ()
    migrations: tuple[MigrationFile, ...] = ()

    @model_validator(mode="after")
    def _one_migration_of_a_name(self) -> Self:
        names = [migration.id for migration in self.migrations]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"expected one migration for each id, found {twice} twice")
        return self

    @model_validator(mode="after")
    def _links_lead_somewhere(self) -> Self:
        rules = () if self.gate is None or self.depends_on else self.gate.rules
        if any(isinstance(rule, DependenciesRule) for rule in rules):
            raise ValueError("expected depends_on beside a gate with the rule dependencies, found none")
        return self

    @model_validator(mode="after")
    def _configuration_has_its_place(self) -> Self:
        paths = [source.path for source in self.config]
        if twice := next((p for p in paths if paths.count(p) > 1), None):
            raise ValueError(f"expected one file in config for each path, found {twice} twice")
        if self.run is None:
            return self
        if self.run.config:
            raise ValueError("expected configuration files in the component's config, found them in run")
        if self.config and self.run.driver is Driver.EXECUTOR:
            raise ValueError(
                "expected no config with the driver executor: its node settings are not a release's"
            )
        wanted = [w for w in ("{config}", "{config.shared}") if self.run.names_word(w)]
        if wanted and not self.config:
            raise ValueError(f"expected config with the files that {wanted[0]} is to hold, found none")
        return self


class ReleaseFile(StrictModel):
    """A release as it is written. `version` of a component defaults to the release's."""

    format: Literal[1] = 1
    product: Token = "product"
    version: str | None = None
    strategy: Strategy = Strategy()
    rollback_policy: RollbackPolicy = RollbackPolicy.AUTO
    max_unavailable: CheckedShare = "100%"
    approval: bool = False
    limits: Limits = Limits()
    gate: GateSpec | None = None
    components: tuple[ComponentFile, ...] = Field(min_length=1)
    compat: CompatFile = CompatFile()
    lifecycle: LifecycleFile = LifecycleFile()
    records: dict[Token, RecordFile] = {}
    contracts: tuple[ContractFile, ...] = ()
    interfaces: InterfacesFile = InterfacesFile()
    preflight: Preflight = Preflight()

    @field_validator("components", mode="before")
    @classmethod
    def _from_mapping(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return [{"name": name, **(body or {})} for name, body in value.items()]
        return value


class Through(Model):
    """A version on the way, complete: its tree, and how it is run."""

    version: str
    root: Digest
    artifact: Digest
    artifact_size: int
    run: Run


class Component(Model):
    """One component of a signed release. `root` names the tree, `artifact` the blob with its signed description.

    `tree_bytes` and `tree_files` are the size of the tree; 0 where an older publisher did not say. `found` is what was
    found in its configuration files when it was published, for preflight.
    """

    name: Token
    version: str
    depends_on: tuple[Token, ...] = ()
    produces: tuple[Produces, ...] = ()
    consumes: tuple[Consumes, ...] = ()
    root: Digest
    artifact: Digest
    artifact_size: int
    tree_bytes: int = 0
    tree_files: int = 0
    through: tuple[Through, ...] = ()
    place: Placement = Placement()
    run: Run
    hooks: Hooks = Hooks()
    needs: Needs = Needs()
    strategy: Strategy
    gate: GateSpec | None = None
    found: tuple[Finding, ...] = Field(default=(), exclude_if=lambda found: not found)
    migrations: tuple[Migration, ...] = Field(default=(), exclude_if=lambda found: not found)


class Release(Model):
    """What CI signs and announces: every artifact pinned, every default explicit."""

    format: Literal[1] = 1
    product: Token
    version: str
    rollback_policy: RollbackPolicy = RollbackPolicy.AUTO
    max_unavailable: CheckedShare = "100%"
    approval: bool = False
    limits: Limits = Limits()
    components: tuple[Component, ...] = Field(min_length=1)
    compat: CompatFile = CompatFile()
    lifecycle: LifecycleFile = LifecycleFile()
    preflight: Preflight = Preflight()
    records: dict[Token, SignedRecord] = Field(default={}, exclude_if=lambda records: not records)
    contracts: tuple[Contract, ...] = Field(default=(), exclude_if=lambda contracts: not contracts)
    interfaces: Interfaces = Field(default=Interfaces(), exclude_if=lambda known: not known)

    def brings(self) -> Iterator[Component | Through]:
        """Everything that has a tree: the components, and the versions on their ways."""
        for component in self.components:
            yield component
            yield from component.through

    @property
    def digest(self) -> Digest:
        """What the release is: everything but how its trees are packed, which depends on what the fleet runs.

        The same file and trees give the same digest, whenever and from wherever they are published.
        """
        packed: dict[str, Any] = {"artifact": True, "artifact_size": True}
        brought = {**packed, "through": {"__all__": packed}}
        raw = self.model_dump(mode="json", exclude={"components": {"__all__": brought}})
        return Digest("sha256:" + hashlib.sha256(canonical_json(raw)).hexdigest())

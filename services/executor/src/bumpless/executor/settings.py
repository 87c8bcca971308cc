"""The executor's settings, from `BUMPLESS_EXECUTOR_*`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from bumpless.common.artifacts.sandbox.confine import Measure
from bumpless.common.contract.base import Token
from bumpless.common.settings import NatsSettings


class ExecutorSettings(NatsSettings):
    """`address` is what other nodes reach this one by; it fills in `{node.address}`. `data_dir` is this node's alone.

    `trust` is the file with the keys that may release and deploy. `drills` lets `InjectFault` be obeyed. `store_url` is
    where packages come from (docs/stores.md), `store_ca` a file with certificate authorities for it.
    """

    model_config = SettingsConfigDict(env_prefix="BUMPLESS_EXECUTOR_")

    node: Token
    address: str = "127.0.0.1"
    labels: dict[str, str] = {}
    data_dir: Path
    trust: Path
    store_url: str = "jetstream:artifacts"
    store_ca: Path | None = None
    fetch_bytes_per_s: float = Field(
        default=0, ge=0, description="Bandwidth of all fetches of this node together; 0 is without a limit"
    )
    fetch_jitter_s: float = Field(
        default=1.0,
        ge=0,
        description="Longest wait before a fetch, drawn at random: a fleet is told all at once",
    )
    patcher_require: frozenset[Measure] = Field(
        default=frozenset(),
        description="What must confine the process that decodes packages (docs/patcher.md)",
    )
    drills: bool = False
    ops_port: int = Field(default=0, ge=0, le=65535)
    log_level: str = "info"
    heartbeat_s: float = Field(default=15.0, gt=0)
    catch_up_s: float = Field(
        default=30.0, gt=0, description="Shortest time between two looks; up to twice as long"
    )
    unit_dir: Path = Field(
        default=Path("/run/systemd/system"),
        description="Where the systemd driver writes its units (docs/systemd.md)",
    )
    alert_hooks: dict[Token, tuple[str, ...]] = Field(
        default={},
        description="Programs with their arguments that alerts may start here, by name (docs/alerts.md)",
    )
    stop_services_on_exit: bool = False

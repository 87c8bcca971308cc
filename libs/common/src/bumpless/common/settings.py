"""Settings from the environment, one class per service; a misspelled variable is an error, not a default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bumpless.common.access.entry import Entry
from bumpless.common.access.redis_entry import RedisEntry
from bumpless.common.errors import Refused
from bumpless.common.shell.deployment import Weakness


class Settings(BaseSettings):
    """Base of every service's settings. Subclasses set `env_prefix` in `model_config`."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_nested_delimiter="__")

    @classmethod
    def read(cls, **given: object) -> Self:
        """The settings, from arguments and then the environment.

        Raises:
            Refused: a variable with our prefix that no setting has, or a value of the wrong form.
        """
        prefix = str(cls.model_config.get("env_prefix", "")).upper()
        known = {prefix + name.upper() for name in cls.model_fields}
        for name in sorted(os.environ):
            if prefix and name.startswith(prefix) and name.split("__")[0] not in known:
                raise Refused(f"one of {', '.join(sorted(known))}", name, "a misspelled environment variable")
        try:
            return cls(**{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            if first["type"] == "missing":
                raise Refused(f"the setting {prefix}{where.upper()}", "none") from error
            raise Refused(
                f"a valid {prefix}{where.upper()}", f"{first.get('input')!r}", first["msg"]
            ) from error


class NatsSettings(Settings):
    """`nats_url` is one server or, with commas between, all of a cluster. `nats_seed` is the file with this part's key,
    `nats_ca` one with the authorities that vouch for the broker.

    `ops_host` is the address of the ops port, which every part has: 0.0.0.0 where a Prometheus comes from elsewhere.
    """

    ops_host: str = "127.0.0.1"
    nats_url: str = "nats://127.0.0.1:4222"
    nats_seed: Path | None = None
    nats_ca: Path | None = None

    @property
    def broker(self) -> Entry:
        return Entry(self.nats_url, self.nats_seed, self.nats_ca)


class DeclaringSettings(NatsSettings):
    """Of who declares streams: `replicas` is how many nats-servers hold each of them, all or one (docs/cluster.md)."""

    replicas: int = 1

    @field_validator("replicas")
    @classmethod
    def _one_or_three(cls, value: int) -> int:
        if value not in (1, 3):
            raise ValueError("1: a nats-server of its own; 3: a cluster of three")
        return value


class BrokerSettings(DeclaringSettings):
    """What every service that keeps a state needs. `accept` names what is weak and meant to be so (docs/operations.md).

    `redis_seed` is the file with this part's key, from which its password follows; `redis_ca` one with the authorities that
    vouch for Redis, whose URL is rediss:// then.
    """

    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_seed: Path | None = None
    redis_ca: Path | None = None
    accept: frozenset[Weakness] = frozenset()
    ops_port: int = 0
    log_level: str = "info"

    def store(self, owner: str) -> RedisEntry:
        """How `owner` gets to its state."""
        return RedisEntry(self.redis_url, owner, self.redis_seed, self.redis_ca)

"""The events file of a fleet: who is told of what by webhook, and which repositories release which product.

Durations are seconds. Whatever is misspelled is an error, and the file before stays in force.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from bumpless.common.contract.base import StrictModel, Token
from bumpless.common.model.alerting import Url

WordFilter = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z-]+)\.(\*|[a-z]+)$")]
"""`<subject>.<predicate>` of the delivery vocabulary; either may be `*`."""


class Webhook(StrictModel):
    """Events by POST, signed where a secret is given.

    A delivery that fails is tried again after `first_retry_s`, then twice as long each time, at most `last_retry_s`, until
    `deadline_s` after the event. Addresses of private networks, loopback too, only with `allow_private`.
    """

    name: Token
    url: Url
    events: tuple[WordFilter, ...] = Field(default=("*.*",), min_length=1, max_length=32)
    mode: Literal["binary", "structured"] = "structured"
    secret_file: str | None = None
    allow_private: bool = False
    timeout_s: float = Field(default=10, gt=0, le=60)
    first_retry_s: float = Field(default=5, ge=0.05, le=3600)
    last_retry_s: float = Field(default=900, ge=0.05, le=86_400)
    deadline_s: float = Field(default=86_400, gt=0, le=30 * 86_400)


class EventsFile(StrictModel):
    """`environment` is the name of this fleet in events. `repositories` names the product of a repository, `owner/name`,
    whose releases on GitHub or GitLab start rollouts."""

    environment: str = Field(default="default", min_length=1, max_length=128)
    webhooks: tuple[Webhook, ...] = Field(default=(), max_length=100)
    repositories: dict[str, Token] = {}

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [webhook.name for webhook in self.webhooks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"expected every webhook once, found {', '.join(twice)} twice")
        return self

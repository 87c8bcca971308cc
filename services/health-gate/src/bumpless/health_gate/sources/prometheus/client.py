"""The HTTP API of one Prometheus: queries, with credentials, limits and deadlines.

Redirects are not followed, and no proxy or .netrc is read: credentials go where the settings say and nowhere else.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Self

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, model_validator

from bumpless.common.model.metric_source import PrometheusUrl
from bumpless.health_gate.sources.prometheus.answers import BadAnswer

MAX_BYTES = 32 << 20
"""Of one answer; a million series are more, and are not read to their end."""
PIECE = 1 << 16
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that concern every query, not this one (RFC 9110)."""


class PrometheusAccess(BaseModel):
    """One Prometheus of the settings. Secrets are read from their files at every query, so they may change."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    url: PrometheusUrl
    token_file: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    headers: dict[str, str] = {}
    timeout_s: float = Field(default=10, gt=0, le=120)

    @model_validator(mode="after")
    def _one_way_to_log_in(self) -> Self:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("expected user and password_file together, found one of them")
        if self.user is not None and self.token_file is not None:
            raise ValueError("expected token_file or user, found both")
        return self


class Away(Exception):
    """Nobody there answers queries just now; the text says how it failed."""


class Prometheus:
    """Close it after use."""

    def __init__(self, access: PrometheusAccess) -> None:
        self._access = access
        self._opened: aiohttp.ClientSession | None = None

    async def query(self, promql: str, at: datetime) -> bytes:
        """The body of the answer to an instant query.

        Raises:
            Away: it does not answer, or not in time, or refuses the credentials.
            BadAnswer: it refuses this query, or answers with more than MAX_BYTES.
        """
        limit = self._access.timeout_s
        form = {"query": promql, "time": f"{at.timestamp():.3f}", "timeout": f"{limit:g}s"}
        try:
            async with self._session().post(
                f"{self._access.url}/api/v1/query",
                data=form,
                headers=self._headers(),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=limit),
            ) as answer:
                body = await _bounded(answer)
        except TimeoutError as error:
            raise Away(f"no answer within {limit:g} s") from error
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise Away(str(error)[:200] or type(error).__name__) from error
        if answer.status in PASSING:
            raise Away(f"answered {answer.status} {answer.reason}")
        if answer.status in (401, 403):
            raise Away(f"answered {answer.status} {answer.reason}: it does not accept the credentials")
        if answer.status not in (200, 400, 422):  # these come with a reason in JSON
            raise Away(f"answered {answer.status} {answer.reason}, which is not the Prometheus API")
        return body

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    def _headers(self) -> Mapping[str, str]:
        found = dict(self._access.headers)
        if self._access.token_file is not None:
            found["Authorization"] = f"Bearer {self._access.token_file.read_text().strip()}"
        if self._access.password_file is not None:
            pair = f"{self._access.user}:{self._access.password_file.read_text().strip()}"
            found["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return found

    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            context = ssl.create_default_context(cafile=self._access.ca_file)
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context), headers={"User-Agent": "bumpless"}
            )
        return self._opened


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    pieces, size = [], 0
    async for piece in answer.content.iter_chunked(PIECE):
        size += len(piece)
        if size > MAX_BYTES:
            answer.close()
            raise BadAnswer(
                f"more than {MAX_BYTES >> 20} MiB, so too many series: narrow labels, or drop a label that names "
                "users or requests"
            )
        pieces.append(piece)
    return b"".join(pieces)

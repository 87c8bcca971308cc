"""Builders of contract rows and verifications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.contract.base import canonical_json
from bumpless.common.contract.envelope import STATEMENT_TYPE
from bumpless.common.model.contracts import Contract, party
from bumpless.common.model.statement import Said, Verified
from support.plans import T0, digest


def verified(**more: Any) -> dict[str, Any]:
    """What is said of a row, beside its parties and pact."""
    return {"interactions": 2, "by": "ann", "at": T0, **more}


def row(
    consumer: str,
    provider: str,
    said: Mapping[str, Any] | None,
    *,
    pact: str = "",
    key: SigningKey | None = None,
) -> Contract:
    """`sdk@2.4.0`, `api@3.0.0`; a version of a consumer has a pact of its own. `key` signs what is said."""
    (client, used), (server, offered) = party(consumer), party(provider)
    parties = {
        "consumer": client,
        "consumer_version": str(used),
        "provider": server,
        "provider_version": str(offered),
        "pact": pact or digest(f"pact of {client} {used} with {server}"),
    }
    found = None if said is None else Verified.model_validate({**parties, **said})
    return Contract.model_validate(
        {**parties, "verified": found, "proof": signed(found, key) if found is not None and key else ""}
    )


def signed(said: Said, key: SigningKey) -> str:
    return key.sign(STATEMENT_TYPE, canonical_json(said.model_dump(mode="json"))).to_bytes().decode()

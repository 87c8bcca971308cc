"""Contracts of a release file: pacts and signed verifications, read from the disk beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bumpless.cli.context import Context
from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.signing import Role, TrustStore
from bumpless.common.compat.contracts import row_of
from bumpless.common.compat.pact import MAX_PACT_BYTES, Pact, read_pact
from bumpless.common.contract.base import Digest
from bumpless.common.contract.envelope import STATEMENT_TYPE, Envelope
from bumpless.common.errors import Refused
from bumpless.common.model.contracts import DIGEST, Contract, ContractFile, party
from bumpless.common.model.statement import STATEMENT, Verified


def signed_contracts(
    base: Path, rows: Iterable[ContractFile], trust: TrustStore | None
) -> tuple[Contract, ...]:
    """The rows as a signed release carries them. `trust` None: signatures are not looked at.

    Raises:
        Refused: a pact or a verification is missing, is none, is of other parties, or is signed by nobody who may.
    """
    return tuple(_signed(base, row, trust) for row in rows)


def trust_of(context: Context) -> TrustStore | None:
    """The keys of the home; None where there are none yet, as on a machine that only looks at files."""
    return context.trust() if context.home.trust.exists() else None


def pact_at(path: Path) -> Pact:
    """Raises: Refused."""
    try:
        with open(path, "rb") as file:
            return read_pact(file.read(MAX_PACT_BYTES + 1), str(path))
    except FileNotFoundError:
        raise Refused(
            "a pact", f"nothing at {path}", "name the file that the consumer's tests wrote"
        ) from None
    except OSError as error:
        raise Refused(f"a pact at {path}", str(error)) from error


def _signed(base: Path, row: ContractFile, trust: TrustStore | None) -> Contract:
    (consumer, used), (provider, offered) = party(row.consumer), party(row.provider)
    made = Contract(
        consumer=consumer,
        consumer_version=str(used),
        provider=provider,
        provider_version=str(offered),
        pact=_digest(base, row, consumer, provider),
    )
    if row.verified is None:
        return made
    path = base / row.verified
    said, proof = _verification(path, trust)
    if row_of(said).model_copy(update={"verified": None}) != made:
        raise Refused(
            f"a verification of {made}, of the pact {made.pact[:19]}, in {path}",
            f"one of {row_of(said)}, of the pact {said.pact[:19]}",
            "verify the pact again that the row names, or name the file that belongs to it",
        )
    return made.model_copy(update={"verified": said, "proof": proof})


def _digest(base: Path, row: ContractFile, consumer: str, provider: str) -> Digest:
    if row.pact.startswith("sha256:"):
        if not DIGEST.match(row.pact):
            raise Refused("a pact as sha256: and 64 hex digits, or a path", row.pact)
        return Digest(row.pact)
    pact = pact_at(base / row.pact)
    if (pact.consumer, pact.provider) != (consumer, provider):
        raise Refused(
            f"a pact of {consumer} with {provider} in {base / row.pact}",
            f"one of {pact.consumer} with {pact.provider}",
            "name another file; where components have other names than in the pact, give its sha256: digest, "
            "which `bumpless contract verify` prints",
        )
    return pact.digest


def _verification(path: Path, trust: TrustStore | None) -> tuple[Verified, str]:
    """What is said, and the signed text."""
    help_ = "`bumpless contract verify` writes one"
    try:
        envelope = Envelope.from_bytes(path.read_bytes())
        payload = envelope.payload
        if trust is not None:
            payload = trust.verify(envelope, payload_type=STATEMENT_TYPE, role=Role.VERIFICATION)
        said = STATEMENT.validate_json(payload)
    except FileNotFoundError:
        raise Refused("a signed verification", f"nothing at {path}", help_) from None
    except (ArtifactError, ValueError, OSError) as error:
        raise Refused(f"a signed verification in {path}", str(error), help_) from error
    if not isinstance(said, Verified):
        raise Refused(f"a signed verification in {path}", f"one that says {said.type}", help_)
    return said, envelope.to_bytes().decode()

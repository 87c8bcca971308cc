"""`contract verify|matrix`: pacts held against providers that run, and which versions are verified with each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from bumpless.cli.compat_commands import named_versions
from bumpless.cli.context import Context
from bumpless.cli.contracting import pact_at, signed_contracts, trust_of
from bumpless.cli.publishing import read_release
from bumpless.cli.statement_commands import signing_key, write_statement
from bumpless.common.compat.contracts import Contracts, Standing, State
from bumpless.common.compat.pact import Pact
from bumpless.common.errors import Refused
from bumpless.common.model.contracts import TOKEN
from bumpless.common.model.release import ReleaseFile
from bumpless.common.model.statement import Verified
from bumpless.common.model.version import InvalidVersion, Version

PactArg = Annotated[Path, typer.Argument(help="The pact, as the tests of the consumer wrote it.")]
FileArg = Annotated[Path, typer.Argument(help="The release file.")]


def register(app: typer.Typer) -> None:
    contract = typer.Typer(
        no_args_is_help=True,
        help="Contracts of consumers and providers (Pact): verified, and where they stand.",
    )
    contract.command("verify")(verify)
    contract.command("matrix")(matrix)
    app.add_typer(contract, name="contract")


def verify(
    ctx: typer.Context,
    pact: PactArg,
    provider_url: Annotated[str, typer.Option(help="Where the provider listens: http://127.0.0.1:8080.")],
    consumer: Annotated[
        str | None, typer.Option(help="What the release calls the consumer; else as in the pact.")
    ] = None,
    consumer_version: Annotated[
        str | None, typer.Option(help="The version whose tests wrote the pact.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="What the release calls the provider; else as in the pact.")
    ] = None,
    provider_version: Annotated[str | None, typer.Option(help="The version that runs there.")] = None,
    state_change_url: Annotated[
        str | None, typer.Option(help="Asked by POST to bring the provider into the state of an interaction.")
    ] = None,
    message_url: Annotated[
        str | None, typer.Option(help="Where messages are asked for; else the root of the provider.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Sent along with every request.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one request may take.")] = 10.0,
    key: Annotated[Path | None, typer.Option(help="The verification key.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the signed verification is written.")] = None,
) -> int:
    """Hold a pact against a provider that runs; with both versions, sign what came out, for a release or `--statement`.

    Exit code 1: the provider does not keep it; the verification that is signed then says so.

    Example: bumpless contract verify pacts/sdk-api.json --provider-url http://127.0.0.1:8080 --consumer-version 2.4.0
    --provider-version 3.0.0
    """
    from bumpless.cli import pact_run
    from bumpless.cli.client import whoami
    from bumpless.common.shell import clock

    context: Context = ctx.obj
    found = pact_at(pact)
    names = {"consumer": consumer or found.consumer, "provider": provider or found.provider}
    versions = _versions(consumer_version, provider_version)
    if versions is not None:
        for side, name in names.items():
            if not TOKEN.match(name):
                raise Refused(f"a name such as web-ui for the {side}", repr(name), f"give one with --{side}")
        signer = signing_key(context, key, "verification")
    if found.states and state_change_url is None:
        context.output.say(
            "the pact names states of the provider, and without --state-change-url none is set up"
        )
    at = pact_run.Provider(provider_url, state_change_url, message_url, _headers(header), timeout)
    failures = pact_run.verify(pact, found, at)
    data: dict[str, Any] = {
        **names,
        "consumer_version": None,
        "provider_version": None,
        "pact": found.digest,
        "interactions": found.interactions,
        "messages": found.messages,
        "verified": not failures,
        "failures": list(failures),
        "file": None,
    }
    if versions is not None:
        used, offered = map(str, versions)
        said = Verified(
            pact=found.digest,
            **names,
            consumer_version=used,
            provider_version=offered,
            interactions=found.interactions,
            failures=failures,
            by=whoami(),
            at=clock.now(),
        )
        file = out or Path(f"verified-{names['consumer']}-{used}-{names['provider']}-{offered}.json")
        data |= said.model_dump(mode="json", exclude={"type"}) | {"file": str(file)}
        write_statement(said, signer, file)
    context.output.data(data, _told(data, found))
    return int(bool(failures))


def matrix(
    ctx: typer.Context,
    file: FileArg,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="NAME=VERSION[,VERSION]",
            help="What runs now, or is in use; else all versions that the release file names.",
        ),
    ] = None,
) -> int:
    """Which versions of consumers and providers are verified with each other, of all that can meet.

    Exit code 1: some are not. `bumpless plan` says whether the fleet can be led around these.

    Example: bumpless contract matrix release.yaml --from api=2.0.0 --from sdk=2.3.0,2.4.0
    """
    context: Context = ctx.obj
    release = read_release(file)
    trust = trust_of(context)
    if trust is None:
        context.output.say(f"no trusted keys in {context.home.path}: signatures are not looked at")
    rows = signed_contracts(file.parent, release.contracts, trust)
    known = Contracts(rows)
    running = {name: frozenset(found) for name, found in named_versions(source or ()).items()}
    cells = list(_cells(release, known, running))
    open_ = [cell for cell in cells if cell.standing.state is not State.VERIFIED and not cell.now]
    data = {"verified": not open_, "pairs": [cell.as_json() for cell in cells]}
    context.output.data(data, _matrix_text(cells, len(open_)))
    return int(bool(open_))


@dataclass(frozen=True)
class _Cell:
    """One pair of versions that can meet. `now`: they do already, so a rollout has nothing to do with it."""

    consumer: str
    used: Version
    provider: str
    offered: Version
    standing: Standing
    now: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "consumer": self.consumer,
            "consumer_version": str(self.used),
            "provider": self.provider,
            "provider_version": str(self.offered),
            "state": self.standing.state.value,
            "evidence": self.standing.evidence,
            "now": self.now,
        }


def _cells(
    release: ReleaseFile, known: Contracts, running: Mapping[str, frozenset[Version]]
) -> Iterable[_Cell]:
    brought = _brought(release)
    for consumer, provider in sorted(known.edges):
        sides = []
        for name in (consumer, provider):
            use = running.get(name, known.named.get(name, frozenset()))
            sides.append(sorted(use | brought.get(name, frozenset())))
        for used, offered in product(*sides):
            now = used in running.get(consumer, ()) and offered in running.get(provider, ())
            standing = known.standing(consumer, used, provider, offered)
            yield _Cell(consumer, used, provider, offered, standing, now)


def _brought(release: ReleaseFile) -> dict[str, frozenset[Version]]:
    """The versions of each component that the release file leads to or through."""
    found = {}
    for component in release.components:
        texts = [part.version for part in component.through]
        wanted = component.version or release.version
        try:
            found[component.name] = frozenset(map(Version.parse, [*texts, *([wanted] if wanted else [])]))
        except InvalidVersion:  # a name, which no contract speaks of
            continue
    return found


def _matrix_text(cells: list[_Cell], left: int) -> str:
    if not cells:
        return "the release file names no contracts\n"
    lines: list[str] = []
    for edge in dict.fromkeys((cell.consumer, cell.provider) for cell in cells):
        own = [cell for cell in cells if (cell.consumer, cell.provider) == edge]
        offered = sorted({cell.offered for cell in own})
        head = [f"{edge[0]} \\ {edge[1]}", *map(str, offered)]
        rows = [
            [str(used), *(_word(cell) for cell in own if cell.used == used)]
            for used in sorted({cell.used for cell in own})
        ]
        widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
        for row in [head, *rows]:
            lines.append(
                "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            )
        lines.append("")
    for cell in cells:
        if cell.standing.state is not State.VERIFIED and not cell.now:
            lines.append(f"{cell.standing.state}: {cell.standing.evidence}")
    total = sum(not cell.now for cell in cells)
    lines.append(
        f"not verified: {left} of {total} pairs that can meet"
        if left
        else "every pair that can meet is verified"
    )
    return "\n".join(lines) + "\n"


def _word(cell: _Cell) -> str:
    return f"{cell.standing.state}{' (now)' if cell.now else ''}"


def _versions(consumer: str | None, provider: str | None) -> tuple[Version, Version] | None:
    """Raises: Refused, for one without the other."""
    if consumer is None and provider is None:
        return None
    if consumer is None or provider is None:
        missing = "--consumer-version" if consumer is None else "--provider-version"
        raise Refused("both versions, so that it can be signed, or none", f"no {missing}")
    try:
        return Version.parse(consumer), Version.parse(provider)
    except InvalidVersion as error:
        raise Refused(*str(error).removeprefix("expected ").split(", found ", 1)) from None


def _headers(given: list[str] | None) -> tuple[tuple[str, str], ...]:
    found = []
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise Refused("--header NAME=VALUE", repr(text.split("=")[0]))
        found.append((name, value))
    return tuple(found)


def _told(data: dict[str, Any], pact: Pact) -> str:
    who = " with ".join(
        data[side] + (f" {version}" if (version := data[f"{side}_version"]) else "")
        for side in ("consumer", "provider")
    )
    kept = "verified" if data["verified"] else "FAILED"
    lines = [f"{kept}: {who}, {pact.interactions} interactions", f"  pact {pact.digest}"]
    lines += [f"  {failure}" for failure in data["failures"]]
    if data["file"] is not None:
        lines.append(f"  signed in {data['file']}")
    return "\n".join(lines) + "\n"

"""One operation of two OpenAPI documents: whether what the caller sends is read, and what it is answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import SchemaError

from bumpless.common.compat.openapi_changes import Change, Weight, breaks, gone, now_deprecated, unheeded
from bumpless.common.compat.openapi_document import Document, Operation, items, mapping
from bumpless.common.compat.schema_sides import Schema
from bumpless.common.compat.schemas import Budget, Kind, Misfit, Only, differences

_OPERATION = ("tags", "summary", "description", "externalDocs", "operationId", "parameters", "requestBody",
              "responses", "callbacks", "deprecated", "security", "servers")  # fmt: skip
_RESPONSE = ("description", "headers", "content", "links")
_BODY = ("description", "content", "required")
_PARAMETER = ("name", "in", "description", "required", "deprecated", "style", "explode", "allowReserved", "schema",
              "example", "examples", "content")  # fmt: skip
_MEDIA = ("schema", "example", "examples", "encoding")


@dataclass(frozen=True)
class Party:
    """Who takes part, as its document has it."""

    document: Document
    operation: Operation


class Exchange:
    """`server_calls`: in a callback or webhook the new server is the caller, and the old client answers."""

    def __init__(
        self, caller: Party, callee: Party, budget: Budget, name: str, *, server_calls: bool = False
    ) -> None:
        self._caller, self._callee, self._budget, self._name = caller, callee, budget, name
        self._server_calls = server_calls

    def run(self) -> Iterator[Change]:
        yield from unheeded(
            self._name, *self._by_age(self._caller.operation.body, self._callee.operation.body), _OPERATION
        )
        yield from self._parameters()
        yield from self._request()
        yield from self._responses()
        yield from self._security()

    def _parameters(self) -> Iterator[Change]:
        sent = self._caller.document.parameters(self._caller.operation)
        read = self._callee.document.parameters(self._callee.operation)
        for (place, name), parameter in sent.items():
            where = f"{self._name} {place} parameter {parameter.get('name')}"
            if (place, name) not in read:
                yield self._only_written(where, "what is sent is not read any more", parameter)
                continue
            taken = read[place, name]
            yield from self._newly_deprecated(where, parameter, taken)
            if taken.get("required") is True and parameter.get("required") is not True:
                yield breaks(
                    where, "must be sent, and may be left out" if self._server_calls else "now required"
                )
            before, after = (_manner(place, side) for side in (parameter, taken))
            for word in before:
                if before[word] != after[word]:
                    one, other = self._by_age(before, after)
                    yield breaks(where, f"{word} was {one[word]!r}, now {other[word]!r}")
            if "schema" in parameter or "schema" in taken:
                yield from self._schemas(
                    where, parameter.get("schema", True), taken.get("schema", True), sent=True
                )
            yield from self._contents(where, parameter, taken, sent=True)
            yield from unheeded(where, *self._by_age(parameter, taken), _PARAMETER)
        for (place, name), parameter in read.items():
            if (place, name) not in sent:
                where = f"{self._name} {place} parameter {parameter.get('name')}"
                if parameter.get("required") is True:
                    yield breaks(
                        where, "not sent, and required" if self._server_calls else "new, and required"
                    )
                else:
                    yield self._only_read(
                        where, "not sent any more", parameter, server_reads=not self._server_calls
                    )

    def _request(self) -> Iterator[Change]:
        where = f"{self._name} request"
        sent = self._caller.document.resolved(self._caller.operation.body.get("requestBody"), where)
        read = self._callee.document.resolved(self._callee.operation.body.get("requestBody"), where)
        if read.get("required") is True and sent.get("required") is not True:
            yield breaks(where, "a body is required" if self._server_calls else "a body is now required")
        if sent and not read:
            yield self._only_written(where, "the body is not read any more", self._caller.operation.body)
        elif sent:
            yield from self._contents(where, sent, read, sent=True)
            yield from unheeded(where, *self._by_age(sent, read), _BODY)
        elif read and self._server_calls:
            yield Change(Weight.WARNING, where, "no body is sent any more")

    def _responses(self) -> Iterator[Change]:
        wanted_by, answered_by = self._caller, self._callee
        before = mapping(wanted_by.operation.body.get("responses"), self._name)
        after = mapping(answered_by.operation.body.get("responses"), self._name)
        reader = "the new server does" if self._server_calls else "old clients do"
        for status, given in after.items():
            where = f"{self._name} response {status}"
            if str(status).startswith("x-"):
                continue
            known = next((s for s in (status, f"{str(status)[:1]}XX", "default") if s in before), None)
            if known is None:
                good = str(status).startswith(("2", "3", "d"))
                weight = Weight.BREAKING if good else Weight.WARNING
                yield Change(weight, where, f"a status that {reader} not know")
                continue
            answered = answered_by.document.resolved(given, where)
            wanted = wanted_by.document.resolved(before[known], where)
            yield from self._contents(where, answered, wanted, sent=False)
            yield from self._headers(where, answered, wanted)
            yield from self._links(where, *self._by_age(wanted, answered))
            yield from unheeded(where, *self._by_age(wanted, answered), _RESPONSE)
        for status in before.keys() - after.keys():
            good = str(status).startswith("2")
            who = "the new server waits" if self._server_calls else "old clients wait"
            text = f"{who} for a status that is not answered{'' if self._server_calls else ' any more'}"
            yield Change(Weight.BREAKING if good else Weight.INFO, f"{self._name} response {status}", text)

    def _headers(
        self, where: str, answered: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> Iterator[Change]:
        made = {k.lower(): v for k, v in mapping(answered.get("headers"), where).items()}
        known = {k.lower(): v for k, v in mapping(wanted.get("headers"), where).items()}
        for name, given in known.items():
            at = f"{where} header {name}"
            header = self._caller.document.resolved(given, at)
            if name not in made:
                if header.get("required") is True:
                    yield gone(Weight.BREAKING, at, "removed", header)
                else:
                    yield self._only_read(at, "removed", header, server_reads=self._server_calls)
                continue
            sent = self._callee.document.resolved(made[name], at)
            yield from self._newly_deprecated(at, header, sent)
            if header.get("required") is True and sent.get("required") is not True:
                yield breaks(at, "may now be left out")
            yield from self._schemas(at, sent.get("schema", True), header.get("schema", True), sent=False)
        for name in made.keys() - known.keys():
            yield Change(Weight.INFO, f"{where} header {name}", "added")

    def _links(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
        before, after = mapping(old.get("links"), where), mapping(new.get("links"), where)
        olds, news = (self._caller, self._callee) if not self._server_calls else (self._callee, self._caller)
        for name in before.keys() | after.keys():
            at = f"{where} link {name}"
            if name not in after:
                yield gone(Weight.WARNING, at, "removed", {})
            elif name not in before:
                yield Change(Weight.INFO, at, "added")
            elif olds.document.resolved(before[name], at) != news.document.resolved(after[name], at):
                yield Change(Weight.WARNING, at, "differs: where it leads is not compared")

    def _contents(
        self, where: str, writer: Mapping[str, Any], reader: Mapping[str, Any], *, sent: bool
    ) -> Iterator[Change]:
        """By media type; `sent`: the caller writes and the other one reads, else the other way round."""
        made, taken = mapping(writer.get("content"), where), mapping(reader.get("content"), where)
        for kind, given in made.items():
            at = f"{where} {kind}"
            known = next((k for k in (kind, f"{kind.partition('/')[0]}/*", "*/*") if k in taken), None)
            if known is None:
                if sent or not taken:
                    weight = Weight.BREAKING if sent else Weight.INFO
                    yield Change(weight, at, "not read any more" if sent else "added where nothing was read")
                elif not made.keys() & taken.keys():
                    yield breaks(at, "a media type that old clients do not read")
                else:
                    yield Change(Weight.INFO, at, "added")
                continue
            wrote, read = mapping(given, at), mapping(taken[known], at)
            yield from self._schemas(at, wrote.get("schema", True), read.get("schema", True), sent=sent)
            if wrote.get("encoding") != read.get("encoding"):
                yield breaks(at, "encoding differs, which is not compared")
            yield from unheeded(
                at, *(self._by_age(wrote, read) if sent else self._by_age(read, wrote)), _MEDIA
            )
        for kind in taken.keys() - made.keys():
            if not sent and "*" not in kind:
                yield breaks(f"{where} {kind}", "not answered any more")
            elif sent:
                yield Change(
                    Weight.INFO, f"{where} {kind}", "added" if not self._server_calls else "not sent any more"
                )

    def _schemas(self, where: str, wrote: Schema, read: Schema, *, sent: bool) -> Iterator[Change]:
        writer, reader = (self._caller, self._callee) if sent else (self._callee, self._caller)
        to_server = sent is not self._server_calls
        sides = (
            (writer.document.sent, reader.document.sent)
            if to_server
            else (writer.document.answered, reader.document.answered)
        )
        try:
            found = differences(wrote, read, *sides, self._budget)
        except (TypeError, AttributeError, ValueError, KeyError, SchemaError, RecursionError) as error:
            yield breaks(
                where, f"a schema that cannot be read: {(str(error).splitlines() or ['?'])[0][:200]}"
            )
            return
        for misfit in found:
            if (
                change := _weighed(misfit, f"{where} {misfit.path}".rstrip(), old_writes=to_server)
            ) is not None:
                yield change

    def _security(self) -> Iterator[Change]:
        before, after = _ways_in(self._caller), _ways_in(self._callee)
        where = f"{self._name} security"
        for way in before:
            if not any(other <= way for other in after):
                names = " and ".join(sorted({name for name, _, _ in way})) or "nothing"
                kept = any(any(other <= w for other in after) for w in before)
                text = f"clients that show {names} are not let in any more"
                yield Change(Weight.BREAKING, where, text + (", others are" if kept else ""))

    def _by_age(
        self, caller: Mapping[str, Any], callee: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return (callee, caller) if self._server_calls else (caller, callee)

    def _newly_deprecated(
        self, where: str, caller: Mapping[str, Any], callee: Mapping[str, Any]
    ) -> Iterator[Change]:
        old, new = self._by_age(caller, callee)
        if new.get("deprecated") is True and old.get("deprecated") is not True:
            yield now_deprecated(where)

    def _only_written(self, where: str, text: str, given: Mapping[str, Any]) -> Change:
        """What the caller sends and the other one does not know."""
        if self._server_calls:
            return Change(Weight.INFO, where, "added")
        return gone(Weight.WARNING, where, f"removed: {text}", given)

    def _only_read(self, where: str, text: str, given: Mapping[str, Any], *, server_reads: bool) -> Change:
        """What the reader can do without; only what an old client reads has gone."""
        return (
            Change(Weight.INFO, where, "added") if server_reads else gone(Weight.WARNING, where, text, given)
        )


def _weighed(misfit: Misfit, where: str, *, old_writes: bool) -> Change | None:
    """`old_writes`: the old document is the writer's, as in a request."""
    went = (misfit.only is Only.WRITTEN and old_writes) or (misfit.only is Only.READ and not old_writes)
    was = {"deprecated": misfit.deprecated}
    match misfit.kind:
        case Kind.MISFIT:
            return gone(Weight.BREAKING, where, misfit.text, was) if went else breaks(where, misfit.text)
        case Kind.UNREAD:
            text = "removed: what is sent is not read any more"
            return gone(Weight.WARNING, where, text, was) if went else Change(Weight.INFO, where, "added")
        case Kind.UNWRITTEN:
            return (
                gone(Weight.WARNING, where, "removed", was) if went else Change(Weight.INFO, where, "added")
            )
        case Kind.UNCOMPARED:
            return Change(Weight.WARNING, where, misfit.text)
        case Kind.READ_DEPRECATED | Kind.WRITE_DEPRECATED:
            newly = (misfit.kind is Kind.READ_DEPRECATED) is old_writes
            return now_deprecated(where) if newly else None


def _manner(place: str, parameter: Mapping[str, Any]) -> dict[str, Any]:
    """How it is written into the request, with what holds where nothing is said."""
    style = parameter.get("style", "form" if place in ("query", "cookie") else "simple")
    return {
        "style": style,
        "explode": parameter.get("explode", style == "form"),
        "allowReserved": parameter.get("allowReserved", False),
    }


def _ways_in(party: Party) -> list[frozenset[tuple[str, str, str]]]:
    """Each a set of (scheme, how it is shown, scope); one of them must be met."""
    document, operation = party.document, party.operation
    holder = operation.body if "security" in operation.body else document.root
    components = mapping(document.root.get("components"), "components")
    schemes = mapping(components.get("securitySchemes"), "components.securitySchemes")
    ways = []
    for given in items(holder, "security"):
        way = set()
        for name, scopes in mapping(given, "security").items():
            scheme = document.resolved(schemes.get(name), f"the security scheme {name}")
            how = repr([scheme.get(w) for w in ("type", "scheme", "in", "name", "openIdConnectUrl")])
            way |= {(name, how, str(scope)) for scope in ("", *items({name: scopes}, name))}
        ways.append(frozenset(way))
    return ways or [frozenset()]

"""Two OpenAPI documents compared: what clients of the old one meet at a server of the new one.

What clients send (parameters, bodies) the new server must read; what the new server answers the old clients must read.
What is not understood is named as breaking, never taken as compatible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from jsonschema import SchemaError

from bumpless.common.compat.openapi_document import Document, Operation, items, mapping
from bumpless.common.compat.schemas import Schema, misfits
from bumpless.common.model.level import Level

MAX_CHANGES = 10_000


class Weight(StrEnum):
    """`breaking`: some old client fails. `warning`: one may. `info`: none does."""

    BREAKING = "breaking"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Change:
    """`unannounced`: something went that the old document did not call deprecated."""

    weight: Weight
    where: str
    text: str
    unannounced: bool = False

    def __str__(self) -> str:
        return f"{self.weight} {self.where}: {self.text}"


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    """What changes for clients of `old`, what breaks them first. Raises: Refused, for what cannot be read."""
    found: dict[Change, None] = {}
    for change in _Comparison(Document(old), Document(new)).run():
        found[change] = None
        if len(found) >= MAX_CHANGES:
            found[_breaks("the document", f"more than {MAX_CHANGES} changes; the rest is not compared")] = (
                None
            )
            break
    order = list(Weight)
    return tuple(sorted(found, key=lambda c: (order.index(c.weight), c.where, c.text)))


def breaking(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(c for c in changes if c.weight is Weight.BREAKING)


def level_between(old: Mapping[str, Any], new: Mapping[str, Any]) -> Level:
    """`backward`: the new server works for old clients; `forward`: the old one for new clients. Raises: Refused."""
    return Level.of(backward=not breaking(compare(old, new)), forward=not breaking(compare(new, old)))


class _Comparison:
    def __init__(self, old: Document, new: Document) -> None:
        self._old, self._new = old, new

    def run(self) -> Iterator[Change]:
        old = {(o.shape, o.method): o for o in self._old.operations()}
        new = {(o.shape, o.method): o for o in self._new.operations()}
        for key, operation in old.items():
            if key in new:
                yield from self._operation(operation, new[key])
            else:
                announced = operation.body.get("deprecated") is True
                text = "removed" if announced else "removed without having been deprecated"
                yield Change(Weight.BREAKING, str(operation), text, not announced)
        for key in new.keys() - old.keys():
            yield Change(Weight.INFO, str(new[key]), "added")

    def _operation(self, old: Operation, new: Operation) -> Iterator[Change]:
        if new.body.get("deprecated") is True and old.body.get("deprecated") is not True:
            yield Change(Weight.WARNING, str(old), "now deprecated")
        yield from self._parameters(old, new)
        yield from self._request(old, new)
        yield from self._responses(old, new)
        yield from self._security(old, new)

    def _parameters(self, old: Operation, new: Operation) -> Iterator[Change]:
        sent, read = self._old.parameters(old), self._new.parameters(new)
        for (place, name), parameter in sent.items():
            where = f"{old} {place} parameter {parameter.get('name')}"
            if (place, name) not in read:
                announced = parameter.get("deprecated") is True
                yield Change(
                    Weight.WARNING, where, "removed: what is sent is not read any more", not announced
                )
                continue
            taken = read[place, name]
            if taken.get("deprecated") is True and parameter.get("deprecated") is not True:
                yield Change(Weight.WARNING, where, "now deprecated")
            if taken.get("required") is True and parameter.get("required") is not True:
                yield _breaks(where, "now required")
            for word in ("style", "explode", "allowReserved"):
                if parameter.get(word) != taken.get(word):
                    yield _breaks(where, f"{word} was {parameter.get(word)!r}, now {taken.get(word)!r}")
            if "schema" in parameter or "schema" in taken:
                yield from self._sent(where, parameter.get("schema", True), taken.get("schema", True))
            yield from self._contents(where, parameter, taken, sent=True)
        for (place, name), parameter in read.items():
            if (place, name) not in sent:
                where = f"{old} {place} parameter {parameter.get('name')}"
                needed = parameter.get("required") is True
                yield _breaks(where, "new, and required") if needed else Change(Weight.INFO, where, "added")

    def _request(self, old: Operation, new: Operation) -> Iterator[Change]:
        where = f"{old} request"
        sent = self._old.resolved(old.body.get("requestBody"), where)
        read = self._new.resolved(new.body.get("requestBody"), where)
        if read.get("required") is True and sent.get("required") is not True:
            yield _breaks(where, "a body is now required")
        if sent and not read:
            yield Change(Weight.WARNING, where, "the body is not read any more")
        elif sent:
            yield from self._contents(where, sent, read, sent=True)

    def _responses(self, old: Operation, new: Operation) -> Iterator[Change]:
        before, after = (
            mapping(old.body.get("responses"), str(old)),
            mapping(new.body.get("responses"), str(new)),
        )
        for status, given in after.items():
            where = f"{old} response {status}"
            known = next((s for s in (status, f"{str(status)[:1]}XX", "default") if s in before), None)
            if known is None:
                good = str(status).startswith(("2", "3", "d"))
                yield Change(
                    Weight.BREAKING if good else Weight.WARNING,
                    where,
                    "a status that old clients do not know",
                )
                continue
            answered, wanted = self._new.resolved(given, where), self._old.resolved(before[known], where)
            yield from self._contents(where, answered, wanted, sent=False)
            yield from self._headers(where, answered, wanted)
        for status in before.keys() - after.keys():
            good = str(status).startswith("2")
            text = "old clients wait for a status that is not answered any more"
            yield Change(Weight.BREAKING if good else Weight.INFO, f"{old} response {status}", text)

    def _headers(
        self, where: str, answered: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> Iterator[Change]:
        made = {k.lower(): v for k, v in mapping(answered.get("headers"), where).items()}
        for name, given in mapping(wanted.get("headers"), where).items():
            at = f"{where} header {name}"
            header = self._old.resolved(given, at)
            if name.lower() not in made:
                weight = Weight.BREAKING if header.get("required") is True else Weight.WARNING
                yield Change(weight, at, "removed", header.get("deprecated") is not True)
                continue
            sent = self._new.resolved(made[name.lower()], at)
            if header.get("required") is True and sent.get("required") is not True:
                yield _breaks(at, "may now be left out")
            yield from self._answered(at, sent.get("schema", True), header.get("schema", True))

    def _contents(
        self, where: str, writer: Mapping[str, Any], reader: Mapping[str, Any], *, sent: bool
    ) -> Iterator[Change]:
        """By media type; `sent`: the old document writes and the new one reads, else the other way round."""
        made, taken = mapping(writer.get("content"), where), mapping(reader.get("content"), where)
        for kind, given in made.items():
            at = f"{where} {kind}"
            known = next((k for k in (kind, f"{kind.partition('/')[0]}/*", "*/*") if k in taken), None)
            if known is None:
                if sent or not taken:
                    weight = Weight.BREAKING if sent else Weight.INFO
                    yield Change(weight, at, "not read any more" if sent else "added where nothing was read")
                elif not made.keys() & taken.keys():
                    yield _breaks(at, "a media type that old clients do not read")
                else:
                    yield Change(Weight.INFO, at, "added")
                continue
            wrote, read = (
                mapping(given, at).get("schema", True),
                mapping(taken[known], at).get("schema", True),
            )
            yield from self._sent(at, wrote, read) if sent else self._answered(at, wrote, read)
            if mapping(given, at).get("encoding") != mapping(taken[known], at).get("encoding"):
                yield _breaks(at, "encoding differs, which is not compared")
        if not sent:
            for kind in taken.keys() - made.keys():
                if "*" not in kind:
                    yield _breaks(f"{where} {kind}", "not answered any more")

    def _sent(self, where: str, old: Schema, new: Schema) -> Iterator[Change]:
        return _schemas(where, (old, self._old), (new, self._new))

    def _answered(self, where: str, new: Schema, old: Schema) -> Iterator[Change]:
        return _schemas(where, (new, self._new), (old, self._old))

    def _security(self, old: Operation, new: Operation) -> Iterator[Change]:
        before, after = self._ways_in(self._old, old), self._ways_in(self._new, new)
        where = f"{old} security"
        for way in before:
            if not any(other <= way for other in after):
                names = " and ".join(sorted(name for name, _, _ in way)) or "nothing"
                kept = any(any(other <= w for other in after) for w in before)
                text = f"clients that show {names} are not let in any more"
                yield Change(Weight.BREAKING, where, text + (", others are" if kept else ""))

    def _ways_in(self, document: Document, operation: Operation) -> list[frozenset[tuple[str, str, str]]]:
        """Each a set of (scheme, how it is shown, scope); one of them must be met."""
        holder = operation.body if "security" in operation.body else document.root
        components = mapping(document.root.get("components"), "components")
        schemes = mapping(components.get("securitySchemes"), "components.securitySchemes")
        ways = []
        for given in items(holder, "security"):
            way = set()
            for name, scopes in mapping(given, "security").items():
                scheme = document.resolved(schemes.get(name), f"the security scheme {name}")
                how = repr([scheme.get(w) for w in ("type", "scheme", "in", "name", "openIdConnectUrl")])
                way |= {(name, how, str(scope)) for scope in ("", *(scopes or ()))}
            ways.append(frozenset(way))
        return ways or [frozenset()]


def _schemas(where: str, written: tuple[Schema, Document], read: tuple[Schema, Document]) -> Iterator[Change]:
    try:
        found = misfits(written[0], read[0], written[1].root, read[1].root)
    except (TypeError, AttributeError, ValueError, SchemaError) as error:
        yield _breaks(where, f"a schema that cannot be read: {str(error).splitlines()[0][:200]}")
        return
    for misfit in found:
        yield _breaks(f"{where} {misfit.path}".rstrip(), misfit.text)


def _breaks(where: str, text: str) -> Change:
    return Change(Weight.BREAKING, where, text)

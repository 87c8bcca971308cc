"""Two OpenAPI documents compared: what clients of the old one meet at a server of the new one.

What clients send (parameters, bodies) the new server must read; what the new server answers the old clients must read.
In callbacks and webhooks the server is the one who calls. What is not understood is named as breaking, and what is not
compared is named as a warning; neither is ever taken as compatible in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bumpless.common.compat.openapi_changes import Change, Weight, breaks, gone, now_deprecated, unheeded
from bumpless.common.compat.openapi_document import METHODS, Document, Operation, items, mapping
from bumpless.common.compat.openapi_exchange import Exchange, Party
from bumpless.common.compat.schemas import Budget
from bumpless.common.model.level import Level

MAX_CHANGES = 10_000
_ROOT = ("openapi", "info", "servers", "paths", "webhooks", "components", "security", "tags", "externalDocs")
_ITEM = ("$ref", "summary", "description", "servers", "parameters", *METHODS)


def compare(
    old: Mapping[str, Any] | Document, new: Mapping[str, Any] | Document, budget: Budget | None = None
) -> tuple[Change, ...]:
    """What changes for clients of `old`, what breaks them first. `budget`: how much may be compared.

    Raises:
        Refused: for what cannot be read, and what takes too many comparisons.
    """
    found: dict[Change, None] = {}
    before, after = (d if isinstance(d, Document) else Document(d) for d in (old, new))
    for change in _Comparison(before, after, budget or Budget()).run():
        found[change] = None
        if len(found) >= MAX_CHANGES:
            found[breaks("the document", f"more than {MAX_CHANGES} changes; the rest is not compared")] = None
            break
    order = list(Weight)
    return tuple(sorted(found, key=lambda c: (order.index(c.weight), c.where, c.text)))


def breaking(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(c for c in changes if c.weight is Weight.BREAKING)


def level_between(old: Mapping[str, Any], new: Mapping[str, Any]) -> Level:
    """`backward`: the new server works for old clients; `forward`: the old one for new clients. Raises: Refused."""
    one, other = Document(old), Document(new)
    return Level.of(backward=not breaking(compare(one, other)), forward=not breaking(compare(other, one)))


class _Comparison:
    def __init__(self, old: Document, new: Document, budget: Budget) -> None:
        self._old, self._new, self._budget = old, new, budget

    def run(self) -> Iterator[Change]:
        old = {(o.shape, o.method): o for o in self._old.operations()}
        new = {(o.shape, o.method): o for o in self._new.operations()}
        for key, operation in old.items():
            if key in new:
                yield from self._operation(operation, new[key])
            else:
                yield gone(Weight.BREAKING, str(operation), "removed", operation.body)
        for key in new.keys() - old.keys():
            yield Change(Weight.INFO, str(new[key]), "added")
        before, after = self._old.root, self._new.root
        yield from self._called("webhook", before, after, "webhooks", {})
        yield from unheeded("the document", before, after, _ROOT)
        yield from _servers("the document", before, after)
        yield from self._inherited()

    def _operation(self, old: Operation, new: Operation) -> Iterator[Change]:
        if new.body.get("deprecated") is True and old.body.get("deprecated") is not True:
            yield now_deprecated(str(old))
        name = str(old)
        yield from Exchange(Party(self._old, old), Party(self._new, new), self._budget, name).run()
        for before, after in ((old.item, new.item), (old.body, new.body)):
            if "servers" in before or "servers" in after:
                yield from _servers(name, before, after)
        yield from unheeded(name, old.item, new.item, _ITEM)
        if "operationId" in old.body and old.body["operationId"] != new.body.get("operationId"):
            text = f"operationId was {old.body['operationId']}, now {new.body.get('operationId')}: generated clients name it so"
            yield Change(Weight.INFO, name, text)
        yield from self._callbacks(name, old, new)

    def _callbacks(self, name: str, old: Operation, new: Operation) -> Iterator[Change]:
        before = mapping(old.body.get("callbacks"), name)
        after = mapping(new.body.get("callbacks"), name)
        for key in before.keys() | after.keys():
            at = f"{name} callback {key}"
            if key not in after:
                yield gone(Weight.WARNING, at, "removed: it is not called any more", old.body)
            elif key not in before:
                yield Change(Weight.INFO, at, "added")
            else:
                one, other = self._old.resolved(before[key], at), self._new.resolved(after[key], at)
                yield from self._called(at, {"": one}, {"": other}, "", old.body)

    def _called(
        self,
        what: str,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        word: str,
        holder: Mapping[str, Any],
    ) -> Iterator[Change]:
        """Path items that the server calls: what the new one sends the old clients must read."""
        olds, news = (
            {
                (o.path, o.method): o
                for key, item in mapping(side.get(word), what).items()
                for o in of.at(key, item)
            }
            for side, of in ((before, self._old), (after, self._new))
        )
        for key, operation in olds.items():
            at = f"{what} {operation}"
            if key not in news:
                marked = operation.body if operation.body.get("deprecated") is True else holder
                yield gone(Weight.WARNING, at, "removed: it is not called any more", marked)
                continue
            if news[key].body.get("deprecated") is True and operation.body.get("deprecated") is not True:
                yield now_deprecated(at)
            parties = Party(self._new, news[key]), Party(self._old, operation)
            yield from Exchange(*parties, self._budget, at, server_calls=True).run()
        for key in news.keys() - olds.keys():
            yield Change(Weight.INFO, f"{what} {news[key]}", "added")

    def _inherited(self) -> Iterator[Change]:
        """Which kinds there are stands nowhere where such a schema is used."""
        before, after = self._old.inheriting(), self._new.inheriting()
        for name in before.keys() & after.keys():
            kinds = before[name].keys() | after[name].keys()
            if differing := sorted(k for k in kinds if before[name].get(k) != after[name].get(k)):
                text = f"kinds by its discriminator that differ are not compared: {', '.join(differing)}"
                yield Change(Weight.WARNING, f"components.schemas.{name}", text)


def _servers(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    before, after = (
        {
            str(mapping(server, f"servers of {where}").get("url")): mapping(server, where).get("variables")
            for server in items(side, "servers")
        }
        for side in (old, new)
    )
    for url, variables in before.items():
        if url not in after:
            yield Change(
                Weight.WARNING,
                f"{where} server {url}",
                "removed: whether another one answers is not compared",
            )
        elif after[url] != variables:
            yield Change(
                Weight.WARNING, f"{where} server {url}", "its variables differ, which is not compared"
            )
    for url in after.keys() - before.keys():
        yield Change(Weight.INFO, f"{where} server {url}", "added")

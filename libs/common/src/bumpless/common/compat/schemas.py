"""Two JSON Schemas compared, with a direction: what breaks whoever writes, and what breaks whoever reads.

`written` is the schema by which documents are made, `read` the one by which they are understood. The new version of a
reader must take all that the old writers make (backward), the old reader all that new writers make (forward). So one
comparison, "does every document of one fit the other", answers both. It covers what services use: types, enums and
constants, properties, required ones, additional ones, items, bounds and patterns, `$ref` within the document, `allOf`,
and `anyOf`/`oneOf` branch by branch, by the name of the branch where a discriminator gives one. A writer makes the
fields that its schema names: without `additionalProperties` a schema tolerates others where it is read, and makes none
where it is written. What it does not understand it reports as such; it never calls such a pair compatible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bumpless.common.compat import schema_values as scalars
from bumpless.common.compat.schema_likeness import Likeness
from bumpless.common.compat.schema_sides import ANNOTATIONS, CHOICES, Schema, Side
from bumpless.common.compat.schema_values import LOWER, SAME, TYPES, UPPER, kinds_of, made_kinds
from bumpless.common.errors import Refused
from bumpless.common.model.level import Level

_KNOWN = (
    frozenset({"type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems", "$ref",
               "allOf", *CHOICES})
    | LOWER.keys() | UPPER.keys() | set(SAME) | ANNOTATIONS
)  # fmt: skip
_FIELDS = frozenset({"properties", "required", "additionalProperties", "patternProperties"})
MAX_DEPTH = 64
MAX_COMPARED = 20_000
"""Pairs of schemas in one comparison: alternatives in alternatives multiply."""
MAX_ALL = 500_000
"""Pairs of schemas in all comparisons of two documents."""


class Kind(StrEnum):
    """`misfit` breaks; the others are worth knowing, and what they mean depends on who writes."""

    MISFIT = "misfit"
    UNREAD = "unread"
    """Written, and the reader does not name it."""
    UNWRITTEN = "unwritten"
    """The reader knows it and can do without, and the writer does not make it."""
    READ_DEPRECATED = "read_deprecated"
    WRITE_DEPRECATED = "write_deprecated"
    """Deprecated on this side only."""
    UNCOMPARED = "uncompared"


class Only(StrEnum):
    WRITTEN = "written"
    READ = "read"


@dataclass(frozen=True)
class Misfit:
    """A document of the writer that the reader refuses: where (`user.name`, `tags[]`; empty: at the top), and why.

    `only`: the side that knows a field which the other does not; `deprecated`: it was marked so there.
    """

    path: str
    text: str
    kind: Kind = Kind.MISFIT
    only: Only | None = None
    deprecated: bool = False

    def __str__(self) -> str:
        return f"{self.path or 'the document'}: {self.text}"


class Budget:
    """What the comparisons of two documents share: how many pairs of schemas may still be compared, and what is known."""

    def __init__(self, pairs: int = MAX_ALL) -> None:
        self._all = self._left = pairs
        self._likeness: dict[frozenset[int], Likeness] = {}
        self.known: dict[tuple[int, ...], tuple[object, tuple[Misfit, ...]]] = {}
        """Differences by the identities of sides and schemas, with these, so that they stay."""

    def likeness(self, *roots: Any) -> Likeness:
        key = frozenset(map(id, roots))
        if key not in self._likeness:
            self._likeness[key] = Likeness(*roots)
        return self._likeness[key]

    def spend(self) -> None:
        """Raises: Refused."""
        self._left -= 1
        if self._left < 0:
            raise Refused(
                f"documents that take at most {self._all} comparisons of schemas",
                "more",
                "alternatives within alternatives multiply: name them once, under a discriminator",
            )


def misfits(
    written: Schema, read: Schema, written_in: Schema | None = None, read_in: Schema | None = None
) -> tuple[Misfit, ...]:
    """Why some document of `written` may not fit `read`; empty: every one fits.

    `written_in`, `read_in`: the documents in which `$ref` of either is looked up; left out, the schemas themselves.
    """
    sides = Side(written if written_in is None else written_in), Side(read if read_in is None else read_in)
    found = differences(written, read, *sides)
    return tuple(m for m in found if m.kind in (Kind.MISFIT, Kind.UNCOMPARED))


def differences(
    written: Schema, read: Schema, writer: Side, reader: Side, budget: Budget | None = None
) -> tuple[Misfit, ...]:
    """All that is worth knowing of the two. Raises: Refused, when `budget` is used up."""
    budget = budget or Budget()
    pair = writer.target(written), reader.target(read)
    key = id(writer), id(reader), *map(id, pair)
    if key not in budget.known:
        found = tuple(dict.fromkeys(_Comparison(writer, reader, budget).run(written, read)))
        budget.known[key] = (writer, reader, pair), found
    return budget.known[key][1]


def level_between(old: Schema, new: Schema) -> tuple[Level, tuple[Misfit, ...], tuple[Misfit, ...]]:
    """The level from `old` to `new`, with what breaks new readers of old documents, and old readers of new ones."""
    backward, forward = misfits(old, new), misfits(new, old)
    return Level.of(backward=not backward, forward=not forward), backward, forward


class _Comparison:
    def __init__(self, writer: Side, reader: Side, budget: Budget) -> None:
        self._writer, self._reader, self._budget = writer, reader, budget
        self._left = [MAX_COMPARED]
        """In a list, because branches use up the same ones."""
        # By identity, and with the schemas themselves, so that no other object can take an identity over.
        self._begun: dict[tuple[int, int], tuple[Schema, Schema]] = {}
        self._alike = budget.likeness(writer.root, reader.root)

    def run(self, written: Schema, read: Schema) -> Iterator[Misfit]:
        return self._compare(written, read, "", 0)

    def _compare(self, written: Schema, read: Schema, path: str, depth: int) -> Iterator[Misfit]:
        self._left[0] -= 1
        self._budget.spend()
        if self._left[0] < 0:
            yield Misfit("", f"more than {MAX_COMPARED} comparisons; the rest is not compared")
            return
        # Schemas that refer to themselves: what is being compared further up holds here if it holds there.
        if any(isinstance(side, Mapping) and "$ref" in side for side in (written, read)):
            pair = (id(written), id(read))
            if pair in self._begun:
                return
            self._begun[pair] = written, read
        if self._alike.same(written, self._writer.root, read, self._reader.root):
            return
        wrote = self._writer.whole(written)
        parts = [part for part in self._reader.parts(read) if part is not True and part != {}]
        if wrote is False or (isinstance(wrote, Mapping) and not made_kinds(wrote)):
            return
        if depth > MAX_DEPTH and parts:
            yield Misfit(path, f"deeper than {MAX_DEPTH} levels, which is not compared")
            return
        made: Mapping[str, Any] = {} if isinstance(wrote, bool) else wrote
        for part in parts:
            yield from self._part(made, part, path, depth)
        yield from self._marks(written, read, path)
        yield from self._names(made, parts, path)

    def _part(self, wrote: Mapping[str, Any], read: Schema, path: str, depth: int) -> Iterator[Misfit]:
        if isinstance(read, bool):
            yield Misfit(path, "the reader takes nothing here")
            return
        for name in sorted(read.keys() - _KNOWN):
            if not name.startswith("x-"):
                yield Misfit(path, f"the reader's {name} is not understood by this comparison")
        if any(name in side for side in (wrote, read) for name in CHOICES):
            yield from self._branches(wrote, read, path, depth)
            return
        yield from (Misfit(path, text) for text in scalars.values(wrote, read))
        yield from (Misfit(path, text) for text in scalars.bounds(wrote, read))
        yield from self._objects(wrote, read, path, depth)
        yield from self._arrays(wrote, read, path, depth)

    def _branches(
        self, wrote: Mapping[str, Any], read: Mapping[str, Any], path: str, depth: int
    ) -> Iterator[Misfit]:
        """Every branch of the writer must fit some branch of the reader."""
        choice = next((name for name in CHOICES if name in read), None)
        taken: Sequence[Schema] = [read] if choice is None else read[choice]
        if choice is not None and "discriminator" in read:
            if "discriminator" in wrote and any(name in wrote for name in CHOICES):
                yield from self._by_name(wrote, read, path, depth)
                return
            yield Misfit(path, "which alternative a discriminator names is not compared", Kind.UNCOMPARED)
        if choice == "oneOf" and not self._apart(taken) and read[choice] != wrote.get(choice):
            text = "alternatives of the reader may overlap: whether only one of them fits is not compared"
            yield Misfit(path, text, Kind.UNCOMPARED)
        branches = self._writer.alternatives(wrote)
        if choice is not None:
            branches = [one for branch in branches for one in _by_type(branch)]
        for branch in branches:
            best: list[Misfit] = []
            for number, other in enumerate(taken):
                found = self._fork().tried(branch, other, path, depth)
                broken = [m for m in found if m.kind is Kind.MISFIT]
                if not broken:
                    best = found
                    break
                if number == 0 or len(broken) < len(best):
                    best = broken
            if any(m.kind is Kind.MISFIT for m in best) and choice is not None:
                name = branch.get("title") or branch.get("type") or branch.get("$ref") or "one"
                yield Misfit(path, f"the writer's alternative {name} fits none of the reader's: {best[0]}")
            elif not taken:
                yield Misfit(path, "the reader takes nothing here")
            else:
                yield from best

    def _by_name(
        self, wrote: Mapping[str, Any], read: Mapping[str, Any], path: str, depth: int
    ) -> Iterator[Misfit]:
        """Alternatives that a discriminator names: each against the one of the same name."""
        mine, theirs = _named(self._writer, wrote), _named(self._reader, read)
        word, other = (side["discriminator"].get("propertyName") for side in (wrote, read))
        if word != other:
            yield Misfit(path, f"the reader tells alternatives by {other}, the writer by {word}")
            return
        if mine is None or theirs is None:
            yield Misfit(path, "alternatives without a name under a discriminator are not compared")
            return
        for name, branch in mine.items():
            if name in theirs:
                yield from self._fork().tried(branch, theirs[name], path, depth)
            else:
                yield Misfit(path, f"the reader knows no {word} {name}")
        for name in theirs.keys() - mine.keys():
            yield Misfit(path, f"the writer makes no {word} {name}", Kind.UNWRITTEN, Only.READ)

    def _objects(
        self, wrote: Mapping[str, Any], read: Mapping[str, Any], path: str, depth: int
    ) -> Iterator[Misfit]:
        if "object" not in made_kinds(wrote) & kinds_of(read) or not read.keys() & _FIELDS:
            return
        if wrote.get("patternProperties") != read.get("patternProperties"):
            yield Misfit(path, "fields by pattern, which differ, are not compared")
        made, taken = self._writer.fields(wrote), self._reader.fields(read)
        sure = set(self._writer.required(wrote))
        for name in self._reader.required(read):
            if name not in sure:
                known = made.get(name, False) is not False
                how = "may leave out" if known else "does not know"
                gone = name in taken and self._reader.says(taken[name], "deprecated")
                text = f"required by the reader, and the writer {how} it"
                yield Misfit(_at(path, name), text, Kind.MISFIT, None if known else Only.READ, gone)
        closed = read.get("additionalProperties", True)
        for name in sorted(name for name, inner in made.items() if inner is not False):
            if name in taken:
                yield from self._compare(made[name], taken[name], _at(path, name), depth + 1)
            elif closed is False:
                yield Misfit(_at(path, name), "written, and the reader takes no unknown fields")
            elif closed is not True:
                yield from self._compare(made[name], closed, _at(path, name), depth + 1)
        more = _more(wrote)
        if more is not False:
            for name in sorted(taken.keys() - made.keys()):
                yield from self._compare(more, taken[name], _at(path, name), depth + 1)
            yield from self._compare(more, closed, _at(path, "*"), depth + 1)

    def _arrays(
        self, wrote: Mapping[str, Any], read: Mapping[str, Any], path: str, depth: int
    ) -> Iterator[Misfit]:
        if "array" not in made_kinds(wrote) & kinds_of(read) or not {"items", "prefixItems"} & read.keys():
            return
        first, wanted = wrote.get("prefixItems", ()), read.get("prefixItems", ())
        for at in range(max(len(first), len(wanted))):
            made = first[at] if at < len(first) else wrote.get("items", True)
            taken = wanted[at] if at < len(wanted) else read.get("items", True)
            yield from self._compare(made, taken, f"{path}[{at}]", depth + 1)
        yield from self._compare(wrote.get("items", True), read.get("items", True), f"{path}[]", depth + 1)

    def _marks(self, written: Schema, read: Schema, path: str) -> Iterator[Misfit]:
        one, other = self._writer.says(written, "deprecated"), self._reader.says(read, "deprecated")
        if one != other:
            yield Misfit(path, "deprecated", Kind.WRITE_DEPRECATED if one else Kind.READ_DEPRECATED)

    def _names(self, wrote: Mapping[str, Any], parts: Sequence[Schema], path: str) -> Iterator[Misfit]:
        """Fields that only one of the two names. Alternatives are looked at where they are compared."""
        flat = [p for p in parts if isinstance(p, Mapping) and not any(name in p for name in CHOICES)]
        if not all(isinstance(p, Mapping) for p in parts) or any(name in wrote for name in CHOICES):
            return
        taken = {name: inner for part in flat for name, inner in self._reader.fields(part).items()}
        needed = {name for part in flat for name in self._reader.required(part)}
        made = {n: s for n, s in self._writer.fields(wrote).items() if s is not False}
        if len(flat) < len(parts) or not taken or not made or _more(wrote) is not False:
            return
        closed = any(part.get("additionalProperties", True) is False for part in flat)
        for name in sorted(made.keys() - taken.keys()) if not closed else ():
            gone = self._writer.says(made[name], "deprecated")
            yield Misfit(_at(path, name), "not known to the reader", Kind.UNREAD, Only.WRITTEN, gone)
        for name in sorted(taken.keys() - made.keys() - needed):
            gone = self._reader.says(taken[name], "deprecated")
            yield Misfit(_at(path, name), "not made by the writer", Kind.UNWRITTEN, Only.READ, gone)

    def _apart(self, branches: Sequence[Schema]) -> bool:
        """Whether no document fits two of the alternatives, as far as types and single values tell."""
        whole = [self._reader.whole(branch) for branch in branches]
        flat = [one for one in whole if isinstance(one, Mapping)]
        return len(flat) == len(whole) and all(
            _disjoint(one, other, self._reader) for at, one in enumerate(flat) for other in flat[:at]
        )

    def _fork(self) -> _Fork:
        return _Fork(self)


class _Fork(_Comparison):
    """A comparison of two branches, which must not count as done for the others."""

    def __init__(self, of: _Comparison) -> None:
        self._writer, self._reader, self._budget = of._writer, of._reader, of._budget
        self._left, self._alike = of._left, of._alike
        self._begun = dict(of._begun)

    def tried(self, written: Schema, read: Schema, path: str, depth: int) -> list[Misfit]:
        return list(self._compare(written, read, path, depth + 1))


def _more(wrote: Mapping[str, Any]) -> Schema:
    """What the writer makes beside the fields that it names."""
    found: Schema = wrote.get("additionalProperties", not ("properties" in wrote or "type" in wrote))
    return found


def _by_type(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A schema of several types is as many alternatives."""
    kinds = schema.get("type")
    if isinstance(kinds, list) and len(kinds) > 1 and not any(name in schema for name in CHOICES):
        return [{**schema, "type": kind} for kind in TYPES if kind in kinds]
    return [schema]


def _named(side: Side, schema: Mapping[str, Any]) -> dict[str, Schema] | None:
    """The alternatives by what the discriminator calls them; None: one has no name."""
    choice = next(name for name in CHOICES if name in schema)
    names = schema["discriminator"].get("mapping", {})
    found: dict[str, Schema] = {}
    for branch in schema[choice]:
        ref = branch.get("$ref") if isinstance(branch, Mapping) else None
        if not isinstance(ref, str):
            return None
        short = ref.rpartition("/")[2]
        given = [name for name, of in names.items() if of in (ref, short)]
        found |= dict.fromkeys(given or [short], branch)
    return found


def _disjoint(one: Mapping[str, Any], other: Mapping[str, Any], side: Side) -> bool:
    kinds, more = kinds_of(one), kinds_of(other)
    if not kinds & more:
        return True
    values, others = scalars.listed(one), scalars.listed(other)
    if values is not None and others is not None:
        return not any(scalars.same_value(v, o) for v in values for o in others)
    if kinds & more != {"object"}:
        return False
    for name in set(side.required(one)) & set(side.required(other)):
        inner = [side.whole(s["properties"][name]) for s in (one, other) if name in s.get("properties", {})]
        flat = [schema for schema in inner if isinstance(schema, Mapping)]
        if len(flat) == 2 and _disjoint(flat[0], flat[1], side):
            return True
    return False


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

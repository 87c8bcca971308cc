"""Record types: their schemas by version, and how records are moved from one version to another.

A record is checked against its schema before and after every hop, so a fault is found where it arises. The way is
the shortest one; hops that lose data are taken only where that was allowed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError

from bumpless.common.compat.hops import Hop, HopGraph
from bumpless.common.compat.lenses import Lens, LensError, Pass, Record, Resolve
from bumpless.common.contract.base import canonical_json
from bumpless.common.model.version import Version

MISSING = "expected a value, found none"
"""Of what a schema requires."""


@dataclass(frozen=True)
class Fault:
    """Where a record does not fit its schema (`ownership.group`, `tags.0`; empty: the record itself), and how."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path or 'the record'}: {self.text}"


class RecordInvalid(ValueError):
    """A record does not fit the schema of a version, or cannot be moved on; `faults` names everything found."""

    def __init__(self, record_type: str, version: Version, faults: tuple[Fault, ...]) -> None:
        self.version, self.faults = version, faults
        super().__init__(f"{record_type} {version}: " + "; ".join(map(str, faults)))


@dataclass(frozen=True)
class Moved:
    """A record at another version. `versions` is the way it took; `kept` what was taken out, by path; `sha256` the
    digest of its canonical JSON."""

    record: dict[str, Any]
    versions: tuple[Version, ...]
    kept: dict[str, Any]
    lossy: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(canonical_json(self.record)).hexdigest()


@dataclass(frozen=True)
class RecordType:
    """One type of record. `lenses` lead from one version to the next one."""

    name: str
    schemas: Mapping[Version, Mapping[str, Any]]
    lenses: Mapping[tuple[Version, Version], Lens]
    _graph: HopGraph = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        hops = [hop for (old, new), lens in self.lenses.items() for hop in _both_ways(old, new, lens)]
        object.__setattr__(self, "_graph", HopGraph(hops, self.schemas))

    @property
    def graph(self) -> HopGraph:
        return self._graph

    def schema_faults(self) -> tuple[str, ...]:
        """What is wrong with the schemas themselves, and lenses between versions that have none."""
        found = []
        for version, schema in sorted(self.schemas.items()):
            try:
                Draft202012Validator.check_schema(schema)
            except SchemaError as error:
                found.append(
                    f"the schema of {self.name} {version} is none: {error.json_path}: {error.message}"
                )
            found += [
                f"the schema of {self.name} {version} has nothing at {ref}" for ref in lost_references(schema)
            ]
        for ends in sorted(self.lenses):
            found += [
                f"{self.name}: a lens leads {ends[0]} > {ends[1]}, and {end} has no schema"
                for end in ends
                if end not in self.schemas
            ]
        return tuple(found)

    def faults(self, version: Version, record: Record) -> tuple[Fault, ...]:
        """Everything in `record` that does not fit `version`. Raises: KeyError, for a version without a schema."""
        errors = Draft202012Validator(self.schemas[version]).iter_errors(record)
        return tuple(sorted({f for e in errors for f in _faults(e)}, key=lambda f: (f.path, f.text)))

    def move(
        self,
        record: Record,
        source: Version,
        target: Version,
        *,
        supplied: Mapping[str, Any] | None = None,
        kept: Mapping[str, Any] | None = None,
        lossy: bool = False,
        resolve: Resolve | None = None,
    ) -> Moved:
        """`record` of version `source` as one of `target`, up or down; same input, same bytes.

        `supplied` holds values for defaults that the caller gives, `kept` what an earlier move took out.

        Raises:
            NoPath: no lenses lead there, or only such that lose data.
            RecordInvalid: it does not fit, here or after a hop.
        """
        run = Pass(supplied or {}, dict(kept or {}), resolve)
        here = dict(record)
        self._check(source, here)
        hops = self._graph.path(source, target, lossy=lossy)
        for hop in hops:
            try:
                here = self.step(hop, here, run)
            except LensError as error:
                raise RecordInvalid(self.name, hop.target, (Fault(error.path, error.text),)) from error
            self._check(hop.target, here)
        way = (source, *(hop.target for hop in hops))
        return Moved(here, way, run.kept, any(hop.lossy for hop in hops))

    def step(self, hop: Hop, record: Record, run: Pass) -> dict[str, Any]:
        lens = self.lenses.get((hop.source, hop.target))
        if lens is not None:
            return lens.forward(record, run)
        return self.lenses[hop.target, hop.source].back(record, run)

    def _check(self, version: Version, record: Record) -> None:
        if version not in self.schemas:
            known = ", ".join(map(str, sorted(self.schemas)))
            raise RecordInvalid(self.name, version, (Fault("", f"expected one of the versions {known}"),))
        if found := self.faults(version, record):
            raise RecordInvalid(self.name, version, found)


def lost_references(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Every `$ref` that leads nowhere, or out of the document; none is looked at where parts have a name of their own."""
    parts = list(_parts(schema))
    if any("$id" in part for part in parts if part is not schema):
        return ()
    refs = (part["$ref"] for part in parts if isinstance(part.get("$ref"), str))
    return tuple(dict.fromkeys(ref for ref in refs if not _leads_somewhere(schema, ref)))


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, Mapping):
            yield part
            left += part.values()
        elif isinstance(part, list | tuple):
            left += part


def _leads_somewhere(schema: Mapping[str, Any], ref: str) -> bool:
    """A name (`#node`) is left to the validator; so are words with escapes, and the schemas that it brings."""
    if (
        "%" in ref
        or ref.startswith("https://json-schema.org/")
        or (ref.startswith("#") and not ref.startswith("#/"))
    ):
        return True
    here: Any = schema
    for word in ref.removeprefix("#/").split("/"):
        name = word.replace("~1", "/").replace("~0", "~")
        if isinstance(here, list | tuple) and name.isdigit() and int(name) < len(here):
            here = here[int(name)]
        elif isinstance(here, Mapping) and name in here:
            here = here[name]
        else:
            return False
    return ref.startswith("#/")


def _both_ways(old: Version, new: Version, lens: Lens) -> list[Hop]:
    there = Hop(old, new, lossy=lens.lossy)
    closed = None if lens.invertible else "an operation of its lens has no way back"
    return [there, Hop(new, old, lossy=lens.lossy_back, closed=closed)]


def _faults(error: ValidationError) -> list[Fault]:
    path = [str(part) for part in error.absolute_path]
    schema: Any = error.schema
    record: Any = error.instance
    if error.validator == "required":
        missing = [name for name in schema["required"] if name not in record]
        return [Fault(".".join([*path, name]), MISSING) for name in missing]
    if error.validator == "additionalProperties" and schema["additionalProperties"] is False:
        unknown = [name for name in record if name not in schema.get("properties", {})]
        return [Fault(".".join([*path, name]), "expected no such field") for name in unknown]
    return [Fault(".".join(path), error.message)]

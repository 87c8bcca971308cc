"""From what stands in a release file to what can be asked. Words were checked when the file was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bumpless.common.compat.configs import ConfigType, format_of
from bumpless.common.compat.lenses import LensError, read_lens
from bumpless.common.compat.lifecycle import Item, Lifecycle, Policy
from bumpless.common.compat.matrix import Blocked, Matrix, Statement
from bumpless.common.compat.pairs import Accepts, Pairs, Says, Stated
from bumpless.common.compat.records import RecordType
from bumpless.common.errors import Refused
from bumpless.common.model.compat import (
    CompatFile,
    LifecycleFile,
    RecordEdgeFile,
    SignedRecord,
    hop_ends,
)
from bumpless.common.model.config import ConfigFormat, ConfigSource
from bumpless.common.model.version import Version, VersionRange

STATED = "stated in the release file"


def matrices(written: CompatFile) -> dict[str, Matrix]:
    """By component. Raises: Refused, for a hop whose level is stated twice in different words."""
    found = {}
    for component in sorted(written.levels.keys() | written.hops.keys()):
        hops = written.hops.get(component)
        found[component] = Matrix(
            component,
            _statements(component, written),
            frozenset(map(Version.parse, hops.stops if hops else ())),
            tuple(
                Blocked(VersionRange.parse(b.source), VersionRange.parse(b.target), b.why)
                for b in (hops.blocked if hops else ())
            ),
        )
    return found


def pairs(written: CompatFile, edges: Mapping[str, tuple[str, ...]], also: Iterable[Says] = ()) -> Pairs:
    """The predicate over the pairs. `edges`: what each component depends on; what is known of a pair makes it an edge as well.

    `also` are those that have a say beside what is stated.
    """
    stated = [
        Accepts(p.client, VersionRange.parse(p.versions), p.provider, VersionRange.parse(p.accepts))
        for p in written.pairs
    ]
    known = [(client, provider) for client, providers in edges.items() for provider in providers]
    return Pairs(known, [Stated(stated), *also])


def lifecycle(written: LifecycleFile, usage: Mapping[str, float] | None = None) -> Lifecycle:
    items = [
        Item(
            i.kind,
            i.id,
            i.of,
            Version.parse(i.introduced),
            None if i.deprecated is None else Version.parse(i.deprecated),
            None if i.removed is None else Version.parse(i.removed),
            i.use,
        )
        for i in written.items
    ]
    return Lifecycle(items, Policy(written.policy.min_deprecated_majors), usage)


def signed_record_type(name: str, signed: SignedRecord) -> RecordType:
    """`signed` carries the schemas, as a published release does.

    Raises:
        Refused: a lens cannot be read, or a schema is none.
    """
    return _typed(name, signed.schemas, signed.edges)


def config_type(
    component: str, written: ConfigSource, schemas: Mapping[str, Mapping[str, Any]], file: str = ""
) -> ConfigType:
    """`schemas`: the documents that the paths in the file name; `file`: what the file is called in messages.

    Raises:
        Refused: a lens cannot be read, a schema is none, or the name of the file does not tell its format.
    """
    form = written.format or format_of(written.file) or format_of(written.path)
    if form is None:
        raise Refused(
            f"a format of {component}: {written.path} ({', '.join(ConfigFormat)})",
            "none",
            "state it as `format`",
        )
    kind = _typed(
        f"{component}: {written.path}", {v: schemas[p] for v, p in written.schemas.items()}, written.edges
    )
    return ConfigType(file or written.file, form, kind)


def _typed(
    name: str, schemas: Mapping[str, Mapping[str, Any]], edges: Sequence[RecordEdgeFile]
) -> RecordType:
    lenses = {}
    for edge in edges:
        ends = Version.parse(edge.source), Version.parse(edge.target)
        try:
            lenses[ends] = read_lens(edge.lens)
        except LensError as error:
            raise Refused(f"a lens of {name} {ends[0]} > {ends[1]} that can be read", str(error)) from error
    found = RecordType(name, {Version.parse(v): schema for v, schema in schemas.items()}, lenses)
    if faults := found.schema_faults():
        raise Refused(f"schemas of {name} that hold", "; ".join(faults), "correct them in the release")
    return found


def _statements(component: str, written: CompatFile) -> tuple[Statement, ...]:
    found: dict[tuple[Version, Version], Statement] = {}
    for text, level in written.levels.get(component, {}).items():
        old, new = hop_ends(text)
        earlier = found.get((old, new)) or found.get((new, old))
        same = earlier is None or (earlier.level if earlier.old == old else earlier.level.reversed) is level
        if not same:
            raise Refused(
                f"one level of {component} {old} > {new}",
                f"{level} here and another one for the same two versions",
                "keep one of them in compat.levels",
            )
        found[old, new] = Statement(old, new, level, STATED)
    return tuple(found.values())

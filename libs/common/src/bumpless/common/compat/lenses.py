"""Lenses: how a record of one schema becomes one of the next, and back.

A lens is a list of operations. Each has a way back, or none and says so; what an operation takes out of a record is
handed to the caller, who can give it back on the way down. Records are never changed in place. Nothing here knows
the time: a default that depends on it is supplied by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bumpless.common.compat.paths import has, prune, take, value_at

Record = Mapping[str, Any]
Function = Callable[[dict[str, Any]], dict[str, Any]]
Resolve = Callable[[str], Function]
"""From `module:function` to a pure function of a record."""

CASTS: dict[str, Callable[[Any], Any]] = {"integer": int, "number": float, "string": str, "boolean": bool}
SUPPLIED = "supplied"
"""`{supplied: NAME}` as a default: the caller gives the value under this name."""


class LensError(ValueError):
    """A record that a lens cannot move on, or a lens that cannot be read. `path` is where, with dots, `text` what."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text
        super().__init__(f"{path}: {text}" if path else text)


@dataclass
class Pass:
    """One run through a lens: what the caller supplies, what was taken out, and how functions are found."""

    supplied: Mapping[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    resolve: Resolve | None = None

    def function(self, name: str) -> Function:
        """Raises: LensError."""
        if self.resolve is None:
            raise LensError(
                "", f"expected no Python function here, found {name}; run the migration where its code is"
            )
        return self.resolve(name)


class Operation(Protocol):
    """`lossy_back`: the way back needs what was taken out on the way here, or loses what was added."""

    @property
    def invertible(self) -> bool: ...
    @property
    def lossy(self) -> bool: ...
    @property
    def lossy_back(self) -> bool: ...
    def forward(self, record: dict[str, Any], run: Pass) -> None: ...
    def back(self, record: dict[str, Any], run: Pass) -> None: ...


@dataclass(frozen=True)
class Rename:
    """`names`: old path to new path."""

    names: Mapping[str, str]
    invertible: bool = True
    lossy: bool = False
    lossy_back: bool = False

    def forward(self, record: dict[str, Any], run: Pass) -> None:
        _move(record, self.names.items())

    def back(self, record: dict[str, Any], run: Pass) -> None:
        _move(record, ((new, old) for old, new in self.names.items()))
        for new in self.names.values():
            prune(record, new)


@dataclass(frozen=True)
class Default:
    """Values for paths that are not there. The way back takes them out again, which loses what was written since."""

    values: Mapping[str, Any]
    invertible: bool = True
    lossy: bool = False
    lossy_back: bool = True

    def forward(self, record: dict[str, Any], run: Pass) -> None:
        for path, value in self.values.items():
            if has(record, path):
                continue
            if path in run.kept:
                _put(record, path, run.kept.pop(path))
            else:
                _put(record, path, _value(path, value, run))

    def back(self, record: dict[str, Any], run: Pass) -> None:
        for path in self.values:
            if has(record, path):
                run.kept[path] = take(record, path)


@dataclass(frozen=True)
class Drop:
    """Takes paths out. The way back puts back what was kept, or the value given here."""

    paths: Mapping[str, Any]
    invertible: bool = True
    lossy: bool = True
    lossy_back: bool = False

    def forward(self, record: dict[str, Any], run: Pass) -> None:
        Default(self.paths).back(record, run)

    def back(self, record: dict[str, Any], run: Pass) -> None:
        wanted = {p: v for p, v in self.paths.items() if v is not None or p in run.kept}
        Default(wanted).forward(record, run)


@dataclass(frozen=True)
class Nest:
    """Moves paths into a new object: `into` its path, `names` inner name to outer path."""

    into: str
    names: Mapping[str, str]
    invertible: bool = True
    lossy: bool = False
    lossy_back: bool = False

    def forward(self, record: dict[str, Any], run: Pass) -> None:
        _move(record, ((outer, f"{self.into}.{inner}") for inner, outer in self.names.items()))

    def back(self, record: dict[str, Any], run: Pass) -> None:
        _move(record, ((f"{self.into}.{inner}", outer) for inner, outer in self.names.items()))
        # What else was put in there stays, for the schema of the other version to judge: nothing is lost unseen.
        if has(record, self.into) and not value_at(record, self.into):
            take(record, self.into)
            prune(record, self.into)


@dataclass(frozen=True)
class Unnest:
    """The other way round."""

    nest: Nest
    invertible: bool = True
    lossy: bool = False
    lossy_back: bool = False

    def forward(self, record: dict[str, Any], run: Pass) -> None:
        self.nest.back(record, run)

    def back(self, record: dict[str, Any], run: Pass) -> None:
        self.nest.forward(record, run)


@dataclass(frozen=True)
class Cast:
    """Changes the type of values, where that loses nothing. `kinds`: path to (type before, type after)."""

    kinds: Mapping[str, tuple[str, str]]
    invertible: bool = True
    lossy: bool = False
    lossy_back: bool = False

    def forward(self, record: dict[str, Any], run: Pass) -> None:
        for path, (before, after) in self.kinds.items():
            _cast(record, path, before, after)

    def back(self, record: dict[str, Any], run: Pass) -> None:
        for path, (before, after) in self.kinds.items():
            _cast(record, path, after, before)


@dataclass(frozen=True)
class MapValues:
    """Replaces the values of one path by a table. Without a way back where two values become one."""

    path: str
    table: Mapping[str, Any]
    lossy_back: bool = False

    @property
    def invertible(self) -> bool:
        return len({repr(v) for v in self.table.values()}) == len(self.table)

    @property
    def lossy(self) -> bool:
        return not self.invertible

    def forward(self, record: dict[str, Any], run: Pass) -> None:
        self._replace(record, self.table)

    def back(self, record: dict[str, Any], run: Pass) -> None:
        self._replace(record, {str(v): k for k, v in self.table.items()})

    def _replace(self, record: dict[str, Any], table: Mapping[str, Any]) -> None:
        if has(record, self.path):
            found = take(record, self.path)
            if str(found) not in table:
                raise LensError(self.path, f"expected one of {', '.join(table)}, found {found!r}")
            _put(record, self.path, table[str(found)])


@dataclass(frozen=True)
class Call:
    """A pure Python function of the whole record, `module:function`; `undo` is its inverse."""

    do: str
    undo: str | None = None
    lossy: bool = False
    lossy_back: bool = False

    @property
    def invertible(self) -> bool:
        return self.undo is not None

    def forward(self, record: dict[str, Any], run: Pass) -> None:
        _replace_by(record, run.function(self.do), self.do)

    def back(self, record: dict[str, Any], run: Pass) -> None:
        if self.undo is None:
            raise LensError("", f"expected a way back of {self.do}, found none; name it under `back`")
        _replace_by(record, run.function(self.undo), self.undo)


@dataclass(frozen=True)
class Lens:
    """Operations, in the order of the way forward."""

    operations: tuple[Operation, ...]

    @property
    def invertible(self) -> bool:
        return all(o.invertible for o in self.operations)

    @property
    def lossy(self) -> bool:
        return any(o.lossy for o in self.operations)

    @property
    def lossy_back(self) -> bool:
        return any(o.lossy_back for o in self.operations)

    def forward(self, record: Record, run: Pass) -> dict[str, Any]:
        """The record on the other side. Raises: LensError."""
        moved: dict[str, Any] = _copied(record)
        for operation in self.operations:
            operation.forward(moved, run)
        return moved

    def back(self, record: Record, run: Pass) -> dict[str, Any]:
        """The record on this side again. Raises: LensError."""
        moved: dict[str, Any] = _copied(record)
        for operation in reversed(self.operations):
            operation.back(moved, run)
        return moved


def moves(lens: Lens, *, back: bool = False) -> tuple[tuple[str, str], ...]:
    """(from, to) of every value that the way through the lens only puts elsewhere, in the order of the way."""
    found: list[tuple[str, str]] = []
    for operation in lens.operations:
        match operation:
            case Rename(names):
                found += names.items()
            case Nest(into, names):
                found += [(outer, f"{into}.{inner}") for inner, outer in names.items()]
            case Unnest(Nest(into, names)):
                found += [(f"{into}.{inner}", outer) for inner, outer in names.items()]
    return tuple((new, old) for old, new in reversed(found)) if back else tuple(found)


def read_lens(written: Sequence[Mapping[str, Any]]) -> Lens:
    """From what stands in a release file: a list of mappings with one operation each. Raises: LensError."""
    return Lens(tuple(_operation(part) for part in written))


def _operation(part: Mapping[str, Any]) -> Operation:
    name = next((n for n in part if n != "back"), "")
    given = part.get(name)
    unknown = set(part) - {name, "back"}
    if unknown or ("back" in part and name != "py"):
        raise LensError("", f"expected one operation in each item, found {', '.join(sorted(part))}")
    match name, given:
        case "rename", Mapping():
            return Rename({str(k): str(v) for k, v in given.items()})
        case "default", Mapping():
            return Default(dict(given))
        case "drop", str():
            return Drop({given: None})
        case "drop", list() | tuple():
            return Drop({str(path): None for path in given})
        case "drop", Mapping():
            return Drop(dict(given))
        case "nest", Mapping() if len(given) == 1:
            return _nest(given)
        case "unnest", Mapping() if len(given) == 1:
            return Unnest(_nest(given))
        case "cast", Mapping():
            return Cast({str(path): _kinds(str(path), kinds) for path, kinds in given.items()})
        case "map", Mapping() if len(given) == 1 and isinstance(next(iter(given.values())), Mapping):
            path, table = next(iter(given.items()))
            return MapValues(str(path), {str(k): v for k, v in table.items()})
        case "py", str():
            return Call(given, part.get("back"))
    raise LensError(
        "",
        "expected rename, default, drop, nest, unnest, cast, map or py with what belongs to it, "
        f"found {name or 'nothing'}: {given!r}",
    )


def _nest(given: Mapping[str, Any]) -> Nest:
    into, names = next(iter(given.items()))
    if not isinstance(names, Mapping):
        raise LensError(str(into), f"expected a mapping of inner to outer names, found {names!r}")
    return Nest(str(into), {str(k): str(v) for k, v in names.items()})


def _kinds(path: str, kinds: Any) -> tuple[str, str]:
    known = ", ".join(CASTS)
    if isinstance(kinds, list | tuple) and len(kinds) == 2 and all(k in CASTS for k in kinds):
        return kinds[0], kinds[1]
    raise LensError(path, f"expected [type before, type after] out of {known}, found {kinds!r}")


def _value(path: str, value: Any, run: Pass) -> Any:
    if not (isinstance(value, Mapping) and set(value) == {SUPPLIED}):
        return _copied(value)
    name = str(value[SUPPLIED])
    if name not in run.supplied:
        raise LensError(path, f"expected a value supplied as {name}, found none")
    return run.supplied[name]


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _copied(v) for k, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list | tuple) else value


def _replace_by(record: dict[str, Any], function: Function, name: str) -> None:
    try:
        made = function(_copied(record))
    except Exception as error:
        # Code of the release: whatever it raises is about this record.
        raise LensError("", f"{name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, dict):
        raise LensError("", f"expected a mapping from {name}, found {type(made).__name__}")
    record.clear()
    record.update(made)


def _cast(record: dict[str, Any], path: str, before: str, after: str) -> None:
    if not has(record, path):
        return
    found = take(record, path)
    try:
        made = CASTS[after](found)
        kept = type(found) is CASTS[before] and CASTS[before](made) == found
    except (ValueError, TypeError, OverflowError):
        kept = False
    if after == "boolean" or before == "boolean":
        kept = before == after and isinstance(found, bool)
    if not kept:
        raise LensError(path, f"expected a {before} that can be a {after} without loss, found {found!r}")
    _put(record, path, made)


def _move(record: dict[str, Any], names: Any) -> None:
    for source, target in list(names):
        if not has(record, source):
            continue
        if has(record, target):
            raise LensError(target, f"expected nothing here, to put {source} there, found a value")
        _put(record, target, take(record, source))


def _put(record: dict[str, Any], path: str, value: Any) -> None:
    *outer, name = path.split(".")
    here: Any = record
    for at, part in enumerate(outer):
        here = here.setdefault(part, {})
        if not isinstance(here, dict):
            raise LensError(".".join(outer[: at + 1]), f"expected an object, found {here!r}")
    here[name] = value

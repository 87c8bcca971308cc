"""Reading a release file: YAML to `ReleaseFile`, every fault with its line and what was expected. No I/O.

Aliases are refused and the size is bounded, so that a hostile file cannot grow in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from bumpless.common.model import interface_rules
from bumpless.common.model.compat import hop_ends
from bumpless.common.model.contracts import party
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.release import ITSELF, ComponentFile, Driver, ReleaseFile
from bumpless.common.model.strategy_rules import contradictions
from bumpless.common.model.version import InvalidVersion, Version

MAX_BYTES = 1 << 20
MAX_DEPTH = 12


@dataclass(frozen=True)
class Problem:
    """One fault in a release file; `line` counts from 1."""

    line: int
    where: str
    text: str


class ReleaseInvalid(ValueError):
    """The file is refused; `problems` holds everything found, in the order of the lines."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.line, p.where)))
        super().__init__("\n".join(f"{name}:{p.line}: {p.where}: {p.text}" for p in self.problems))


def parse_release_file(text: str, name: str) -> ReleaseFile:
    """Parse and check `text`; `name` is the file's, for messages.

    Raises:
        ReleaseInvalid: not YAML, an unknown field, a wrong type, an unknown component, a cycle, a name twice.
    """
    if len(text.encode()) > MAX_BYTES:
        raise ReleaseInvalid(name, [Problem(1, "file", f"expected at most {MAX_BYTES} bytes, found more")])
    tree = _load(text, name)
    try:
        release = ReleaseFile.model_validate(_plain(tree, name))
    except ValidationError as error:
        raise ReleaseInvalid(name, _problems(tree, error)) from error
    problems = _references(release, tree) + _contradictions(release, tree)
    if problems:
        raise ReleaseInvalid(name, problems)
    return release


def parse_gate_file(text: str, name: str, component: str | None = None) -> GateSpec:
    """A gate by itself, under the key `gate` or not; or that of a release file: of `component`, else for all.

    Raises:
        ReleaseInvalid: as for a release file, or one without such a gate.
    """
    tree = _load(text, name)
    if "components" in tree:
        release = parse_release_file(text, name)
        if component is not None and component not in [part.name for part in release.components]:
            raise ReleaseInvalid(name, [Problem(1, "components", f"expected {component}, found none")])
        own = [part.gate for part in release.components if component in (None, part.name) and part.gate]
        given = [*own, release.gate] if component else [release.gate, *own]
        found = next((gate for gate in given if gate is not None), None)
        if found is None:
            raise ReleaseInvalid(name, [Problem(1, "gate", "expected a gate, found none")])
        return found
    inner: CommentedMap = tree["gate"] if isinstance(tree.get("gate"), CommentedMap) else tree
    try:
        gate: GateSpec = GateSpec.model_validate(_plain(inner, name))
    except ValidationError as error:
        raise ReleaseInvalid(name, _problems(inner, error)) from error
    return gate


def _load(text: str, name: str) -> CommentedMap:
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ReleaseInvalid(name, [Problem(line, "file", f"expected YAML: {error.problem}")]) from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise ReleaseInvalid(name, [Problem(1, "file", f"expected YAML: {error}")]) from error
    if not isinstance(tree, CommentedMap):
        found = "nothing" if tree is None else type(tree).__name__
        raise ReleaseInvalid(
            name, [Problem(1, "file", f"expected a mapping with `components`, found {found}")]
        )
    return tree


def _plain(value: Any, name: str, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ReleaseInvalid(name, [Problem(1, "file", f"expected at most {MAX_DEPTH} levels")])
    if isinstance(value, CommentedMap):
        if value.anchor.value is not None:
            line = value.lc.line + 1
            raise ReleaseInvalid(name, [Problem(line, "file", "expected no anchors and aliases")])
        return {str(k): _plain(v, name, depth + 1) for k, v in value.items()}
    if isinstance(value, CommentedSeq):
        return [_plain(v, name, depth + 1) for v in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    return float(value) if isinstance(value, float) else str(value)


def _line(tree: Any, path: Sequence[str | int]) -> int:
    """The line of the innermost part of `path` that the file has."""
    line = 1
    here: Any = tree
    for part in path:
        if isinstance(here, CommentedMap) and part in here:
            line = here.lc.key(part)[0] + 1
            here = here[part]
        elif isinstance(here, CommentedSeq) and isinstance(part, int) and part < len(here):
            line = here.lc.item(part)[0] + 1
            here = here[part]
    return line


_EXPECTED = {
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "string_type": "expected text (in quotes where it looks like a number)",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "bool_parsing": "expected true or false",
}


def _problems(tree: CommentedMap, error: ValidationError) -> list[Problem]:
    errors = error.errors(include_url=False)
    inner = [e for e in errors if e["type"] != "too_short"]
    return [_problem(tree, e) for e in inner or errors]


def _problem(tree: CommentedMap, error: Any) -> Problem:
    loc = tuple(error["loc"])
    components = tree.get("components")
    if len(loc) > 1 and loc[0] == "components" and isinstance(components, CommentedMap):
        loc = ("components", list(components)[loc[1]], *loc[2:])
    where = ".".join(str(part) for part in loc)
    kind, found = error["type"], error.get("input")
    if kind == "extra_forbidden":
        text = f"unknown field {loc[-1]!r}; is it misspelled, or does it belong elsewhere?"
    elif kind == "missing":
        text = f"expected the field {loc[-1]!r}, found none"
    else:
        text = _EXPECTED.get(kind, error["msg"].removeprefix("Value error, "))
        if "found" not in text:
            text += f", found {found!r}"
    return Problem(_line(tree, loc), where, text)


def _contradictions(release: ReleaseFile, tree: CommentedMap) -> list[Problem]:
    components = tree["components"]
    names = list(components) if isinstance(components, CommentedMap) else None
    found = []
    for path, text in (*contradictions(release), *interface_rules.contradictions(release)):
        spelled = path
        if len(path) > 1 and isinstance(path[1], int):
            shown = release.components[path[1]].name
            spelled = ("components", path[1] if names is None else names[path[1]], *path[2:])
            path = (shown, *path[2:])
        found.append(Problem(_line(tree, spelled), ".".join(map(str, path)), text))
    return found


def _through_faults(release: ReleaseFile, component: ComponentFile) -> Iterator[str]:
    """Versions on the way that are none: the wanted one, one that stands twice, one to which no hop is stated."""
    through = [Version.parse(part.version) for part in component.through]
    wanted = component.version or release.version or ""
    stated = {end for hop in release.compat.levels.get(component.name, {}) for end in hop_ends(hop)}
    if release.compat.states_hops_of(component.name):
        try:
            Version.parse(wanted)
        except InvalidVersion:
            yield f"expected a version such as 2.1.0, because compat speaks of its hops, found {wanted!r}"
            return
    for at, version in enumerate(through):
        if version in through[:at]:
            yield f"{version} stands twice"
        elif wanted and _same(wanted, version):
            yield f"expected versions on the way to {wanted}, found {version} itself"
        elif version not in stated:
            yield f"no way goes through {version}: state its hops in compat.levels.{component.name}"


def _same(text: str, version: Version) -> bool:
    try:
        return Version.parse(text) == version
    except InvalidVersion:
        return False


def _references(release: ReleaseFile, tree: CommentedMap) -> list[Problem]:
    found: list[Problem] = []
    names = [component.name for component in release.components]

    def line(index: int, field: str = "name") -> int:
        components = tree["components"]
        key: str | int = list(components)[index] if isinstance(components, CommentedMap) else index
        return _line(tree, ("components", key, field))

    for index, component in enumerate(release.components):
        if names.index(component.name) != index:
            found.append(Problem(line(index), component.name, "this component stands twice"))
        if component.version is None and release.version is None:
            found.append(Problem(line(index), component.name, "expected a version here or for the release"))
        run = component.run
        if (
            run is not None
            and not run.overlap
            and "warm_s" in run.timing.model_fields_set
            and run.timing.warm_s
        ):
            text = f"expected no warm_s with overlap: false, where no replaced instance is kept, found {run.timing.warm_s:g}"
            found.append(Problem(line(index, "run"), f"{component.name}.run.timing.warm_s", text))
        if component.run is not None and (component.name == ITSELF) != (
            component.run.driver is Driver.EXECUTOR
        ):
            text = f"expected the name {ITSELF!r} and `run: {{driver: executor}}` together: they mean the node's executor"
            found.append(Problem(line(index), component.name, text))
        for text in _through_faults(release, component):
            found.append(Problem(line(index, "through"), f"{component.name}.through", text))
        for dep in component.depends_on:
            if dep not in names:
                known = ", ".join(sorted(set(names)))
                found.append(
                    Problem(
                        line(index, "depends_on"),
                        f"{component.name}.depends_on",
                        f"expected one of {known}, found {dep!r}",
                    )
                )
    for index, row in enumerate(release.contracts):
        parties = [party(text)[0] for text in (row.consumer, row.provider)]
        if parties[0] == parties[1] or not set(parties) & set(names):
            text = (
                f"expected two parties, at least one of them a component ({', '.join(sorted(set(names)))}), "
            )
            text += f"found {' and '.join(parties)}"
            found.append(Problem(_line(tree, ("contracts", index)), f"contracts.{index}", text))
    for kind, record in release.records.items():
        if record.of is not None and record.of not in names:
            where = f"records.{kind}.of"
            text = f"expected one of {', '.join(sorted(set(names)))}, found {record.of!r}"
            found.append(Problem(_line(tree, ("records", kind, "of")), where, text))
    if not found:
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_edges_from((dep, c.name) for c in release.components for dep in c.depends_on)
        if not nx.is_directed_acyclic_graph(graph):
            cycle = [edge[0] for edge in nx.find_cycle(graph)]
            first = names.index(cycle[0])
            path = " -> ".join([*cycle, cycle[0]])
            found.append(
                Problem(line(first, "depends_on"), "components", f"the dependencies form a cycle: {path}")
            )
    return found

"""Configuration files carried from version to version like records, with their comments and their order.

The form of a file changes at some versions of its component; between them the latest one holds. Values go through the
same lenses as records; the text is changed only where a value or a name is. Whoever checks, migrates or renders reads
the file by the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from bumpless.common.compat.config_problems import ConfigInvalid, Problem, invalid, line_of, problem_of
from bumpless.common.compat.documents import Document, DocumentError, Json
from bumpless.common.compat.documents_lines import Env, Ini, Toml
from bumpless.common.compat.documents_yaml import Yaml
from bumpless.common.compat.hops import Hop
from bumpless.common.compat.lenses import LensError, Pass, Resolve, moves
from bumpless.common.compat.lifecycle import Lifecycle, Status
from bumpless.common.compat.paths import differences, has, leaves, same, value_at
from bumpless.common.compat.records import RecordType
from bumpless.common.model.compat import ItemKind
from bumpless.common.model.config import ConfigFormat
from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.version import Version

FORMATS: Mapping[ConfigFormat, Document] = {
    ConfigFormat.YAML: Yaml(),
    ConfigFormat.JSON: Json(),
    ConfigFormat.TOML: Toml(),
    ConfigFormat.INI: Ini(),
    ConfigFormat.ENV: Env(),
}
_ENDINGS = {"yml": "yaml", "cfg": "ini", "conf": "ini"}


def format_of(path: str) -> ConfigFormat | None:
    """By the name of the file; None: it does not tell."""
    ending = path.rsplit("/", 1)[-1].rpartition(".")[2].lower()
    named = _ENDINGS.get(ending, ending)
    return ConfigFormat(named) if named in set(ConfigFormat) else None


@dataclass(frozen=True)
class Carried:
    """A file in the form of another version. `versions` is its way; `kept` what was taken out, by name."""

    text: str
    versions: tuple[Version, ...]
    kept: dict[str, Any]
    lossy: bool


@dataclass(frozen=True)
class ConfigType:
    """One configuration file of one component: `kind` holds the schemas and lenses, `file` its name for messages."""

    file: str
    format: ConfigFormat
    kind: RecordType

    @property
    def _document(self) -> Document:
        return FORMATS[self.format]

    def form(self, version: Version) -> Version:
        """From which version on the file has the form that `version` reads. Raises: ConfigInvalid."""
        found = [v for v in self.kind.schemas if v <= version]
        if not found:
            first = min(self.kind.schemas)
            raise ConfigInvalid(
                self.file, version, (Problem(1, "", f"a schema for {version}", f"none before {first}"),)
            )
        return max(found)

    def read(self, text: str, version: Version) -> dict[str, Any]:
        """What the file says, checked against the schema of `version`; old names beside new ones are left out.

        Raises: ConfigInvalid.
        """
        form = self.form(version)
        data = self._parsed(text, form)
        lines = self._document.lines(text)
        single, problems = self._single(data, lines, form)
        problems += [
            problem_of(e, lines) for e in Draft202012Validator(self.kind.schemas[form]).iter_errors(single)
        ]
        if problems:
            raise ConfigInvalid(self.file, version, tuple(dict.fromkeys(problems)))
        return single

    def findings(
        self, text: str, version: Version, lifecycle: Lifecycle | None = None, component: str = ""
    ) -> tuple[Finding, ...]:
        """CONFIG_INVALID for all that is wrong, CONFIG_OLD_KEY for names that have a successor at `version`."""
        try:
            form = self.form(version)
            data = self._parsed(text, form)
        except ConfigInvalid as error:
            return tuple(invalid(self.file, p) for p in error.problems)
        lines = self._document.lines(text)
        found = []
        olds = [(old, new) for old, new in self._successors(form) if has(data, old)]
        # What follows from an old name alone is said once.
        told = {name for old, new in olds if not has(data, new) for name in (old, new)}
        try:
            self.read(text, version)
        except ConfigInvalid as error:
            found += [invalid(self.file, p) for p in error.problems if p.key not in told]
        found += [self._old_key(lines, old, new, has(data, new), version) for old, new in olds]
        for item in () if lifecycle is None else lifecycle.of(component):
            if item.kind is ItemKind.CONFIG and has(data, item.id):
                status = item.status(version)
                if status in (Status.DEPRECATED, Status.REMOVED):
                    since = item.deprecated if status is Status.DEPRECATED else item.removed
                    found.append(
                        Finding(
                            code=Code.CONFIG_OLD_KEY,
                            severity=Severity.WARN if status is Status.DEPRECATED else Severity.BLOCK,
                            subject=f"{self.file}:{line_of(lines, item.id)}: {item.id}",
                            evidence=f"{status} since {since}",
                            recommendation=f"use {item.use}" if item.use else "take it out",
                        )
                    )
        return tuple(dict.fromkeys(found))

    def migrate(
        self,
        text: str,
        source: Version,
        target: Version,
        *,
        kept: Mapping[str, Any] | None = None,
        supplied: Mapping[str, Any] | None = None,
        lossy: bool = False,
        resolve: Resolve | None = None,
    ) -> Carried:
        """The file in the form that `target` reads, up or down, checked before and after every hop.

        Raises:
            ConfigInvalid: it does not fit, or both names of one thing are set and differ.
            NoPath: no lenses lead there, or only such that lose data.
        """
        here, there = self.form(source), self.form(target)
        run = Pass(supplied or {}, dict(kept or {}), resolve)
        text = self._without_old_names(text, here)
        self.read(text, here)
        hops = self.kind.graph.path(here, there, lossy=lossy)
        for hop in hops:
            text = self._hop(text, hop, run)
            self.read(text, hop.target)
        return Carried(text, (here, *(h.target for h in hops)), run.kept, any(h.lossy for h in hops))

    def both(self, text: str, version: Version, olds: tuple[Version, ...] | None = None) -> str:
        """The file of `version`, with the names added that the forms before it read: one file for old and new.

        `olds`: which forms; None: every one from which lenses lead here and back.

        Raises: ConfigInvalid, also where one name would need two values.
        """
        form = self.form(version)
        data = self.read(text, form)
        wanted = self._older(form) if olds is None else tuple(dict.fromkeys(map(self.form, olds)))
        for old in wanted:
            if old == form:
                continue
            earlier = self._seen_by(data, form, old)
            before = self._parsed(text, form)
            lines = self._document.lines(text)
            for path, value in leaves(earlier):
                if value == {}:
                    continue  # what a lens emptied
                if not has(before, path):
                    note = f"the name before {min(v for v in self.kind.schemas if v > old)}"
                    text = self._edited(form, path, self._document.put, text, path, value, note)
                elif not same(value_at(before, path), value):
                    found = f"{value_at(before, path)!r}, which {form} needs there"
                    raise ConfigInvalid(
                        self.file, form, (Problem(line_of(lines, path), path, f"{value!r} for {old}", found),)
                    )
        self.read(text, form)
        return text

    def _seen_by(self, data: dict[str, Any], form: Version, old: Version) -> dict[str, Any]:
        run = Pass()
        for hop in self.kind.graph.path(form, old, lossy=True):
            data = self._stepped(hop, data, run)
        return data

    def _older(self, form: Version) -> tuple[Version, ...]:
        older = (v for v in sorted(self.kind.schemas, reverse=True) if v < form)
        return tuple(v for v in older if form in self.kind.graph.distances(v, lossy=True))

    def _successors(self, form: Version) -> list[tuple[str, str]]:
        """(old name, new name) of everything that an earlier form called otherwise, the earliest first."""
        found: list[tuple[str, str]] = []
        for (old, new), lens in sorted(self.kind.lenses.items(), key=lambda item: item[0]):
            if old < new <= form:
                found = [(o, dict(moves(lens)).get(n, n)) for o, n in found]
                found += moves(lens)
        schema = self.kind.schemas[form]
        return [(o, n) for o, n in dict.fromkeys(found) if o != n and not _named(schema, o)]

    def _single(
        self, data: dict[str, Any], lines: dict[str, int], form: Version
    ) -> tuple[dict[str, Any], list[Problem]]:
        """Without the old name where both are set and say the same; where they do not, that is a problem."""
        problems = []
        left: Any = data
        for old, new in self._successors(form):
            if not (has(data, old) and has(data, new)):
                continue
            was, now = value_at(data, old), value_at(data, new)
            if same(was, now):
                left = _without(left, old)
                continue
            problems.append(
                Problem(
                    line_of(lines, old),
                    old,
                    f"the value of {new}, its successor on line {line_of(lines, new)}, which is {now!r}",
                    repr(was),
                )
            )
            left = _without(left, old)
        return left, problems

    def _without_old_names(self, text: str, form: Version) -> str:
        data = self._parsed(text, form)
        lines = self._document.lines(text)
        for old, new in self._successors(form):
            if has(data, old) and has(data, new):
                if not same(value_at(data, old), value_at(data, new)):
                    _, problems = self._single(data, lines, form)
                    raise ConfigInvalid(self.file, form, tuple(problems))
                text = self._document.take(text, old)
        return text

    def _hop(self, text: str, hop: Hop, run: Pass) -> str:
        lens = self.kind.lenses.get((hop.source, hop.target))
        ways = moves(lens) if lens else moves(self.kind.lenses[hop.target, hop.source], back=True)
        text = self._settled(text, ways, hop)
        data = self._parsed(text, hop.source)
        wanted = self._stepped(hop, data, run)
        for old, new in ways:
            here = self._parsed(text, hop.source)
            if has(here, old) and not has(here, new):
                text = self._edited(hop.target, old, self._document.move, text, old, new)
        for path, there in tuple(differences(self._parsed(text, hop.source), wanted)):
            if not there:
                text = self._edited(hop.target, path, self._document.take, text, path)
            else:
                value, note = value_at(wanted, path), f"since {hop.target}"
                text = self._edited(hop.target, path, self._document.put, text, path, value, note)
        left = tuple(differences(self._parsed(text, hop.source), wanted))
        if left:
            line = line_of(self._document.lines(text), left[0][0])
            problem = Problem(
                line, left[0][0], "a form in which it can be changed", "one that cannot; change it by hand"
            )
            raise ConfigInvalid(self.file, hop.target, (problem,))
        return text

    def _settled(self, text: str, ways: tuple[tuple[str, str], ...], hop: Hop) -> str:
        """Both names set: one is enough where they say the same."""
        for old, new in ways:
            data = self._parsed(text, hop.source)
            if not (has(data, old) and has(data, new)):
                continue
            was, now = value_at(data, old), value_at(data, new)
            if isinstance(was, Mapping) or isinstance(now, Mapping):
                continue
            if not same(was, now):
                lines = self._document.lines(text)
                problem = Problem(
                    line_of(lines, old),
                    old,
                    f"the value of {new} on line {line_of(lines, new)}, which is {now!r}",
                    repr(was),
                )
                raise ConfigInvalid(self.file, hop.target, (problem,))
            text = self._document.take(text, old)
        return text

    def _stepped(self, hop: Hop, data: dict[str, Any], run: Pass) -> dict[str, Any]:
        try:
            return self.kind.step(hop, data, run)
        except LensError as error:
            raise ConfigInvalid(
                self.file,
                hop.target,
                (Problem(1, error.path, "something that the lens can carry on", str(error)),),
            ) from error

    def _edited(self, version: Version, path: str, change: Callable[..., str], *args: Any) -> str:
        try:
            return change(*args)
        except DocumentError as error:
            problem = Problem(error.line, path, "a form in which it can be changed", str(error))
            raise ConfigInvalid(self.file, version, (problem,)) from error

    def _parsed(self, text: str, version: Version) -> dict[str, Any]:
        try:
            return self._document.data(text)
        except DocumentError as error:
            expected, _, found = str(error).removeprefix("expected ").partition(", found ")
            raise ConfigInvalid(
                self.file,
                version,
                (Problem(error.line, "", expected, found or repr(_text_of(text, error.line))),),
            ) from error

    def _old_key(self, lines: dict[str, int], old: str, new: str, is_both: bool, version: Version) -> Finding:
        return Finding(
            code=Code.CONFIG_OLD_KEY,
            severity=Severity.WARN if is_both else Severity.BLOCK,
            subject=f"{self.file}:{line_of(lines, old)}: {old}",
            evidence=f"{version} reads {new}"
            + (f", which is on line {line_of(lines, new)}" if is_both else ""),
            recommendation=(
                "take it out once no older instance is left"
                if is_both
                else "carry the file on with bumpless config migrate"
            ),
        )


def _named(schema: Mapping[str, Any], path: str) -> bool:
    here: Any = schema
    for part in path.split("."):
        here = here.get("properties", {}).get(part) if isinstance(here, Mapping) else None
        if here is None:
            return False
    return True


def _without(data: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Without it, and without the mappings that held nothing else."""
    name, _, rest = path.partition(".")
    left = dict(data)
    if rest:
        left[name] = _without(left[name], rest)
        if not left[name]:
            del left[name]
    else:
        del left[name]
    return left


def _text_of(text: str, line: int) -> str:
    rows = text.splitlines()
    return rows[line - 1].strip()[:60] if line <= len(rows) else ""

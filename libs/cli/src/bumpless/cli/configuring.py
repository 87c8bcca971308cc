"""Configuration files and records of a release file, read from the disk beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bumpless.common.compat import written
from bumpless.common.compat.config_problems import ConfigInvalid, invalid
from bumpless.common.compat.configs import ConfigType
from bumpless.common.compat.hops import NoPath
from bumpless.common.compat.lifecycle import Lifecycle
from bumpless.common.errors import Refused
from bumpless.common.model.compat import RecordFile, SignedRecord
from bumpless.common.model.config import MAX_CONFIG_BYTES, ConfigContent, ConfigSource
from bumpless.common.model.finding import Code, Finding, blocking
from bumpless.common.model.release import ComponentFile, ReleaseFile
from bumpless.common.model.version import InvalidVersion, Version

MAX_SCHEMA_BYTES = 256 << 10


def config_of(base: Path, component: str, source: ConfigSource, file: str = "") -> ConfigType:
    """`base`: the folder of the release file. Raises: Refused."""
    schemas = {path: _schema(base / path) for path in source.schemas.values()}
    return written.config_type(component, source, schemas, file)


class FilesRefused(Refused):
    """Files beside the release file that do not hold; `findings` have each fault: which file, where, what to do."""

    def __init__(self, expected: str, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        found = "".join(f"\n{f.subject}: {f.evidence}" for f in findings)
        super().__init__(expected, found, "correct them and build again")


def rendered(base: Path, item: ComponentFile, version: str) -> tuple[ConfigContent, ...]:
    """The configuration files of a component as they reach its nodes, in the form of `version`.

    Raises:
        FilesRefused: files are missing, too large, do not fit their schemas, or cannot be carried on.
    """
    if not item.config:
        return ()
    try:
        wanted = Version.parse(version)
    except InvalidVersion as error:
        fault = _fault(item.name, f"its configuration needs a version: {error}", "give it one such as 2.1.0")
        raise FilesRefused(f"{item.name}: configuration files that fit {version}", (fault,)) from error
    found: list[ConfigContent] = []
    faults: list[Finding] = []
    for source in item.config:
        try:
            found.append(_rendered(base, item, source, wanted))
        except (ConfigInvalid, NoPath, Refused) as error:
            faults += _faults(base, item, source, wanted, error)
    for sizes in (
        sum(len(f.content.encode()) for f in found),
        sum(len((f.content if f.both is None else f.both).encode()) for f in found),
    ):
        if sizes > MAX_CONFIG_BYTES and not faults:
            evidence = f"expected at most {MAX_CONFIG_BYTES} bytes in all configuration files, found {sizes}"
            advice = "put what is large into the tree of the component"
            faults.append(_fault(item.name, evidence, advice))
    if faults:
        raise FilesRefused(
            f"{item.name}: configuration files that fit {version}", tuple(dict.fromkeys(faults))
        )
    return tuple(found)


def _faults(
    base: Path,
    item: ComponentFile,
    source: ConfigSource,
    version: Version,
    error: ConfigInvalid | NoPath | Refused,
) -> tuple[Finding, ...]:
    """CONFIG_INVALID for everything that keeps one file from the nodes; CONFIG_OLD_KEY where that is all there is to it."""
    match error:
        case ConfigInvalid():
            kind = config_of(base, item.name, source)
            # What follows from an old name alone is told by that name.
            told = kind.findings(read_text(base / source.file), error.version, component=item.name)
            found = [f for f in told if f.blocks] if source.written_for is None else []
            found = found or [invalid(error.file, problem) for problem in error.problems]
            reads = f"; {item.name} {error.version} reads it so"
            return tuple(f.model_copy(update={"evidence": f"{f.evidence}{reads}"}) for f in found)
        case NoPath():
            evidence = f"no lenses carry it up to {item.name} {version}: {error}"
            advice = f"state them under `edges` of {source.path}, or write the file for {version}"
            return (_fault(source.file, evidence, advice),)
        case Refused():
            evidence = f"{item.name}: expected {error.expected}, found {error.found}"
            advice = error.hint or "correct the file, or what the release file says of it"
            return (_fault(source.file, evidence, advice),)


def _fault(subject: str, evidence: str, recommendation: str) -> Finding:
    return blocking(Code.CONFIG_INVALID, subject, evidence, recommendation)


def config_findings(
    base: Path, item: ComponentFile, version: str, lifecycle: Lifecycle
) -> tuple[Finding, ...]:
    """CONFIG_OLD_KEY of the files that `rendered` accepted. Raises: Refused, as there."""
    found: list[Finding] = []
    for source in item.config:
        wanted = Version.parse(version)
        kind = config_of(base, item.name, source)
        found += kind.findings(_carried(base, kind, source, wanted), wanted, lifecycle, item.name)
    return tuple(dict.fromkeys(found))


def signed_records(base: Path, file: ReleaseFile) -> dict[str, SignedRecord]:
    """The record types with their schemas, as a signed release carries them.

    Raises:
        FilesRefused: RECORD_INVALID for each whose schema is not there or is none, or whose lens cannot be read.
    """
    found: dict[str, SignedRecord] = {}
    faults: list[Finding] = []
    for name, form in sorted(file.records.items()):
        try:
            found[name] = signed_record(base, form)
            written.signed_record_type(name, found[name])
        except Refused as error:
            evidence = f"expected {error.expected}, found {error.found}"
            advice = error.hint or f"correct it, or what records.{name} says of it"
            faults.append(blocking(Code.RECORD_INVALID, name, evidence, advice))
    if faults:
        raise FilesRefused("record types that hold", tuple(faults))
    return found


def signed_record(base: Path, form: RecordFile) -> SignedRecord:
    """One type with its schemas, read from the disk. Raises: Refused."""
    schemas = {version: _schema(base / path) for version, path in form.schemas.items()}
    return SignedRecord(of=form.of, schemas=schemas, edges=form.edges)


def read_text(path: Path, limit: int = MAX_CONFIG_BYTES) -> str:
    """Raises: Refused."""
    try:
        data = path.read_bytes()
        if len(data) > limit:
            raise Refused(f"at most {limit} bytes in {path}", str(len(data)))
        return data.decode()
    except FileNotFoundError:
        raise Refused("a configuration file", f"nothing at {path}") from None
    except UnicodeDecodeError as error:
        raise Refused(f"UTF-8 in {path}", str(error)) from error


def _rendered(base: Path, item: ComponentFile, source: ConfigSource, version: Version) -> ConfigContent:
    """Raises: Refused, ConfigInvalid, NoPath."""
    kind = config_of(base, item.name, source)
    shared = item.run is not None and item.run.names_word("{config.shared}")
    text = _carried(base, kind, source, version)
    kind.read(text, version)
    both = _both(kind, text, version, needed=shared)
    return ConfigContent(path=source.path, content=text, both=None if both == text else both)


def _carried(base: Path, kind: ConfigType, source: ConfigSource, version: Version) -> str:
    """The file in the form of `version`. Raises: Refused, ConfigInvalid, NoPath."""
    text = read_text(base / source.file)
    if source.written_for is None:
        return text
    return kind.migrate(text, Version.parse(source.written_for), version).text


def _both(kind: ConfigType, text: str, version: Version, *, needed: bool) -> str:
    """Only a shared file must be readable for every version; other instances have their own."""
    try:
        return kind.both(text, version)
    except ConfigInvalid:
        if needed:
            raise
        return text


def _schema(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path, MAX_SCHEMA_BYTES))
    except ValueError as error:
        raise Refused(f"a JSON Schema in {path}", str(error)) from error
    if not isinstance(found, dict):
        raise Refused(f"a JSON object in {path}", type(found).__name__)
    return found

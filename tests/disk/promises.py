"""What must hold of a node's data directory whenever its executor stopped, and however."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.tree import verify_root
from bumpless.common.errors import Refused
from bumpless.common.model.config import config_digest
from bumpless.executor.journal import Journal
from bumpless.executor.launcher import read_state
from disk.itself import shown
from disk.node import fingerprint
from disk.site import component_of

Words = dict[str, Any]


@dataclass(frozen=True)
class Links:
    """What `current` and `previous` name: digests of trees."""

    current: str | None
    previous: str | None


def home(data: Path) -> Path:
    return data / "components" / component_of(data)


def links(data: Path) -> Links:
    return Links(_named(home(data) / "current"), _named(home(data) / "previous"))


def record_of(data: Path) -> str:
    """The fingerprint of the journal's record."""
    return fingerprint(Journal(home(data) / "journal.json").load())


def broken(data: Path, before: Links, after: Links, record: str, heard: Sequence[Words]) -> list[str]:
    """The promises that do not hold, as sentences.

    `before` and `after` are the links around the whole step, `record` the journal's record before it, `heard` what the
    node had said when it stopped.
    """
    return [
        *_links(data, before, after, heard),
        *_trees(data, heard),
        *_journal(data, record, heard),
        *_launch(data, heard),
        *_configs(data, heard),
        *_availability(data, heard),
    ]


def _links(data: Path, before: Links, after: Links, heard: Sequence[Words]) -> Iterable[str]:
    found = links(data)
    if found.current not in (before.current, after.current):
        yield f"current names {found.current}, neither the old tree nor the new one"
    known = (before.current, before.previous, after.current, after.previous)
    if found.previous not in known:
        yield f"previous names {found.previous}, which is none of the step's trees"
    for name, root in (("current", found.current), ("previous", found.previous)):
        if root is not None and (why := _damage(data, root)):
            yield f"{name} names no whole tree: {why}"
    moves = [words for words in heard if "pointing" in words or "pointed" in words]
    if moves and "pointed" in moves[-1] and moves[-1]["pointed"] != [found.current, found.previous]:
        yield f"the links were said to name {moves[-1]['pointed']}, and name {found}"
    # A step that is done has pointed the links before; a failed one has pointed them back.
    done = any(words.get("outcome") == "done" for words in heard)
    if done and found.current != after.current:
        yield f"the step was said to be done, and current names {found.current}"


def _trees(data: Path, heard: Sequence[Words]) -> Iterable[str]:
    versions = home(data) / "versions"
    for path in versions.iterdir() if versions.is_dir() else ():
        if why := _damage(data, f"sha256:{path.name}"):
            yield f"a tree among the versions is not whole: {why}"
    for words in heard:
        if (root := words.get("staged")) and (why := _damage(data, root)):
            yield f"a tree was said to be staged, and is not: {why}"
        if root and not _described(data, words["description"]):
            yield "a tree was said to be staged, and has no description to run it without the store"


def _journal(data: Path, record: str, heard: Sequence[Words]) -> Iterable[str]:
    possible = [record]
    for words in heard:
        if "saved" in words:
            possible = [words["saved"]]
        if "saving" in words:
            possible.append(words["saving"])
    try:
        found = record_of(data)
    except Refused as error:
        yield f"the journal cannot be read: {error}"
        return
    if found not in possible:
        yield "the journal holds another record than the last one that was saved"


def _launch(data: Path, heard: Sequence[Words]) -> Iterable[str]:
    """The launcher counts starts without a word."""
    possible: list[list[Any]] = []
    for words in heard:
        if "launched" in words:
            possible = [words["launched"]]
        if "launching" in words:
            possible.append(words["launching"])
    found = shown(read_state(data))
    if possible and not any(found[:2] == said[:2] and found[2] >= said[2] for said in possible):
        yield f"launch.json holds {found}, and was said to hold {possible[0]}"


def _configs(data: Path, heard: Sequence[Words]) -> Iterable[str]:
    """What was put there is there until nobody names it; the link always names what is whole."""
    kept, link = set[str](), home(data) / "config"
    shared: list[str] = []
    for words in heard:
        if "put" in words:
            kept.add(words["put"])
        if "shared" in words:
            shared = [words["shared"]]
        if "collecting" in words:
            kept &= set(words["collecting"])
    if link.is_symlink():
        name = os.path.basename(os.readlink(link))
        kept.add(name)
        if shared and name not in shared and link_is_settled(heard):
            yield f"config was said to name {shared[0]}, and names {name}"
    elif shared:
        yield "config was said to name files, and is not there"
    for name in sorted(kept):
        if _config_name(home(data) / "configs" / name) != name:
            yield f"the configuration files {name} were said to be there, and are not whole"


def link_is_settled(heard: Sequence[Words]) -> bool:
    """Whether nothing was begun since the link was placed that may place it again."""
    last = max((at for at, words in enumerate(heard) if "shared" in words), default=-1)
    return not any("saving" in words for words in heard[last + 1 :])


def _config_name(place: Path) -> str:
    try:
        files = [p for p in place.rglob("*") if p.is_file()]
        found = [(str(p.relative_to(place)), p.read_text()) for p in files]
    except (OSError, UnicodeDecodeError):
        return ""
    return config_digest(found).removeprefix("sha256:") if found else ""


def _availability(data: Path, heard: Sequence[Words]) -> Iterable[str]:
    possible = [0]
    for words in heard:
        if "taken" in words:
            possible = [words["taken"]]
        if "taking" in words:
            possible.append(words["taking"])
    if possible == [0]:
        return
    try:
        found = int(json.loads((data / "availability.json").read_bytes())["sequence"])
    except FileNotFoundError:
        found = 0
    except (OSError, ValueError, KeyError) as error:
        yield f"the word about the node cannot be read: {error}"
        return
    if found not in possible:
        yield f"the word about the node has the number {found}, and was said to have {possible[0]}"


def _damage(data: Path, root: str) -> str | None:
    path = home(data) / "versions" / root.removeprefix("sha256:")
    try:
        verify_root(path, root)
    except (ArtifactError, OSError) as error:
        return str(error)
    return None


def _described(data: Path, artifact: str) -> bool:
    kept = home(data) / "descriptions" / artifact.removeprefix("sha256:")
    return kept.is_file() and f"sha256:{hashlib.sha256(kept.read_bytes()).hexdigest()}" == artifact


def _named(link: Path) -> str | None:
    return "sha256:" + os.path.basename(os.readlink(link)) if link.is_symlink() else None

"""Documents in JSON or YAML, read from the disk: bounded, without aliases, nothing fetched."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused

MAX_BYTES = 4 << 20
MAX_YAML_BYTES = 1 << 20
"""YAML is read some hundred times slower than JSON."""
MAX_NESTING = 100


def read_document(path: Path) -> tuple[dict[str, Any], Digest]:
    """The object in a file, and the digest of its bytes. Raises: Refused."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise Refused("a document in JSON or YAML", f"nothing at {path}") from None
    except IsADirectoryError:
        raise Refused("a document in JSON or YAML", f"a folder at {path}") from None
    if len(data) > MAX_BYTES:
        raise Refused(f"at most {MAX_BYTES} bytes in {path}", "more")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"UTF-8 in {path}", str(error)) from error
    is_json = path.suffix == ".json" or text.lstrip().startswith("{")
    found = _json(text, path) if is_json else _yaml(text, path)
    if not isinstance(found, dict):
        raise Refused(f"an object in {path}", "nothing" if found is None else type(found).__name__)
    return found, Digest("sha256:" + hashlib.sha256(data).hexdigest())


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise Refused(f"JSON in {path}", "objects nested too deep") from None
    except ValueError as error:
        raise Refused(f"JSON in {path}", str(error)) from error


def _yaml(text: str, path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if len(text) > MAX_YAML_BYTES:
        raise Refused(f"at most {MAX_YAML_BYTES} bytes of YAML in {path}", "more", "convert it to JSON")
    try:
        yaml = YAML(typ="safe", pure=True)
        tree = yaml.compose(text)
        if tree is None:
            return None
        _check(tree, path, set(), 0)
        return _plain(yaml.constructor.construct_document(tree))
    except (YAMLError, ValueError) as error:
        raise Refused(f"YAML in {path}", (str(error).splitlines() or ["?"])[0]) from error
    except RecursionError:
        raise Refused(f"at most {MAX_NESTING} levels in {path}", "more") from None


def _check(node: Any, path: Path, seen: set[int], depth: int) -> None:
    """What an alias stands for is one and the same node. Raises: Refused."""
    if id(node) in seen:
        line = node.start_mark.line + 1
        raise Refused(f"no aliases in {path}", f"one for line {line}", "write out what it stands for")
    seen.add(id(node))
    if depth > MAX_NESTING:
        raise Refused(f"at most {MAX_NESTING} levels in {path}", "more")
    if not isinstance(node.value, str):
        for part in node.value:
            for inner in part if isinstance(part, tuple) else (part,):
                _check(inner, path, seen, depth + 1)


def _plain(value: Any) -> Any:
    """As JSON has it: keys are texts, and so are dates."""
    if isinstance(value, dict):
        return {_key(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)

"""Text that is meant to stay as it is: compared with a file of the repository, or written to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Snapshots:
    bless: bool

    def check(self, path: str, text: str) -> None:
        """`text` equals the file at `path` (relative to the repository)."""
        file = ROOT / path
        if self.bless:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            return
        assert file.exists(), f"expected {path}, found none; write it with `pytest --bless`"
        assert text == file.read_text(), (
            f"{path} differs; if that is meant, write it again with `pytest --bless`"
        )

    def check_json(self, path: str, value: object) -> None:
        self.check(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")

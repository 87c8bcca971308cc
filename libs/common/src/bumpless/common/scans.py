"""Reports of scanners, read when a release is published, so that what they say is signed with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bumpless.common.errors import Refused
from bumpless.common.model.preflight import Preflight, Scan, ScanResult, ScanSeverity

FORM = '{"root": "sha256:…", "tool": "…", "findings": [{"id": "…", "severity": "low|medium|high|critical"}]}'


def with_reports(written: Preflight, base: Path) -> Preflight:
    """`written` with the result of every report that it names, as a path below `base`.

    Raises:
        Refused: a report is not there, or is none.
    """
    return written.model_copy(update={"scans": tuple(_read(scan, base) for scan in written.scans)})


def _read(scan: Scan, base: Path) -> Scan:
    if scan.report is None:
        return scan
    path = base / scan.report
    try:
        raw: Any = json.loads(path.read_text())
        found: dict[ScanSeverity, tuple[str, ...]] = {}
        for row in raw["findings"]:
            severity = ScanSeverity(row["severity"])
            found[severity] = (*found.get(severity, ()), str(row["id"]))
        result = ScanResult.model_validate({"root": raw["root"], "tool": raw.get("tool", ""), "found": found})
    except FileNotFoundError as error:
        raise Refused(f"a scan report of {scan.component}", f"nothing at {path}") from error
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise Refused(
            f"a scan report of {scan.component} at {path} as {FORM}", f"{type(error).__name__}: {error}"
        ) from error
    # A path is of the machine that published; what counts is what the report says.
    return scan.model_copy(update={"report": None, "result": result})

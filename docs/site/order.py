"""Where every page of the site stands. Pages that no list names stand at the end of the section that their folder belongs
to, so a new page needs no entry to be there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

HOME = "README.md"
SECTIONS: dict[str, list[str]] = {
    "Tutorial": ["docs/tutorial.md"],
    "How-to guides": [
        "docs/sdks.md",
        "docs/identities.md",
        "docs/cluster.md",
        "docs/systemd.md",
        "docs/containers.md",
        "docs/hooks.md",
        "docs/hooks-in-releases.md",
        "docs/strategies.md",
        "docs/gates.md",
        "docs/metric-sources.md",
        "docs/gates-offline.md",
        "docs/preflight.md",
        "docs/plans.md",
        "docs/configuration.md",
        "docs/compatibility.md",
        "docs/drain.md",
        "docs/alerts.md",
        "docs/observability.md",
        "docs/stores.md",
        "docs/operations.md",
        "docs/air-gapped.md",
        "docs/doctor.md",
        "docs/backup.md",
        "docs/sizing.md",
        "docs/self-upgrade.md",
        "docs/control-plane-upgrade.md",
        "docs/dashboard.md",
        "docs/dashboards.md",
        "docs/events.md",
        "deploy/README.md",
    ],
    "Runbooks": ["docs/runbooks/README.md"],
    "Reference": [
        "docs/commands.md",
        "docs/release-file.md",
        "docs/service-contract.md",
        "docs/artifacts.md",
        "docs/artifact-format.md",
        "docs/supervision.md",
        "docs/patcher.md",
        "docs/schemas/README.md",
        "GLOSSARY.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ],
    "Explanation": [
        "ARCHITECTURE.md",
        "docs/disk.md",
        "docs/gate-figures.md",
        "benchmarks/README.md",
        "docs/simulation.md",
        "docs/simulation-run.md",
        "docs/crash-matrix.md",
        "docs/scale.md",
        "CONTRIBUTING.md",
    ],
    "Decisions": ["docs/adr/README.md"],
}
FOLDERS = {
    "docs/runbooks/": "Runbooks",
    "docs/adr/": "Decisions",
    "docs/checklists/": "Explanation",
    "docs/schemas/": "Reference",
    "": "Reference",
}
"""The section of a page that no list names: that of the first folder that it lies in."""


def order(pages: Iterable[str]) -> list[Any]:
    """The navigation over `pages`, paths from the root of the repository. Named pages that are not there are left out."""
    there = set(pages)
    named = {page for listed in SECTIONS.values() for page in listed}
    found = {title: [page for page in listed if page in there] for title, listed in SECTIONS.items()}
    for page in sorted(there - named - {HOME}):
        section = next(title for folder, title in FOLDERS.items() if page.startswith(folder))
        found[section].append(page)
    return [HOME, *({title: listed} for title, listed in found.items() if listed)]

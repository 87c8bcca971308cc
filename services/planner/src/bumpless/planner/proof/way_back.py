"""That a plan says from where on there is no free way back, and freezes there where the release wants it."""

from __future__ import annotations

from collections.abc import Iterator

from bumpless.common.compat import written
from bumpless.common.compat.matrix import Matrix
from bumpless.common.model.compat import Horizon
from bumpless.common.model.plan import Batch
from bumpless.common.model.version import InvalidVersion, Version
from bumpless.planner.proof.case import Case

Pair = tuple[str, str]
"""The version that is left, and the one that comes."""


def horizons_are_marked(case: Case) -> Iterator[str]:
    """A batch has a horizon exactly where what it leaves does not read what it brings, and freezes if the release says so."""
    matrices = written.matrices(case.release.compat)
    for name in case.chains:
        kind = case.release.compat.horizon_of(name)
        stated = matrices.get(name) if case.release.compat.states_hops_of(name) else None
        stages = case.stages(name)
        for at, stage in enumerate(stages):
            # The set that leaves at the end could be gone back to until then, as far as it reads what came.
            last = at + 1 == len(stages) or _leaves(stages[at + 1])
            further = stages[at + 1] if last and at + 1 < len(stages) and not _leaves(stage) else []
            pairs = _pairs(case, stage, further)
            lost = next((pair for pair in sorted(pairs) if _is_lost(pair, pairs, stated, kind)), None)
            for batch in stage:
                yield from _said(name, batch, lost, kind)


def _said(name: str, batch: Batch, lost: Pair | None, kind: Horizon) -> Iterator[str]:
    if lost is not None and not batch.horizon:
        yield f"{batch.id}: {name} {lost[0]} does not read what {lost[1]} writes, and no horizon is marked"
    if lost is None and batch.horizon:
        yield f"{batch.id} has a horizon ({batch.horizon}), and there is none"
    freezes = lost is not None and kind is Horizon.FREEZE
    if batch.freeze is not freezes:
        yield f"{batch.id} {'freezes' if batch.freeze else 'does not freeze'}, and the release says {kind}"


def _leaves(stage: list[Batch]) -> bool:
    return all(step.after is None for batch in stage for step in batch.steps)


def _pairs(case: Case, stage: list[Batch], further: list[Batch]) -> set[Pair]:
    """The versions that give way to each other in `stage`; those that leave in `further` give way to what came."""
    steps = [step for batch in stage for step in batch.steps]
    coming = {target.version for step in steps if (target := case.target(step.after)) is not None}
    left = {target.version for step in steps if (target := case.target(step.before)) is not None}
    gone = [case.target(step.before) for batch in further for step in batch.steps]
    left |= {target.version for target in gone if target is not None}
    return {(old, new) for old in left for new in coming if old != new}


def _is_lost(pair: Pair, pairs: set[Pair], stated: Matrix | None, kind: Horizon) -> bool:
    if kind is Horizon.NONE:
        return False
    versions = [_version(text) for text in pair]
    if stated is not None and versions[0] is not None and versions[1] is not None:
        return not stated.between(versions[0], versions[1]).level.forward
    # Nothing can be stated about a name that is no version: it counts where nothing better is known.
    known = stated is not None and any(None not in map(_version, other) for other in pairs)
    return kind is Horizon.FREEZE and not known


def _version(text: str) -> Version | None:
    try:
        return Version.parse(text)
    except InvalidVersion:
        return None

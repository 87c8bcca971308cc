"""That what runs at the same time fits together, at every moment that the graph allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, product

from bumpless.common.compat import written
from bumpless.common.compat.known import outside, sources
from bumpless.common.compat.pairs import Pairs
from bumpless.common.model.plan import Batch
from bumpless.common.model.version import Version
from bumpless.planner.proof.case import Case

Running = frozenset[str]
"""The versions of one component that run at a moment, by their text."""


@dataclass(frozen=True)
class _Phases:
    """What runs of a component while `n` of its batches have been started, for n from 0 to all of them.

    `during[n]`: while the last of them may be under way; `after[n]`: once it is done. Equal for n = 0.
    """

    during: list[Running]
    after: list[Running]

    def beside(self, stays: Running) -> _Phases:
        """The same with what no batch moves."""
        return _Phases([one | stays for one in self.during], [one | stays for one in self.after])


def versions_side_by_side_mix(case: Case) -> Iterator[str]:
    """A version comes to no component of which another one runs that it must not run beside."""
    for name, matrix in written.matrices(case.release.compat).items():
        if name not in case.components or not case.release.compat.states_hops_of(name):
            continue
        phases = _phases(case, name)
        for number, batch in enumerate(case.chains.get(name, ()), start=1):
            come = {target.version for s in batch.steps if (target := case.target(s.after)) is not None}
            running = phases.during[number]
            yield from (
                f"{batch.id}: {name} {v} is no version that can be compared" for v in _unordered(running)
            )
            known = sorted(map(Version.parse, running - _unordered(running)))
            for one, other in combinations(known, 2):
                if {one, other} & {Version.parse(v) for v in come - _unordered(come)}:
                    found = matrix.between(one, other)
                    if not found.level.mixes:
                        yield f"{batch.id}: {name} {one} and {other} run side by side: {found.evidence}"


def clients_fit_providers_at_every_moment(case: Case) -> Iterator[str]:
    """Whatever the order in which batches run: no client meets a provider of a version that it does not work with.

    Pairs that do not fit before the rollout begins are not its doing, and only versions that it brings are held
    against others. What nobody has verified is no fault of a plan, but for a person to decide: `met` tells it.
    """
    pairs = pairs_of(case).lenient()
    for meeting in met(case, pairs):
        who = f"{meeting.client} {meeting.used} may meet {meeting.provider} {meeting.offered}"
        if _unordered({meeting.used, meeting.offered}):
            yield f"{who}: not both are versions that can be compared"
            continue
        verdict = pairs.judge(
            meeting.client, Version.parse(meeting.used), meeting.provider, Version.parse(meeting.offered)
        )
        if not verdict.fits:
            yield f"{who}: {'; '.join(verdict.reasons)}"


@dataclass(frozen=True)
class Meeting:
    """Versions of a client and a provider that can run at the same moment, and did not before the plan began.

    The rest tells of the first such moment: what all runs of either, and the latest batches that have been started.
    """

    client: str
    used: str
    provider: str
    offered: str
    clients: Running = frozenset()
    providers: Running = frozenset()
    started: tuple[str, ...] = ()


def pairs_of(case: Case) -> Pairs:
    """What the release knows of its pairs."""
    edges = {name: component.depends_on for name, component in case.components.items()}
    return written.pairs(case.release.compat, edges, sources(case.release, case.fleet))


def met(case: Case, pairs: Pairs) -> Iterator[Meeting]:
    """Everything that meets for the first time while the plan runs, each pair of versions once.

    Where nothing is known of two components everything fits, and versions need not even be ones that can be compared.
    """
    told = {name for edge in pairs.told for name in edge}
    phases = {
        name: _phases(case, name).beside(_staying(case, name)) for name in case.components if name in told
    }
    for name, versions in outside(case.release, case.fleet).items():
        phases[name] = _Phases([frozenset(versions)], [frozenset(versions)])
    for client, provider in pairs.edges:
        if (client, provider) not in pairs.told or client not in phases or provider not in phases:
            continue
        # What met before is not the plan's doing.
        said = set(product(phases[client].after[0], phases[provider].after[0]))
        found = _meetings(case, client, provider, phases)
        yield from (found[pair] for pair in sorted(found.keys() - said))


def _unordered(versions: Iterable[str]) -> frozenset[str]:
    """Those that are only names: nothing can be stated about them."""
    return frozenset(version for version in versions if not _is_version(version))


def _is_version(text: str) -> bool:
    try:
        Version.parse(text)
    except ValueError:
        return False
    return True


def _meetings(
    case: Case, client: str, provider: str, phases: dict[str, _Phases]
) -> dict[tuple[str, str], Meeting]:
    """The versions of the two that can run at the same moment, once either has begun."""
    mine, theirs = case.chains.get(client, []), case.chains.get(provider, [])
    need_of_mine = [0, *(case.surely_done[batch.id].get(provider, 0) for batch in mine)]
    need_of_theirs = [0, *(case.surely_done[batch.id].get(client, 0) for batch in theirs)]
    found: dict[tuple[str, str], Meeting] = {}
    for i, j in _moments(need_of_mine, need_of_theirs):
        if i == j == 0:
            continue
        # A batch that the other one's last batch waited for is done.
        used = phases[client].after[i] if need_of_theirs[j] == i else phases[client].during[i]
        offered = phases[provider].after[j] if need_of_mine[i] == j else phases[provider].during[j]
        for pair in product(used, offered):
            if pair not in found:
                started = (*(b.id for b in mine[:i][-1:]), *(b.id for b in theirs[:j][-1:]))
                found[pair] = Meeting(client, pair[0], provider, pair[1], used, offered, started)
    return found


def _moments(need_of_mine: list[int], need_of_theirs: list[int]) -> Iterator[tuple[int, int]]:
    """How many batches of either may have been started at once."""
    for i, least in enumerate(need_of_mine):
        for j in range(least, len(need_of_theirs)):
            if need_of_theirs[j] > i:
                break  # It only grows.
            yield i, j


def _phases(case: Case, component: str) -> _Phases:
    counts: dict[str, int] = {}

    def add(version: str | None, number: int) -> None:
        if version is not None:
            counts[version] = counts.get(version, 0) + number

    def now() -> Running:
        return frozenset(version for version, count in counts.items() if count > 0)

    for node in case.placed.get(component, ()):
        seen = node.components.get(component)
        add(None if seen is None or seen.target is None else seen.target.version, 1)
    during, after = [now()], [now()]
    for batch in case.chains.get(component, ()):
        changes = list(_changes(case, batch))
        for _, to in changes:
            add(to, 1)
        during.append(now())
        for source, _ in changes:
            add(source, -1)
        after.append(now())
    return _Phases(during, after)


def _staying(case: Case, component: str) -> Running:
    """What runs on nodes where the release does not place the component: clients and providers meet it all the time."""
    placed = {node.name for node in case.placed.get(component, ())}
    others = (name for name in case.nodes if name not in placed)
    found = (case.observed(name, component) for name in others)
    return frozenset(target.version for target in found if target is not None)


def _changes(case: Case, batch: Batch) -> Iterator[tuple[str | None, str | None]]:
    for step in batch.steps:
        before, after = case.target(step.before), case.target(step.after)
        yield (None if before is None else before.version, None if after is None else after.version)

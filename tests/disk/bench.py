"""Operations on a data directory, ready to be disturbed: how each begins, runs undisturbed, and is repeated."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disk import promises
from disk.promises import Links
from disk.site import Site
from support.nursery import Child, Ended, Nursery
from support.syscalls import Call, Decide, Then


@dataclass(frozen=True)
class Operation:
    """`step` of the node after the steps `after`; of those, the last is killed before the call `killed_at` matches.

    `step` None: the executor only starts, and finds what that kill left.
    """

    name: str
    step: str | None
    after: tuple[str, ...] = ()
    killed_at: str | None = None
    dear: bool = False
    """Samples of its calls are smaller: it takes seconds, or does little that others do not do as well."""

    def few(self, wanted: int) -> int:
        return max(1, wanted // 4) if self.dear else wanted


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("install", "install"),
        Operation("stage", "stage", ("install",)),
        Operation("stage-many", "stage-many", ("install",)),
        Operation("switch", "switch", ("install", "stage")),
        Operation("rollback", "rollback", ("install", "stage", "switch")),
        Operation("remove", "remove", ("install", "stage", "switch")),
        Operation(
            "clean-up",
            None,
            ("install", "stage", "switch", "stage-third", "switch-third"),
            r"rename .*/removed-",
        ),
        Operation("configure", "configure", ("install",)),
        Operation("configure-third", "configure-third", ("install-configured", "configure"), dear=True),
        Operation("drain", "drain", ("install",), dear=True),
        Operation("self-upgrade", "replace", ("replace-installed", "stage-executor"), dear=True),
        Operation("start after a killed stage", None, ("install", "stage"), r"rename .*/tree "),
        Operation("start after a killed switch", None, ("install", "stage", "switch"), r"fsync .*/api$"),
    )
}
_IDS = re.compile(r"[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|part-[0-9]{3}")


@dataclass(frozen=True)
class Begun:
    """An operation about to run in `template`; what it does when it is left alone."""

    operation: Operation
    template: Path
    before: Links
    after: Links
    record: str
    calls: tuple[Call, ...]
    answer: dict[str, Any]

    def broken(self, data: Path, heard: Sequence[dict[str, Any]]) -> list[str]:
        return promises.broken(data, self.before, self.after, self.record, heard)


class Bench:
    def __init__(self, nursery: Nursery, site: Site, work: Path) -> None:
        self._nursery, self.site, self._work = nursery, site, work
        self._begun: dict[str, Begun] = {}
        self._count = 0

    def begun(self, name: str) -> Begun:
        """The operation, prepared; the same every time."""
        if name not in self._begun:
            self._begun[name] = self._prepare(OPERATIONS[name])
        return self._begun[name]

    def copy(self, begun: Begun) -> Path:
        """The operation's data directory, to be used up."""
        self._count += 1
        data = self._work / f"{self._count}" / "data"
        data.parent.mkdir()
        subprocess.run(("cp", "-a", str(begun.template), str(data)), check=True)
        return data

    def discard(self, data: Path) -> None:
        shutil.rmtree(data.parent)

    def child(self, step: str | None, data: Path, attempt: int = 0, **more: Any) -> Child:
        argument = {"site": str(self.site.home), "data": str(data), "step": step, "attempt": attempt, **more}
        return self._nursery.child(argument, below=data)

    def run(self, begun: Begun, data: Path, decide: Decide, **more: Any) -> Ended:
        return self.child(begun.operation.step, data, **more).run(decide)

    def starts(self, data: Path, step: str | None, attempt: int = 0, **more: Any) -> Ended:
        """An executor that nothing disturbs."""
        argument = {"site": str(self.site.home), "data": str(data), "step": step, "attempt": attempt, **more}
        return self._nursery.call(argument)

    def goes_on(self, begun: Begun, data: Path) -> list[str]:
        """Start again as after a crash; if that did not end the step as it should, repeat it. What went wrong."""
        ended = self.starts(data, begun.operation.step)
        wrong = self._wrong(begun, data, ended, "recovery")
        if wrong or begun.operation.step is None or _ended_right(ended, begun):
            return wrong
        ended = self.starts(data, begun.operation.step, attempt=1)
        wrong = self._wrong(begun, data, ended, "the step repeated")
        if not wrong and not _ended_right(ended, begun):
            wrong.append(f"the step was repeated and ended {ended}")
        return wrong

    def _wrong(self, begun: Begun, data: Path, ended: Ended, what: str) -> list[str]:
        if ended.answer is None or not ended.answer["over"]:
            return [f"{what} did not end: {ended}"]
        found = promises.links(data)
        wrong = promises.broken(data, begun.before, begun.after, promises.record_of(data), [])
        if ended.answer["current"] != found.current:
            wrong.append(
                f"after {what}, the record says {ended.answer['current']} and current names {found.current}"
            )
        serves = self.site.target(ended.answer["serving"]).root if ended.answer["serving"] else None
        if serves != (None if ended.answer["drained"] else found.current):
            wrong.append(f"after {what}, {serves} serves and current names {found.current}")
        rubbish = [p.name for p in (promises.home(data) / "staging").iterdir()]
        return wrong + [f"after {what}, {name} is left in staging" for name in rubbish]

    def _prepare(self, operation: Operation) -> Begun:
        template = self._work / f"template {operation.name}".replace(" ", "-")
        for step in operation.after:
            last = operation.killed_at is not None and step == operation.after[-1]
            ended = self.child(step, template).run(_killer(operation.killed_at) if last else _perform)
            if (ended.answer is None) != last:
                raise AssertionError(f"expected {step} to {'be killed' if last else 'end'}, found {ended}")
        before = promises.links(template)
        record = promises.record_of(template)
        dry = self._work / "dry" / "data"  # named like every other, so that calls on it are of the same kind
        dry.parent.mkdir()
        if template.exists():
            subprocess.run(("cp", "-a", str(template), str(dry)), check=True)
        child = self.child(operation.step, dry)
        ended = child.run()
        if ended.answer is None or not ended.answer["over"]:
            raise AssertionError(f"expected {operation.name} to end by itself, found {ended}")
        assert child.supervisor is not None
        begun = Begun(
            operation,
            template,
            before,
            promises.links(dry),
            record,
            tuple(child.supervisor.calls),
            ended.answer,
        )
        wrong = begun.broken(dry, ended.heard)
        if wrong:
            raise AssertionError(f"{operation.name}, left alone: {wrong}")
        shutil.rmtree(dry.parent)
        template.mkdir(exist_ok=True)
        return begun


def kind(call: Call) -> str:
    """The call with its paths' last parts, ids struck out: the same for calls that do the same work."""
    paths = (
        _IDS.sub("*", path.partition("/components/")[2] or path.rpartition("/")[2]) for path in call.paths
    )
    return " ".join((call.name, *paths))


def sample(calls: Iterable[Call], wanted: int) -> list[Call]:
    """So many of the calls: one of each kind first, then spread evenly."""
    every = list(calls)
    first: dict[str, Call] = {}
    for call in every:
        first.setdefault(kind(call), call)
    chosen = list(first.values())
    more = [call for call in every if call not in chosen]
    room = wanted - len(chosen)
    chosen = _spread(chosen, wanted) + _spread(more, room)
    return sorted(chosen, key=lambda call: call.number)


def _spread(calls: list[Call], wanted: int) -> list[Call]:
    if len(calls) <= wanted:
        return calls
    return [calls[i * len(calls) // wanted] for i in range(wanted)]


def _ended_right(ended: Ended, begun: Begun) -> bool:
    """Done, and what is to be current is."""
    outcome, current = ended.answer["outcome"], ended.answer["current"]
    drained = ended.answer["drained"] == begun.answer["drained"]
    return drained and outcome in ("done", "already", "staged") and current == begun.after.current


def _perform(call: Call) -> Then:
    return Then.PERFORM


def _killer(pattern: str | None) -> Decide:
    """Kill before the last step's call that matches; for the links, that is the flush after both have moved."""
    moved = False

    def decide(call: Call) -> Then:
        nonlocal moved
        moved = moved or call.name == "renameat2"
        text = " ".join((call.name, *call.paths))
        fits = pattern is not None and re.search(pattern, text)
        if fits and (moved or not pattern.startswith("fsync")):
            return Then.KILL
        return Then.PERFORM

    return decide

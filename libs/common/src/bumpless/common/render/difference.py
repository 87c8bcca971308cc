"""What is different between the plan that was shown and the one that would run now. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bumpless.common.model.plan import Batch, Plan, Step, StepKey, Target
from bumpless.common.render.actions import change
from bumpless.common.render.words import names, natural, nodes

_TOLD_APART = frozenset(
    {
        "format",
        "rollout",
        "of",
        "release_digest",
        "generation",
        "targets",
        "batches",
        "hops",
        "fence",
        "unchanged",
    }
)
"""Fields of a plan that have words of their own here; every other one is told by its name."""
_OF_A_BATCH = frozenset({"id", "component", "steps", "needs"})
MOST_LINES = 40


@dataclass(frozen=True)
class Difference:
    """Steps by their keys; `head`, `batches` and `steps` say in words what else is different, and how."""

    added: tuple[StepKey, ...] = ()
    removed: tuple[StepKey, ...] = ()
    changed: tuple[StepKey, ...] = ()
    head: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    batches: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lines)

    @property
    def lines(self) -> list[str]:
        """All of it, what matters most first; a long tail is counted."""
        found = [*self.head, *self.steps, *self.batches]
        left = len(found) - MOST_LINES
        return found if left <= 0 else [*found[:MOST_LINES], f"and {left} more differences"]


def difference(shown: Plan, now: Plan) -> Difference:
    """Empty only where both plans do the same things in the same order under the same number."""
    old = {step.key: (step, batch) for batch in shown.batches for step in batch.steps}
    new = {step.key: (step, batch) for batch in now.batches for step in batch.steps}
    both = [key for key in old if key in new]
    changed = [key for key in both if _step(old[key][0]) != _step(new[key][0])]
    added = [key for key in new if key not in old]
    removed = [key for key in old if key not in new]
    said: dict[str, list[str]] = {}

    def say(text: str, step: Step) -> None:
        said.setdefault(text, []).append(step.node)

    unchanged = set(now.unchanged)
    for key in added:
        step = new[key][0]
        say(f"added: {step.component}: {change(now, step.before, step.after)}", step)
    for key in removed:
        step = old[key][0]
        why = ", which is there already" if key in unchanged else ""
        say(f"removed: {step.component}: {change(shown, step.before, step.after)}{why}", step)
    for key in changed:
        one, other = old[key][0], new[key][0]
        for text in _moved(shown, now, one, other):
            say(f"changed: {one.component}: {text}", one)
    for key in both:
        (step, one_batch), (_, other_batch) = old[key], new[key]
        if one_batch.id != other_batch.id:
            say(f"moved: {step.component}: from batch {one_batch.id} to {other_batch.id}", step)
    steps = [f"{text}: {nodes(where)}" for text, where in sorted(said.items(), key=lambda i: natural(i[0]))]
    return Difference(
        added=tuple(sorted(added, key=natural)),
        removed=tuple(sorted(removed, key=natural)),
        changed=tuple(sorted(changed, key=natural)),
        head=tuple(_head(shown, now)),
        steps=tuple(steps),
        batches=tuple(_batches(shown, now)),
    )


def _step(step: Step) -> tuple[str | None, str | None]:
    return step.before, step.after


def _head(shown: Plan, now: Plan) -> Iterator[str]:
    for name in Plan.model_fields:
        one, other = getattr(shown, name), getattr(now, name)
        if name not in _TOLD_APART and one != other:
            yield f"{name}: {_brief(one)} was shown, {_brief(other)} now"
    if shown.release_digest != now.release_digest:
        yield f"the release itself: {shown.release_digest[:19]} was shown, {now.release_digest[:19]} now"
    elif shown.rollout != now.rollout:
        yield f"another attempt of the release: {shown.rollout} was shown, {now.rollout} now"
    if shown.generation != now.generation:
        yield (
            f"the fleet's generation: {shown.generation} was shown, {now.generation} now; another rollout was "
            "planned in between, or a node has taken one"
        )
    ways = [tuple((h.component, h.sources, h.target) for h in plan.hops) for plan in (shown, now)]
    if ways[0] != ways[1]:
        yield f"the way: {_way(ways[0])} was shown, {_way(ways[1])} now"
    if set(shown.fence) != set(now.fence):
        yield "the steps that are told to stay"


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _way(hops: tuple[tuple[str, tuple[str, ...], str], ...]) -> str:
    return (
        ", ".join(f"{component} {names(sources)} -> {target}" for component, sources, target in hops)
        or "none"
    )


def _moved(shown: Plan, now: Plan, one: Step, other: Step) -> Iterator[str]:
    """How the ends of a step differ."""
    for side, word in (("before", "comes from"), ("after", "goes to")):
        first, second = getattr(one, side), getattr(other, side)
        if first == second:
            continue
        old = None if first is None else shown.targets.get(first)
        new = None if second is None else now.targets.get(second)
        if old is None or new is None or old.version != new.version:
            yield f"{word} {_version(new)}, not {_version(old)}"
        else:
            yield f"{word} {old.version} with another {', '.join(_fields(old, new))}"


def _version(target: Target | None) -> str:
    return "nothing" if target is None else target.version


def _fields(old: Target, new: Target) -> list[str]:
    """The fields that differ; of `run`, which of its own."""
    found = [
        name for name in Target.model_fields if name != "run" and getattr(old, name) != getattr(new, name)
    ]
    runs = type(old.run).model_fields
    return found + [f"run.{name}" for name in runs if getattr(old.run, name) != getattr(new.run, name)]


def _batches(shown: Plan, now: Plan) -> Iterator[str]:
    old: dict[str, Batch] = {batch.id: batch for batch in shown.batches}
    new: dict[str, Batch] = {batch.id: batch for batch in now.batches}
    if gone := [name for name in old if name not in new]:
        yield f"batches that are no more: {names(gone)}"
    if come := [name for name in new if name not in old]:
        yield f"batches that were not shown: {names(come)}"
    said: dict[str, list[str]] = {}
    for name in old.keys() & new.keys():
        one, other = old[name], new[name]
        if set(one.needs) != set(other.needs):
            text = f"starts after {names(other.needs) or 'nothing'}, not {names(one.needs) or 'nothing'}"
            said.setdefault(text, []).append(name)
        for field in Batch.model_fields:
            first, second = getattr(one, field), getattr(other, field)
            if field not in _OF_A_BATCH and first != second:
                detail = "" if field == "gate" else f": {_brief(second)}, not {_brief(first)}"
                said.setdefault(f"another {field}{detail}", []).append(name)
    for text, where in sorted(said.items(), key=lambda item: natural(item[0])):
        yield f"batch {names(where)}: {text}"

"""A rollout as a live tree for a terminal: components, their batches with bars, and the nodes that move.

Only batches that are at work show nodes, and only some of them, so that it fits a screen with any number of nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from bumpless.cli.watched import Watched
from bumpless.common import render
from bumpless.common.contract import events as e
from bumpless.common.model.plan import Batch, Plan
from bumpless.common.render.words import natural

MOST_NODES = 8
BAR = 24
_STYLES = {
    "passed": "green",
    "failed": "red",
    "baking": "yellow",
    "applying": "cyan",
    "awaiting-approval": "magenta",
}
_SHOWN = frozenset({"applying", "baking", "failed"})


def picture(watched: Watched, plans: Mapping[str, Plan], now: datetime) -> RenderableType:
    """The rollout and the latest revert of it. Without its plan, one is shown by its batches alone."""
    found = [
        _tree(progress, plans.get(progress.rollout), watched, now)
        for progress in (watched.forward, watched.revert)
        if progress is not None
    ]
    return Group(*found)


def _tree(progress: e.RolloutProgressed, plan: Plan | None, watched: Watched, now: datetime) -> Tree:
    title = Text(render.status(progress, now), style="bold")
    tree = Tree(_row(title, progress.steps_done, progress.steps_total))
    for component, batches in _components(progress, plan).items():
        done, total = _count(progress, batches, watched)
        limb = tree if component is None else tree.add(_row(Text(component), done, total))
        for name, batch in batches:
            status = progress.batches.get(name, "pending")
            word = status.split()[0]
            gate = watched.gates.get(name)
            detail = f"  {gate.detail}" if gate is not None and word == "baking" else ""
            text = Text.assemble(name, "  ", (status, _STYLES.get(word, "dim")), (detail, "dim"))
            done, total = _count(progress, [(name, batch)], watched)
            twig = limb.add(text if batch is None else _row(text, done, total))
            if batch is not None and word in _SHOWN:
                _nodes(twig, batch, watched)
    return tree


Named = Sequence[tuple[str, Batch | None]]


def _components(progress: e.RolloutProgressed, plan: Plan | None) -> dict[str | None, Named]:
    if plan is None:
        return {None: [(name, None) for name in progress.batches]}
    found: dict[str | None, list[tuple[str, Batch | None]]] = {}
    for batch in plan.batches:
        found.setdefault(batch.component, []).append((batch.id, batch))
    return dict(found)


def _count(
    progress: e.RolloutProgressed, batches: Iterable[tuple[str, Batch | None]], watched: Watched
) -> tuple[float, int]:
    """Steps that are done, those under way by their share, and all of them."""
    done, total = 0.0, 0
    for name, batch in batches:
        steps = () if batch is None else batch.steps
        total += len(steps)
        word = progress.batches.get(name, "pending").split()[0]
        if word in ("passed", "baking"):
            done += len(steps)
        elif word in _SHOWN:
            known = (watched.steps.get((step.node, step.component)) for step in steps)
            done += sum(step.share for step in known if step is not None)
    return done, total


def _nodes(twig: Tree, batch: Batch, watched: Watched) -> None:
    """Nodes that did not come to rest first."""
    steps = sorted(
        ((watched.steps.get((step.node, step.component)), step.node) for step in batch.steps),
        key=lambda pair: (pair[0] is not None and pair[0].share >= 1, natural(pair[1])),
    )
    for step, node in steps[:MOST_NODES]:
        if step is None:
            twig.add(Text(f"{node}  nothing heard", style="dim"))
        else:
            twig.add(_row(Text.assemble(node, "  ", step.state, (f"  {step.detail}", "dim")), step.share, 1))
    if len(steps) > MOST_NODES:
        twig.add(Text(f"and {len(steps) - MOST_NODES} more nodes", style="dim"))


def _row(text: Text, done: float, total: float) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    row.add_column(width=BAR)
    row.add_row(ProgressBar(total=max(total, 1), completed=done, width=BAR), text)
    return row

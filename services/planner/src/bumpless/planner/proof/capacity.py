"""That enough goes on serving."""

from __future__ import annotations

from collections.abc import Iterator

from bumpless.common.model.strategy import StrategyKind, share_of
from bumpless.planner.proof.case import Case
from bumpless.planner.proof.waves import members, wave_of


def batches_fit_the_budget(case: Case) -> Iterator[str]:
    """No batch takes more nodes out than may be out at once: the engine starts none that does not fit."""
    most = case.plan.max_unavailable
    for batch in case.plan.batches:
        if len({step.node for step in batch.steps}) > most:
            yield f"batch {batch.id} takes {len(batch.steps)} nodes out, allowed are {most}"


def batches_are_as_small_as_asked(case: Case) -> Iterator[str]:
    """A component never loses more nodes at once than its strategy allows."""
    for name, component in case.components.items():
        strategy = component.strategy
        for stage in case.stages(name):
            total = sum(len(batch.steps) for batch in stage)
            for batch in stage:
                match strategy.kind:
                    case StrategyKind.ALL_AT_ONCE | StrategyKind.BLUE_GREEN:
                        most = total
                    case StrategyKind.WAVES:
                        wave = wave_of(case, batch)
                        mine = [n for n, of in members(case, name, batch.hop).items() if of == wave]
                        most = 0 if wave is None else share_of(wave.batch_size, len(mine))
                    case StrategyKind.CANARY if batch.canary:
                        canary = strategy.canary
                        most = share_of(canary, total) if isinstance(canary, int | str) else total
                    case _:
                        most = share_of(strategy.batch_size, total)
                if len(batch.steps) > max(1, most):
                    yield f"batch {batch.id} takes {len(batch.steps)} nodes, its strategy allows {most}"


def a_set_leaves_after_the_other_has_come(case: Case) -> Iterator[str]:
    """With blue-green nothing is drained before as many nodes serve the new version, and nothing comes after that."""
    for name, component in case.components.items():
        if component.strategy.kind is not StrategyKind.BLUE_GREEN:
            continue
        leaving = [b for b in case.chains.get(name, ()) if any(s.after is None for s in b.steps)]
        arriving = [b for b in case.chains.get(name, ()) if any(s.after is not None for s in b.steps)]
        here = sum(key.endswith("/" + name) for key in case.plan.unchanged)
        came = sum(len(batch.steps) for batch in arriving) + here
        gone = sum(len(batch.steps) for batch in leaving)
        if gone > came:
            yield f"{name}: {gone} nodes are drained, and only {came} serve the release"
        order = [b.id for b in case.chains.get(name, ())]
        for batch in leaving:
            if case.surely_done[batch.id].get(name, 0) < len(arriving):
                yield f"{batch.id} may drain nodes before every node of the other set serves"
            if order.index(batch.id) < len(arriving):
                yield f"{batch.id} drains nodes before others come"

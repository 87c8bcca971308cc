"""That the batches form a graph at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from bumpless.common.model.plan import Plan


def the_batches_form_a_graph(plan: Plan) -> Iterator[str]:
    """Every batch has a name of its own and needs only batches that exist; none needs itself, however far around."""
    known = Counter(batch.id for batch in plan.batches)
    yield from (f"batch {name} stands {count} times" for name, count in known.items() if count > 1)
    for batch in plan.batches:
        yield from (f"{batch.id} needs {n}, which does not exist" for n in batch.needs if n not in known)
    try:
        TopologicalSorter({batch.id: batch.needs for batch in plan.batches}).prepare()
    except CycleError as error:
        yield "the batches form a cycle: " + " > ".join(reversed(error.args[1]))

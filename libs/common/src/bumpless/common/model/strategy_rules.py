"""What a release file says about strategies that contradicts the rest of the file. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from bumpless.common.model.release import ComponentFile, Driver, Placement, ReleaseFile
from bumpless.common.model.strategy import Strategy, StrategyKind

Contradiction = tuple[tuple[str | int, ...], str]
"""Where it stands, as fields from the top of the file (a component by its number), and what is wrong."""


def contradictions(release: ReleaseFile) -> Iterator[Contradiction]:
    """Everything that can be seen without a fleet."""
    for field, text in release.strategy.misplaced():
        yield ("strategy", field), text
    for number, component in enumerate(release.components):
        here = ("components", number)
        if component.strategy is not None:
            for field, text in component.strategy.misplaced():
                yield (*here, "strategy", field), text
        strategy = component.strategy or release.strategy
        if strategy.kind is StrategyKind.BLUE_GREEN:
            for field, text in _blue_green(component, strategy):
                yield (*here, field), text
            yield from _peers(release, component.name)


def _blue_green(component: ComponentFile, strategy: Strategy) -> Iterator[tuple[str, str]]:
    if component.place != Placement():
        yield (
            "place",
            "expected no place with blue-green, whose sets say where the component stands, found one",
        )
    run = component.run
    if run is None:
        return
    if run.driver is Driver.EXECUTOR:
        yield (
            "strategy",
            "expected another strategy than blue-green for an executor, which cannot be taken off a node",
        )
    if not strategy.hold_s:
        return
    held = f"or hold_s: 0, found hold_s {strategy.hold_s:g}"
    if not run.overlap:
        yield "strategy", f"expected overlap: true, because what cannot run twice cannot be held, {held}"
    if run.listen and run.proxy is None:
        yield (
            "strategy",
            "expected run.proxy, because clients that come to a held instance by themselves would wait for it, "
            + held,
        )


def _peers(release: ReleaseFile, name: str) -> Iterator[Contradiction]:
    for number, component in enumerate(release.components):
        for key, value in component.run.env.items() if component.run is not None else ():
            if "{peers." + name + "}" in value:
                yield (
                    ("components", number, "run", "env", key),
                    f"expected the address of the proxy of {name}, because half of its nodes do not serve, found {value!r}",
                )

"""`gate replay|record|pin|simulate`: gates judged without a rollout. The judge is the health gate's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bumpless.cli.context import Context
from bumpless.cli.gate_dry_run import dry_run
from bumpless.cli.output import table
from bumpless.cli.recording import record
from bumpless.common.errors import Refused
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.verdict import Verdict
from bumpless.common.release_file import parse_gate_file
from bumpless.health_gate.offline.curve import plot, svg
from bumpless.health_gate.offline.forecast import Forecast, forecast
from bumpless.health_gate.offline.pin import as_data, pinned
from bumpless.health_gate.offline.replay import Replayed, replay
from bumpless.health_gate.offline.trace import Counting, Trace, read_trace
from bumpless.health_gate.offline.traffic import NOISES, Traffic

EXIT = {Verdict.PASS: 0, Verdict.FAIL: 2, Verdict.INCONCLUSIVE: 4}

BATCHES = "Batches of the release, which share its false alarms; the first one is judged."
SpecOpt = Annotated[
    Path | None,
    typer.Option(
        "--spec",
        metavar="FILE",
        help="The gate: a file with its fields, or a release file. Left out: the default one.",
    ),
]
ComponentOpt = Annotated[
    str | None, typer.Option(help="Whose gate, where --spec is a release file with several.")
]


def register(app: typer.Typer) -> None:
    gate = typer.Typer(
        no_args_is_help=True,
        help="Gates without a rollout: what they would read, recorded traces, simulated traffic.",
    )
    gate.command("dry-run")(dry_run)
    gate.command("replay")(replay_trace)
    gate.command("record")(record)
    gate.command("pin")(pin)
    gate.command("simulate")(simulate)
    app.add_typer(gate, name="gate")


def replay_trace(
    ctx: typer.Context,
    trace: Annotated[
        Path, typer.Argument(metavar="TRACE", help="A trace (JSON lines); - is standard input.")
    ],
    spec: SpecOpt = None,
    component: ComponentOpt = None,
    switch: Annotated[
        float | None,
        typer.Option(
            help="When the batch was switched, in the trace's seconds; earlier rows are history. Left out: at 0."
        ),
    ] = None,
    counts: Annotated[
        Counting, typer.Option(help="What a row counts: everything so far, or its own interval.")
    ] = Counting.AUTO,
    picture: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write the evidence over time as a picture.")
    ] = None,
    batches: Annotated[int, typer.Option(min=1, help=BATCHES)] = 1,
    detailed: Annotated[
        bool,
        typer.Option("--detailed-exitcode", help="Exit with 0 for pass, 2 for fail, 4 for inconclusive."),
    ] = False,
) -> int:
    """Judge a recorded trace as the health gate would have, and draw its evidence.

    Example: bumpless gate replay trace.jsonl --spec gate.yaml --svg evidence.svg
    """
    context: Context = ctx.obj
    wanted = read_spec(spec, component)
    found = replay(_read(trace, counts), wanted, switch, batches)
    drawing = found.drawing(
        f"{trace.name if str(trace) != '-' else 'trace'}: evidence that the new version is worse"
    )
    if picture is not None:
        if drawing is None:
            raise Refused("a sequential rule, whose evidence can be drawn", "none in the spec")
        picture.write_text(svg(drawing))
    context.output.data(
        _replayed(found), _told(found) if drawing is None else _told(found) + "\n" + plot(drawing)
    )
    return EXIT[found.verdict] if detailed else 0


def pin(
    ctx: typer.Context,
    trace: Annotated[
        Path, typer.Argument(metavar="TRACE", help="A trace (JSON lines); - is standard input.")
    ],
    switch: Annotated[
        float, typer.Option(help="When the batch was switched: of its nodes only earlier rows count.")
    ] = 0.0,
    counts: Annotated[
        Counting, typer.Option(help="What a row counts: everything so far, or its own interval.")
    ] = Counting.AUTO,
) -> int:
    """Make a pinned baseline for a release file of what the earlier version counted in a recorded trace.

    Example: bumpless gate pin trace.jsonl >> gate.yaml
    """
    context: Context = ctx.obj
    found = as_data(pinned(_read(trace, counts), switch))
    context.output.data(found, _flow(found))
    return 0


def simulate(
    ctx: typer.Context,
    rps: Annotated[float, typer.Option(min=0.001, help="Requests a second that reach each node.")],
    nodes: Annotated[int, typer.Option(min=1, help="Nodes in all: the canary and its peers.")],
    canary: Annotated[
        int,
        typer.Option(
            min=1, help="Nodes of the batch; all of them: their own past is what they are held against."
        ),
    ] = 1,
    error_rate: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share of requests (0..1) that fail in the old version.")
    ] = 0.005,
    latency: Annotated[float, typer.Option(min=0.0001, help="Median latency in seconds.")] = 0.06,
    batches: Annotated[int, typer.Option(min=1, help=BATCHES)] = 1,
    noise: Annotated[str, typer.Option(help="What else goes on: " + ", ".join(NOISES) + ".")] = "real",
    runs: Annotated[int, typer.Option(min=1, max=100_000, help="Simulated batches for each figure.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same figures.")] = 1,
    spec: SpecOpt = None,
    component: ComponentOpt = None,
) -> None:
    """How often a gate would alarm for nothing, how soon it would find faults, and how long a bake has to be.

    Example: bumpless gate simulate --rps 20 --nodes 10 --error-rate 0.005
    """
    context: Context = ctx.obj
    if noise not in NOISES:
        raise Refused("one of " + ", ".join(NOISES), noise)
    if canary > nodes:
        raise Refused(f"at most as many canary nodes as the {nodes} nodes", str(canary))
    traffic = Traffic(rps, canary, nodes - canary, error_rate, latency)
    wanted = read_spec(spec, component) or GateSpec()
    found = forecast(wanted, traffic, noise, batches=batches, runs=runs, seed=seed)
    context.output.data(_simulated(found), _simulated_told(found))


def read_spec(file: Path | None, component: str | None) -> GateSpec | None:
    """The gate in `file`; None without one."""
    return None if file is None else parse_gate_file(file.read_text(), str(file), component)


def _flow(found: dict[str, Any]) -> str:
    """YAML of the baseline, each rule's numbers on a line of their own, in flow style, which is JSON."""
    baseline = found["baseline"]
    lines = ["baseline:", f"  mode: {baseline['mode']}", "  pinned:"]
    return "\n".join(lines + [f"    {rule}: {json.dumps(one)}" for rule, one in baseline["pinned"].items()])


def _read(file: Path, counts: Counting) -> Trace:
    if str(file) == "-":
        return read_trace(sys.stdin, "standard input", counts)
    with file.open(encoding="utf-8", errors="replace") as lines:
        return read_trace(lines, str(file), counts)


def _replayed(found: Replayed) -> dict[str, Any]:
    sequential = found.sequential
    bound = None if sequential is None or sequential.curve is None else sequential.curve.bound
    return {
        "verdict": found.verdict.value,
        "reason": found.reason.value,
        "detail": found.detail,
        "decided_at_s": found.decided_at_s,
        "requests_seen": found.requests_seen,
        "e_value": found.e_value,
        "log_bound": bound,
        "curve": [[round(at, 3), value] for at, value in found.points],
        "evidence": [one.model_dump(mode="json") for one in found.evidence],
        "notes": list(found.notes),
    }


def _told(found: Replayed) -> str:
    lines = [f"{found.verdict} ({found.reason}) {found.decided_at_s:g} s after the switch: {found.detail}"]
    evidence = "" if found.e_value is None else f", e-value {found.e_value:.4g}"
    lines.append(f"requests of the canary until then: {found.requests_seen}{evidence}")
    lines += [f"  {one.rule}: {one.verdict}, {one.text}" for one in found.evidence]
    return "".join(f"{line}\n" for line in [*lines, *(f"note: {note}" for note in found.notes)])


def _simulated(found: Forecast) -> dict[str, Any]:
    return {
        "alpha": found.alpha,
        "bake_s": found.bake_s,
        "noise": found.noise,
        "rows": [
            {
                "fault": row.fault,
                "runs": row.figures.runs,
                "failed": row.figures.failed,
                "failed_95": list(row.failed_95),
                "passed": row.figures.passed,
                "median_s": row.figures.decided_s and row.figures.decided_s[0],
                "p90_s": row.figures.decided_s and row.figures.decided_s[1],
                "requests": row.figures.requests and row.figures.requests[0],
                "sized_requests": row.sized_requests,
                "sized_s": row.sized_s,
            }
            for row in found.rows
        ],
    }


def _simulated_told(found: Forecast) -> Any:
    columns = [
        "Release",
        "Failed",
        "95 % bounds",
        "Passed",
        "Median",
        "p90",
        "Requests",
        "By formula",
        "Bake by formula",
    ]
    rows = []
    for row in found.rows:
        runs, times, requests = row.figures.runs, row.figures.decided_s, row.figures.requests
        rows.append(
            [
                row.fault,
                f"{row.figures.failed / runs:.1%}",
                "{:.1%} to {:.1%}".format(*row.failed_95),
                f"{row.figures.passed / runs:.1%}",
                times and f"{times[0]:.0f} s",
                times and f"{times[1]:.0f} s",
                requests and f"{requests[0]:.0f}",
                row.sized_requests and f"{row.sized_requests:.0f}",
                row.sized_s and f"{row.sized_s:.0f} s",
            ]
        )
    return table(columns, rows)

"""The control plane with 100, 1,000 and 10,000 simulated nodes, beside the bare broker; with 20, beside Ansible.

    make bench-scale

Real nats-server, Redis, planner, rollback service and health gate, a connection for every node. Writes
`build/bench/scale.json`, its tables as `scale.md`, its curves as `scale.svg`; `--docs` writes those into docs/scale.md
as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scale import ansible, phases
from scale.plane import running
from scale.plot import svg
from scale.report import curves, markdown, summary

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"
PAGE, PICTURE = ROOT / "docs" / "scale.md", ROOT / "docs" / "scale.svg"
START, END = "<!-- figures: written by make bench-scale -->", "<!-- end of figures -->"
PLAYBOOKS = OUT / "venv" / "bin" / "ansible-playbook"
SIZES, QUICK = (100, 1_000, 10_000), (100, 200)
PEER_NODES, PEER_ROUNDS = 20, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", help="nodes of each fleet")
    parser.add_argument(
        "--quick", action="store_true", help="small fleets, no gates, no Ansible: some seconds"
    )
    parser.add_argument("--docs", action="store_true", help=f"write the tables into {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended first
    began = time.monotonic()
    sizes = args.sizes or (QUICK if args.quick else SIZES)
    fleets = [fleet(size, gates=not args.quick) for size in sizes]
    peer = None if args.quick else beside_ansible()
    found = summary(fleets, *(peer or (None, None)))
    found |= {
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg(),
        "seconds": round(time.monotonic() - began),
        "quick": args.quick,
    }
    written(found, "scale-quick" if args.quick else "scale", args.docs)


def fleet(nodes: int, *, gates: bool) -> dict[str, Any]:
    """Every phase on a fleet of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="bumpless-scale-") as folder,
        running(Path(folder), nodes, phases.target("1.0.0")) as plane,
    ):
        try:
            return asyncio.run(phases.measured(plane, nodes, gates=gates))
        except phases.NotReached as error:
            sys.exit(str(error))


def beside_ansible() -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Ansible and one batch of ours on as many nodes; None where it is not installed."""
    try:
        with tempfile.TemporaryDirectory(prefix="bumpless-scale-") as folder:
            peer = ansible.playbook(PLAYBOOKS, Path(folder), PEER_NODES, PEER_ROUNDS)
    except ansible.Absent as error:
        print(f"left out: Ansible, because {error}")
        return None
    return peer, fleet(PEER_NODES, gates=False)["all_at_once"]


def written(found: dict[str, Any], name: str, docs: bool) -> None:
    tables, picture = markdown(found), svg(curves(found), "nodes", "seconds")
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
    (OUT / f"{name}.md").write_text(tables)
    (OUT / f"{name}.svg").write_text(picture)
    if docs:
        before, _, rest = PAGE.read_text().partition(START)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{START}\n\n{tables}\n{END}{after}")
        PICTURE.write_text(picture)
    print(tables)
    print(f"{found['seconds']} s; {OUT / name}.json")


if __name__ == "__main__":
    main()

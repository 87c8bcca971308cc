"""The shop's clients as a process of their own, so that nothing a test does delays them.

    python tests/support/fleet_load.py HOST:PORT... --rate 75

Prints a line when the first answers are there; at SIGTERM finishes what is under way and prints what was seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "shop"))

from load import Load

WARM = 30


async def run(addresses: list[str], rate: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    load = Load(addresses, rate=rate, keep_alive=9, fresh=3)
    load.start()
    while load.requests_total < WARM and not stop.is_set():  # noqa: ASYNC110 - Load has no event for it
        await asyncio.sleep(0.02)
    print("running", flush=True)
    await stop.wait()
    seen = await load.stop()
    print(
        json.dumps(
            {"total": seen.requests_total, "failed": seen.requests_failed, "failures": list(seen.failures)}
        ),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--rate", type=float, default=75.0)
    options = parser.parse_args()
    asyncio.run(run(options.addresses, options.rate))


if __name__ == "__main__":
    main()

"""A real nats-server for a benchmark, which syncs every write."""

import json
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def nats_server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:-1"\nports_file_dir: "{folder}"\nmax_payload: 8MB\n'
            f'jetstream {{ store_dir: "{folder}/js", sync_interval: always }}\n'
        )
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        process = subprocess.Popen(
            [binary, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 10
            while True:
                found = next(Path(folder).glob("*.ports"), None)
                text = found.read_text() if found is not None else ""
                if text.endswith(("}\n", "}")):
                    break
                if time.monotonic() > deadline:
                    raise SystemExit("expected nats-server to start within 10 s, found no ports file")
            yield json.loads(text)["nats"][0]
        finally:
            process.kill()
            process.wait()

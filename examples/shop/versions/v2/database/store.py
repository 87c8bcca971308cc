"""The tables of the shop: products, orders and the queue of jobs.

Two processes use the file at the same time while one version replaces the other, so every change is one
short transaction, and a schema change only adds: the other version must go on working with it.
"""

import sqlite3
import time
from pathlib import Path
from typing import Any

PRODUCTS = 1000
VISIBILITY_S = 30.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS products (id INTEGER PRIMARY KEY, price_cents INTEGER NOT NULL, stock INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, product INTEGER NOT NULL, quantity INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, body TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'pending',
    token TEXT, leased_until REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, leased_until);
CREATE INDEX IF NOT EXISTS jobs_by_token ON jobs (token);
CREATE TABLE IF NOT EXISTS completions (job TEXT NOT NULL, token TEXT NOT NULL, PRIMARY KEY (job, token)) WITHOUT ROWID;
"""


class Store:
    """One connection, used from one thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
        self._db.execute("PRAGMA busy_timeout = 10000")
        self._db.execute("PRAGMA journal_mode = WAL")
        # Survives the death of the process, which is what upgrades are about. A power cut may lose the last
        # orders: a real shop would not turn this off.
        self._db.execute("PRAGMA synchronous = OFF")
        self._migrate()

    def _migrate(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";"):
            self._db.execute(statement)
        self._db.executemany(
            "INSERT OR IGNORE INTO products VALUES (?, ?, ?)",
            [(n, 199 + n * 37 % 9000, 1_000_000) for n in range(1, PRODUCTS + 1)],
        )
        columns = [row[1] for row in self._db.execute("PRAGMA table_info(orders)")]
        if "channel" not in columns:  # with a default, so that the version before can go on inserting
            self._db.execute("ALTER TABLE orders ADD COLUMN channel TEXT NOT NULL DEFAULT 'web'")
        self._db.execute("COMMIT")

    def ping(self) -> None:
        self._db.execute("SELECT 1").fetchone()

    def product(self, number: int) -> dict[str, Any] | None:
        row = self._db.execute(
            "SELECT id, price_cents, stock FROM products WHERE id = ?", (number,)
        ).fetchone()
        return dict(zip(("id", "price_cents", "stock"), row, strict=True)) if row else None

    def put_order(self, order: dict[str, Any]) -> bool:
        """True if the order is new; the same order again changes nothing."""
        row = (order["id"], order["product"], order["quantity"], order.get("channel", "web"))
        changed = self._db.execute(
            "INSERT OR IGNORE INTO orders (id, product, quantity, channel) VALUES (?, ?, ?, ?)", row
        )
        return changed.rowcount == 1

    def enqueue(self, job: str, body: str) -> bool:
        return (
            self._db.execute("INSERT OR IGNORE INTO jobs (id, body) VALUES (?, ?)", (job, body)).rowcount == 1
        )

    def lease(self, token: str) -> dict[str, str] | None:
        """A job for the holder of `token`, which is new for every lease.

        Asking again with the same token gives the same job: the answer may have been lost on its way.
        """
        now = time.time()
        # Looking is cheap and takes no lock; most of the time there is nothing to do.
        waiting = self._db.execute(
            "SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'pending')"
            " OR EXISTS (SELECT 1 FROM jobs WHERE state = 'leased' AND leased_until < ?)"
            " OR EXISTS (SELECT 1 FROM jobs WHERE token = ?)",
            (now, token),
        ).fetchone()
        if not waiting[0]:
            return None
        self._db.execute("BEGIN IMMEDIATE")
        try:
            found = self._db.execute(
                "SELECT id, body FROM jobs WHERE token = ? AND state = 'leased'", (token,)
            ).fetchone()
            if found is None:
                self._db.execute(
                    "UPDATE jobs SET state = 'pending', token = NULL WHERE state = 'leased' AND leased_until < ?",
                    (now,),
                )
                found = self._db.execute(
                    "UPDATE jobs SET state = 'leased', token = ?, leased_until = ? WHERE id ="
                    " (SELECT id FROM jobs WHERE state = 'pending' LIMIT 1) RETURNING id, body",
                    (token, now + VISIBILITY_S),
                ).fetchone()
        finally:
            self._db.execute("COMMIT")
        return {"id": found[0], "body": found[1], "token": token} if found else None

    def acknowledge(self, job: str, token: str) -> bool:
        """Counts one completion for every lease that was acknowledged, however often it is said."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            known = self._db.execute("UPDATE jobs SET state = 'done' WHERE id = ?", (job,)).rowcount == 1
            if known:
                self._db.execute("INSERT OR IGNORE INTO completions VALUES (?, ?)", (job, token))
        finally:
            self._db.execute("COMMIT")
        return known

    def requeue(self, job: str, token: str) -> bool:
        """Gives a leased job back."""
        return (
            self._db.execute(
                "UPDATE jobs SET state = 'pending', token = NULL WHERE id = ? AND token = ? AND state = 'leased'",
                (job, token),
            ).rowcount
            == 1
        )

    def length(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM jobs WHERE state = 'pending'").fetchone()[0])

    def stats(self) -> dict[str, int]:
        states = dict(self._db.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())
        duplicates = self._db.execute(
            "SELECT COUNT(*) FROM (SELECT job FROM completions GROUP BY job HAVING COUNT(*) > 1)"
        ).fetchone()[0]
        return {
            "orders": self._db.execute("SELECT COUNT(*) FROM orders").fetchone()[0],
            "enqueued": sum(states.values()),
            "completed": states.get("done", 0),
            "pending": states.get("pending", 0),
            "leased": states.get("leased", 0),
            "duplicates": duplicates,
        }

    def completions(self, jobs: list[str]) -> dict[str, int]:
        """How often each of `jobs` was completed."""
        query = "SELECT COUNT(*) FROM completions WHERE job = ?"
        return {job: self._db.execute(query, (job,)).fetchone()[0] for job in jobs}

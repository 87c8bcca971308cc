"""What a node says of itself, from tables of the kernel and files of backup jobs."""

from __future__ import annotations

import json
from pathlib import Path

from bumpless.executor.facts import FactBook, backups, bound, item_calls, listening, meminfo
from bumpless.executor.metrics import keep
from support.plans import target

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def proc(folder: Path) -> Path:
    (folder / "net").mkdir()
    (folder / "net" / "tcp").write_text(
        HEAD
        + "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1\n"
        + "   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2\n"
        + "   2: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3\n"
    )
    (folder / "net" / "tcp6").write_text(
        HEAD
        + "   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0 0 0 0 0 4\n"
    )
    (folder / "net" / "udp").write_text(
        HEAD
        + "   0: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 5 2 0 0\n"
        + "   1: 0100007F:9C40 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 6 2 0 0\n"
        + "   2: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 7 2 0 0\n"
    )
    (folder / "net" / "udp6").write_text(
        HEAD
        + "   0: 00000000000000000000000000000000:14E9 00000000000000000000000000000000:0000 07 0 0 0 0 0 8 2 0 0\n"
    )
    (folder / "meminfo").write_text("MemTotal:  2048 kB\nMemAvailable:  1024 kB\nHugePages_Total:  0\n")
    return folder


def test_who_listens_is_read_from_the_kernel(tmp_path: Path) -> None:
    assert list(listening(proc(tmp_path))) == ["127.0.0.1:8080", "0.0.0.0:80", "[::]:22"]
    assert meminfo(tmp_path) == {"MemTotal": 2 << 20, "MemAvailable": 1 << 20}


def test_who_takes_datagrams_is_told_apart_from_who_only_sends(tmp_path: Path) -> None:
    assert list(bound(proc(tmp_path))) == ["127.0.0.1:53", "0.0.0.0:68", "[::]:5353"]


def test_what_the_kernel_does_not_tell_is_not_known(tmp_path: Path) -> None:
    assert [*listening(tmp_path), *bound(tmp_path)] == []
    assert meminfo(tmp_path) == {}


def test_a_nodes_own_addresses_are_not_those_of_others(tmp_path: Path) -> None:
    own = target("api", "v1")
    listens = {"main": "tcp://{node.address}:8080", "dns": "udp://{node.address}:53"}
    run = own.run.model_copy(update={"listen": listens})
    own = own.model_copy(update={"run": run})
    data = tmp_path / "data"
    data.mkdir()
    table = tmp_path / "proc"
    table.mkdir()
    changed: dict[str, tuple[str, ...]] = {}
    calls = {"api": {"GET /a": 2.0}}
    book = FactBook(data, "127.0.0.1", "n1", lambda: [own], lambda: calls, lambda: changed, proc(table))
    facts = book.facts()
    assert facts.listening == ("0.0.0.0:80", "[::]:22")
    assert (facts.memory_available, facts.memory_total) == (1 << 20, 2 << 20)
    assert facts.item_calls == {"api": {"GET /a": 2.0}}
    assert facts.bound == ("0.0.0.0:68", "[::]:5353")
    assert book.facts() is facts
    changed["api"] = ("main.py is changed",)
    assert book.facts().changed == changed


def test_backups_are_what_a_job_wrote_down(tmp_path: Path) -> None:
    path = tmp_path / "backups.json"
    assert backups(path) == ()
    path.write_text(
        json.dumps([{"id": "b1", "component": "db", "restore_tested_at": "2030-01-01T00:00:00Z"}])
    )
    assert [(backup.id, backup.component) for backup in backups(path)] == [("b1", "db")]
    path.write_text('[{"id": 1')
    assert backups(path) == ()


def test_calls_of_items_are_summed_over_other_labels() -> None:
    text = (
        'bumpless_item_calls_total{code="200",item="GET /a"} 3\n'
        'bumpless_item_calls_total{code="500",item="GET /a"} 1\n'
        'bumpless_item_calls_total{item="GET /b c"} 2\n'
        'other_total{item="GET /a"} 9\n'
    )
    assert item_calls(keep(text, ("bumpless_item_calls_total",))) == {"GET /a": 4.0, "GET /b c": 2.0}

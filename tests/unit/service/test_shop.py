"""The example: its queue, its trees and the judgement of its load."""

import importlib.util
import itertools
import json
import sys
from array import array
from pathlib import Path
from types import ModuleType

import pytest

SHOP = Path(__file__).resolve().parents[3] / "examples" / "shop"


def load(path: Path) -> ModuleType:
    name = "shop_" + "_".join(path.relative_to(SHOP).with_suffix("").parts)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


STORES = ["src", "versions/v2", "versions/v3"]


@pytest.mark.parametrize("layer", STORES)
def test_queue_counts_each_acknowledged_lease_once(tmp_path: Path, layer: str) -> None:
    store = load(SHOP / layer / "database" / "store.py").Store(tmp_path / "s")
    assert store.enqueue("a", "{}")
    assert not store.enqueue("a", "{}")
    job = store.lease("t1")
    assert job == {"id": "a", "body": "{}", "token": "t1"}
    assert store.lease("t1") == job  # the answer was lost
    assert store.lease("t2") is None
    assert not store.requeue("a", "t2")
    assert store.requeue("a", "t1")
    assert store.lease("t3")["id"] == "a"
    assert store.acknowledge("a", "t3")
    assert store.acknowledge("a", "t3")  # said again: still one completion
    assert store.stats()["duplicates"] == 0
    assert store.acknowledge("a", "t1")  # the first holder had finished after all
    assert store.completions(["a", "b"]) == {"a": 2, "b": 0}
    assert (store.stats()["completed"], store.stats()["duplicates"], store.length()) == (1, 1, 0)
    assert not store.acknowledge("b", "t1")


@pytest.mark.parametrize("newer", STORES[1:])
def test_both_versions_use_one_file(tmp_path: Path, newer: str) -> None:
    old = load(SHOP / "src" / "database" / "store.py").Store(tmp_path / "s")
    new = load(SHOP / newer / "database" / "store.py").Store(tmp_path / "s")
    assert old.put_order({"id": "1", "product": 1, "quantity": 1})
    assert new.put_order({"id": "2", "product": 1, "quantity": 1, "channel": "shop"})
    assert not new.put_order({"id": "1", "product": 1, "quantity": 1})
    assert old.stats()["orders"] == new.stats()["orders"] == 2
    assert old.product(7) == new.product(7)
    assert new.product(1001) is None


def contents(tree: Path) -> dict[str, bytes]:
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


@pytest.mark.parametrize("component", ["database", "cache", "api", "gateway", "worker"])
def test_trees_are_complete_reproducible_and_differ_little(tmp_path: Path, component: str) -> None:
    trees = load(SHOP / "build_trees.py")
    made = [
        contents(trees.write_tree(component, version, tmp_path / version)) for version in ("v1", "v2", "v3")
    ]
    assert made[1] == contents(trees.write_tree(component, "v2", tmp_path / "v2"))
    for files, version in zip(made, ("v1", "v2", "v3"), strict=True):
        assert files["VERSION"] == f"{version}\n".encode()
        assert {"main.py", "app.py", "vendor/bumpless/service/service.py"} <= files.keys()
        assert not any("__pycache__" in name for name in files)
    for before, after in itertools.pairwise(made):
        assert before.keys() == after.keys()
        changed = {name for name in before if before[name] != after[name]}
        assert 2 <= len(changed) <= 4


def test_catalogue_is_big_enough_for_deltas_and_mostly_the_same() -> None:
    catalogue = load(SHOP / "catalogue.py").catalogue
    one, two = (catalogue(version).splitlines() for version in ("v1", "v2"))
    assert len(catalogue("v1")) > 200_000
    assert 0 < sum(a != b for a, b in zip(one, two, strict=True)) < 20


async def test_bad_release_fails_three_of_ten_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SHOP / "src" / "common"))
    view = load(SHOP / "versions" / "v3" / "api" / "view.py")
    catalogue = json.loads(load(SHOP / "catalogue.py").catalogue("v3"))
    assert sum(entry["category"] not in view.DAYS for entry in catalogue.values()) == 300


def test_load_report() -> None:
    module = load(SHOP / "load.py")
    report = module.LoadReport(
        starts=array("d", [0.0, 1.0, 2.0, 2.5, 9.0]),
        ends=array("d", [0.5, 1.1, 2.1, 3.0, 9.1]),
        statuses=array("H", [200, 201, 0, 503, 404]),
        failures=("x",),
        orders_accepted=(),
    )
    assert (report.requests_total, report.requests_failed) == (5, 2)
    assert report.gap_ms_max() == pytest.approx(8000)
    assert report.gap_ms_max([(0.0, 1.0)]) == pytest.approx(600)
    assert report.gap_ms_max([(0.0, 1.0), (4.0, 5.0)]) == pytest.approx(8000)
    assert report.gap_ms_max([(20.0, 30.0)]) == float("inf")
    assert report.latency_ms(0.5) == pytest.approx(100)

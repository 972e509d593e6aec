"""Migrations within a collection: built beside, verified, switched, undone, and resumed."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

import requant
from requant.adapters import registry
from requant.errors import EngineError, ExistsError, InputError, UnknownIndexError
from requant.migration.advice import advice
from requant.store import IndexConfig
from requant.testing import FailingBackend
from requant.testing.forking import in_a_child
from tests import inside
from tests.databases import expected, held, vectors
from tests.processes import pipe, start
from tests.qdrant_server import running
from tests.wrapped import wrapped

N, DIM = 600, 16
ENGINES = ["faiss", "usearch", "qdrant", "lancedb"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.db"


@pytest.fixture
def db(path):
    with requant.open(path) as opened:
        yield opened


@pytest.fixture
def notes(db):
    collection = db.create_collection("notes", DIM)
    collection.upsert(range(N), vectors(N, DIM))
    return collection


def active(collection):
    return next((info.name for info in collection.indexes if info.active), None)


def is_right(collection):
    for query in vectors(5, DIM, seed=1):
        found = [hit.id for hit in collection.search(query, oversample=10)]
        assert found == [hit.id for hit in collection.search(query, exact=True)]
    assert held(collection) == expected(collection)


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(ENGINES, 2)))
def test_every_direction(notes, source, target):
    notes.add_index("old", engine=source, precision="int8")
    notes.upsert(range(N - 50, N + 50), vectors(100, DIM, seed=2))
    notes.delete(range(30))
    report = notes.migrate("new", engine=target, precision="uint8", queries=vectors(50, DIM, 3))
    assert report.ok, report.problems
    assert (report.state, report.items, report.queries_from) == ("switched", N + 20, "given")
    assert report.recall_before > 0.95
    assert report.recall_after > 0.95
    assert active(notes) == "new"
    is_right(notes)
    notes.upsert([5], vectors(1, DIM, seed=4))
    assert notes.rollback() == "old"
    assert active(notes) == "old"
    is_right(notes)
    notes.drop_index("new")
    assert notes.migrations == []


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "uint8", "int4", "int2"])
def test_every_precision(notes, precision):
    report = notes.migrate("new", engine="faiss", precision=precision, tolerance=0.1)
    assert report.ok
    assert report.queries_from == "stored vectors"
    assert report.recall_before == 1.0
    is_right(notes)
    assert notes.rollback() is None
    assert active(notes) is None


def test_again_does_no_harm(notes):
    notes.add_index("old")
    first = notes.migrate("new", engine="usearch", precision="int8")
    again = notes.migrate("new", engine="usearch", precision="int8")
    assert first.ok
    assert again.ok
    assert len(notes.migrations) == 1
    assert active(notes) == "new"
    with pytest.raises(ExistsError, match="usearch int8"):
        notes.migrate("new", engine="faiss", precision="int8")
    assert notes.rollback() == "old"
    with pytest.raises(UnknownIndexError, match="not been migrated"):
        notes.rollback()
    assert notes.migrate("new", engine="usearch", precision="int8").state == "switched"


def test_a_poorer_index_is_not_switched_to(notes, monkeypatch):
    monkeypatch.setattr(inside.FEW, 0)
    notes.add_index("old", precision="float32")
    report = notes.migrate("new", precision="binary", bits=1, tolerance=0.0, k=5)
    assert not report.ok
    assert "recall@5 falls" in report.problems[0]
    assert report.state == "building"
    assert active(notes) == "old"
    is_right(notes)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_wrong_code_a_missing_and_a_strange_key_are_named(notes, engine):
    notes.migrate("new", engine=engine, precision="int8", switch=False)
    backend = inside.backend_of(notes, "new")
    keys, codes = next(iter(backend.export()))
    first = int(keys[0])
    backend.upsert(keys[:1], -codes[:1])
    report = notes.migrate("new", engine=engine, precision="int8")
    assert [str(first) in problem for problem in report.problems] == [True]
    backend.upsert(keys[:1], codes[:1])
    backend.delete(keys[1:2])
    backend.upsert(keys[:1] + 5000, codes[:1])
    report = notes.migrate("new", engine=engine, precision="int8")
    assert any(f"missing from index 'new', key(s) {keys[1]}" in one for one in report.problems)
    assert any(str(first + 5000) in problem for problem in report.problems)
    assert active(notes) is None
    notes.rebuild("new")
    assert notes.migrate("new", engine=engine, precision="int8").ok


def test_what_happens_meanwhile_is_carried_over(notes, path):
    """Another process reads and writes while the new index is built."""
    notes.add_index("old")
    with requant.open(path) as other:
        theirs = other.collection("notes")
        calls = []

        def progress(done, total):
            calls.append((done, total))
            theirs.upsert([len(calls), 5000 + len(calls)], vectors(2, DIM, seed=len(calls)))
            theirs.delete([100 + len(calls)])
            assert len(theirs.search(vectors(1, DIM)[0])) == 10

        assert notes.migrate("new", engine="lancedb", progress=progress).ok
        assert calls
        is_right(notes)
        is_right(theirs)
        assert active(theirs) == "new"


def test_a_plan_does_nothing(notes):
    notes.add_index("old", index_type="hnsw", params={"M": 8})
    before = notes.stats()
    plan = notes.plan_migration("new", engine="lancedb", precision="binary")
    assert plan.rows == N
    assert "engine: faiss becomes lancedb" in plan.changed
    assert any(text.startswith("M=8 of faiss int8") for text in plan.dropped)
    assert plan.bytes > N * DIM * 2 / 8
    assert plan.seconds > 0
    assert notes.stats() == before
    assert notes.migrations == []
    notes.calibrate(0.5)
    dropped = notes.plan_migration("new", engine="usearch").dropped
    assert any("calibration of 'old' for recall 0.5" in text for text in dropped)
    assert notes.plan_migration("new", engine="qdrant", url="http://127.0.0.1:1").bytes == N * DIM
    with pytest.raises(InputError, match="name"):
        notes.plan_migration("../new")


@pytest.mark.parametrize(
    ("items", "config", "said"),
    [
        (250_000, IndexConfig("faiss", "int2"), ["a graph would take", "lists would", "calibrate"]),
        (2_000_000, IndexConfig("usearch", "int8"), ["a graph would take", "calibrate"]),
        (250_000, IndexConfig("faiss", "int8", "hnsw"), ["calibrate"]),
        (5_000, IndexConfig("faiss", "int2", "ivf"), ["a flat index is hardly slower than lists"]),
        (5_000, IndexConfig("faiss", "int2"), []),
    ],
)
def test_a_plan_says_where_another_index_type_pays(items, config, said):
    told = advice(config, registry.load(config.engine).capabilities, items)
    assert len(told) == len(said)
    assert all(part in text for part, text in zip(said, told, strict=True))


def test_a_shadow_is_compared(notes, path):
    notes.add_index("old", precision="float32")
    notes.migrate("new", engine="usearch", precision="int8", switch=False)
    notes.shadow("new", 1.0)
    for query in vectors(20, DIM, seed=6):
        notes.search(query)
    notes.search_many(vectors(10, DIM, seed=7))
    (info,) = notes.migrations
    assert (info.name, info.source, info.state, info.shadow) == ("new", "old", "verified", 1.0)
    assert info.compared == 300
    assert info.parity > 0.97
    # Another process takes part, and tells what it saw when it closes.
    with requant.open(path) as other:
        other.collection("notes").search_many(vectors(10, DIM, seed=8))
    assert notes.migrations[0].compared == 400
    notes.shadow("new", 0)
    notes.search_many(vectors(10, DIM, seed=9))
    assert notes.migrations[0].compared == 0
    with pytest.raises(InputError, match="migrate"):
        notes.shadow("old", 0.5)
    with pytest.raises(InputError, match="from 0 to 1"):
        notes.shadow("new", 2)


def test_what_a_shadow_has_counted_is_told_by_one_process(notes):
    notes.add_index("old", precision="float32")
    notes.migrate("new", engine="usearch", precision="int8", switch=False)
    notes.shadow("new", 1.0)
    notes.search_many(vectors(20, DIM, seed=6))
    # Looking at it tells it, also in a child, which has a copy of what is not told yet.
    assert in_a_child(lambda: notes.migrations) == "worked"
    assert notes.migrations[0].compared == 200


def test_a_shadow_that_fails_spoils_no_answer(notes, monkeypatch):
    failing = wrapped(monkeypatch, "usearch", FailingBackend)
    notes.add_index("old")
    notes.migrate("new", engine="usearch", switch=False)
    notes.shadow("new", 1.0)
    monkeypatch.setattr(inside.FEW, 0)
    failing.fail_at("search", error=EngineError("out of order"))
    with pytest.warns(requant.IndexWarning, match="out of order"):
        assert len(notes.search(vectors(1, DIM)[0])) == 10
    assert notes.migrations[0].parity is None


def test_rollback_to_what_is_gone(notes):
    notes.add_index("old")
    notes.migrate("new", engine="usearch")
    notes.drop_index("old")
    with pytest.raises(UnknownIndexError, match="dropped"):
        notes.rollback()
    assert notes.migrations[0].source == "(dropped)"


# kill -9

ROWS = 20_000


def migrate_until_killed(path, engine, told):
    """Migrate in another process, and tell how many rows it set out to read."""
    inside.build_in_small_steps()
    with requant.open(path) as db:
        notes = db.collection("notes")
        told.send(0)

        def progress(done, total):
            told.send(total)
            time.sleep(0.1)  # to be met in the middle

        notes.migrate("new", engine=engine, precision="int8", progress=progress)
        told.send(-1)


def let_live(path, engine, steps, seconds):
    """Migrate until so many steps were told, and kill it a moment later; return what was told."""
    receiver, sender = pipe()
    process = start(migrate_until_killed, str(path), engine, sender)
    sender.close()
    assert receiver.poll(60)
    receiver.recv()
    seen = []
    try:
        while len(seen) < steps:
            assert receiver.poll(60), "it makes no step any more"
            seen.append(receiver.recv())
        process.join(seconds)
        process.kill()
        while receiver.poll():
            seen.append(receiver.recv())
    except EOFError:  # it was done
        pass
    process.kill()
    process.join()
    receiver.close()
    return seen


def kill_and_go_on(path, engine, lives):
    """Kill a migration again and again; return how many rows each step was one of."""
    with requant.open(path) as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(range(ROWS), vectors(ROWS, DIM))
        notes.add_index("old", precision="int2")
    seen = [total for steps, seconds in lives for total in let_live(path, engine, steps, seconds)]
    with requant.open(path) as db:
        notes = db.collection("notes")
        report = notes.migrate("new", engine=engine, precision="int8")
        assert report.ok, report.problems
        assert active(notes) == "new"
        assert held(notes) == expected(notes)
        assert len(notes.migrations) == 1
    return seen


# One that keeps files and one that keeps a place of its own; tests/torture has all of them.
@pytest.mark.parametrize("engine", ["faiss", "lancedb"])
def test_killed_it_goes_on_where_it_was(path, engine):
    # Four steps publish a part, however slow the machine is, and the next has to go on from it.
    moments = np.random.default_rng(0).uniform(0.0, 0.3, 3)
    seen = kill_and_go_on(path, engine, list(zip([4, 0, 1], moments, strict=True)))
    assert seen[0] == ROWS
    assert 0 < min(total for total in seen if total > 0) < ROWS


# Found by reviewers


def test_used_otherwise_meanwhile_it_switches_again(notes):
    notes.add_index("a")
    notes.add_index("b", engine="usearch")
    notes.migrate("new", engine="usearch", precision="int8", switch=False)
    notes.use_index("b")
    assert notes.migrate("new", engine="usearch", precision="int8").state == "switched"
    assert notes.rollback() == "b"
    notes.migrate("new", engine="usearch", precision="int8")
    notes.use_index("a")
    assert notes.migrate("new", engine="usearch", precision="int8").state == "switched"
    assert active(notes) == "new"
    assert notes.rollback() == "a"


def test_after_the_switch_nothing_is_shadowed(notes):
    notes.add_index("old")
    notes.migrate("new", engine="usearch", switch=False)
    notes.shadow("new", 1.0)
    notes.search_many(vectors(10, DIM))
    notes.migrate("new", engine="usearch")
    inside.look_at_shadow(notes)
    notes.search_many(vectors(10, DIM))
    (info,) = notes.migrations
    assert (info.shadow, info.compared) == (0.0, 100)


def test_away_from_a_server_that_is_gone(notes, monkeypatch):
    monkeypatch.setattr(inside.FEW, 0)
    with running() as server:
        notes.add_index("old", engine="qdrant", url=server.url, params={"retries": 0})
    report = notes.migrate("new", engine="faiss")
    assert (report.ok, report.state, report.recall_before) == (True, "switched", None)
    assert any("could not be asked" in text for text in report.checked)
    is_right_by(notes, "new")
    report = notes.verify()
    assert any("index 'old'" in problem for problem in report.problems)
    assert any("index 'new'" in text for text in report.checked)


def is_right_by(collection, name):
    query = vectors(1, DIM, seed=1)[0]
    found = [hit.id for hit in collection.search(query, oversample=10, index=name)]
    assert found == [hit.id for hit in collection.search(query, exact=True)]


@pytest.mark.parametrize(
    "bad",
    [
        {"k": 0}, {"k": "a"}, {"k": 10**9}, {"tolerance": "x"}, {"tolerance": -1},
        {"queries": np.empty((0, DIM))},
    ],
    ids=str,
)  # fmt: skip
def test_bad_arguments_are_refused_before_anything_is_built(notes, bad):
    with pytest.raises(InputError):
        notes.migrate("new", **bad)
    assert notes.indexes == []


def test_coarse_compression_is_not_taken_for_damage(db):
    rng = np.random.default_rng(0)
    notes = db.create_collection("wide", 384)
    notes.upsert(range(2000), rng.standard_normal((2000, 384)))
    notes.add_index("own", engine="faiss", precision="native", params={"factory": "PQ8x4"})
    assert notes.verify().ok
    backend = inside.backend_of(notes, "own")
    keys, codes = next(iter(backend.export()))
    backend.upsert(keys[:1], -codes[:1])
    assert str(keys[0]) in notes.verify().problems[0]


@pytest.mark.parametrize("rows", [2, 2000])
def test_codes_of_other_vectors_are_damage_however_many_there_are(db, rows):
    """The middle of what all codes are like is no measure where none of them is right."""
    vectors_of = np.random.default_rng(1).standard_normal((rows, 384)).astype(np.float32)
    notes = db.create_collection("wide", 384)
    notes.upsert(range(rows), vectors_of)
    notes.add_index("own", engine="usearch", precision="native")
    assert notes.verify().ok
    backend = inside.backend_of(notes, "own")
    keys = np.sort(np.concatenate([keys for keys, _ in backend.export()]))
    backend.upsert(keys, np.random.default_rng(2).standard_normal((rows, 384)).astype(np.float32))
    (problem,) = notes.verify().problems
    assert int(problem.split()[0]) >= 0.99 * rows

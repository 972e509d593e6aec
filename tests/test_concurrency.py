"""Threads and processes at once: no answer is torn, no reader waits, every writer gets its turn."""

from __future__ import annotations

import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from tests import inside
from tests.databases import expected, held, vectors
from tests.processes import DIM, pipe, start

INDEXES = {
    "none": None,
    "flat": {"engine": "faiss", "precision": "int8"},
    "levels": {"engine": "faiss", "precision": "int2"},
    "graph": {"engine": "usearch", "precision": "int8", "index_type": "hnsw"},
}


def in_threads(*calls):
    """Run calls at once and return their results; the first error is raised."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.parametrize("index", INDEXES)
def test_threads_write_and_search_one_database(any_db, index):
    notes = any_db.create_collection("notes", DIM, "l2")
    notes.upsert(range(200), vectors(200, DIM))
    if INDEXES[index]:
        notes.add_index("main", **INDEXES[index])

    def write(worker):
        for n in range(12):
            first = 1000 * (worker + 1) + 10 * n
            given = vectors(10, DIM, seed=first)
            assert notes.upsert(range(first, first + 10), given) == 10
            # What this thread has written, it finds. (Not by the graph alone: usearch's missed 15
            # to 26 of 4,320 just added codes, with one thread and without deletes as well.)
            graph = index == "graph"
            assert notes.search(given[3], k=1, exact=graph)[0].id == first + 3
            assert len(notes.search(given[3], k=5)) == 5
            notes.delete([first])

    def read(worker):
        queries = vectors(20, DIM, seed=worker)
        for query in queries:
            hits = notes.search(query, k=10)
            assert len(hits) == 10
            scores = [hit.score for hit in hits]
            assert scores == sorted(scores, reverse=True)
        batch = notes.search_many(queries, k=5)
        assert all(len(ids) == 5 for ids in batch.ids)
        assert len(notes.get([hit.id for hit in hits])) >= 5
        notes.vectors(range(200))

    in_threads(*[lambda w=w: write(w) for w in range(3)], *[lambda w=w: read(w) for w in range(3)])
    assert len(notes) == 200 + 3 * 12 * 9
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok


def test_verify_is_not_misled_by_writers(db):
    notes = db.create_collection("notes", DIM)
    notes.upsert(range(500), vectors(500, DIM))
    notes.add_index("main", engine="faiss", precision="int8")
    done = threading.Event()

    def write():
        try:
            for n in range(60):
                notes.upsert(range(n, n + 40), vectors(40, DIM, seed=n))
                notes.search(np.ones(DIM))
        finally:
            done.set()

    def verify():
        while not done.is_set():
            report = notes.verify(deep=True)
            assert report.ok, report.problems

    in_threads(write, verify)


def test_many_threads_open_the_same_index_at_once(tmp_path):
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(range(300), vectors(300, DIM))
        notes.add_index("main", engine="faiss")
    with requant.open(tmp_path / "x") as db:
        query = vectors(300, DIM)[7]
        calls = [lambda: db.collection("notes").search(query, k=1)[0].id] * 40
        assert in_threads(*calls) == [7] * 40


def test_an_index_is_switched_while_others_search(db):
    notes = db.create_collection("notes", DIM)
    stored = vectors(300, DIM)
    notes.upsert(range(300), stored)
    for name in ("one", "two"):
        notes.add_index(name, engine="usearch")
    done = threading.Event()

    def switch():
        try:
            for n in range(15):
                notes.use_index(("one", "two")[n % 2])
                notes.rebuild("one")
                notes.flush()
        finally:
            done.set()

    def search():
        while not done.is_set():
            assert notes.search(stored[7], k=1)[0].id == 7

    in_threads(switch, search, search)


def work(path, worker, told):
    """Write what no other process writes, and search for it."""
    try:
        with requant.open(path) as db:
            notes = db.create_collection("notes", DIM, "l2", exist_ok=True)
            for n in range(10):
                first = 1000 * worker + 10 * n
                given = vectors(10, DIM, seed=first)
                notes.upsert(range(first, first + 10), given)
                notes.upsert([first], -given[:1])
                assert notes.search(given[3], k=1)[0].id == first + 3
                assert notes.search(-given[0], k=1)[0].id == first
        told.send("done")
    except BaseException:
        told.send(traceback.format_exc())


@pytest.mark.parametrize("indexed", [True, False])
def test_processes_share_one_file(tmp_path, indexed):
    """Without an index they also all try to create the database and the collection."""
    path = tmp_path / "x"
    if indexed:
        with requant.open(path) as db:
            notes = db.create_collection("notes", DIM, "l2")
            notes.add_index("main", engine="faiss", precision="int8")
    ends = []
    for worker in range(4):
        receiver, sender = pipe()
        ends.append((receiver, start(work, str(path), worker, sender)))
        sender.close()
    for receiver, process in ends:
        assert receiver.poll(60)
        assert receiver.recv() == "done"
        process.join()
    with requant.open(path) as db:
        notes = db.collection("notes")
        assert len(notes) == 400
        assert sorted(item.id for item in notes.iter()) == sorted(
            1000 * worker + n for worker in range(4) for n in range(100)
        )
        assert held(notes) == expected(notes)
        assert notes.verify(deep=True).ok


def test_readers_go_on_while_a_writer_takes_long(any_db):
    notes = any_db.create_collection("notes", DIM)
    stored = vectors(50, DIM)
    notes.upsert(range(50), stored)
    notes.add_index("main", engine="usearch")
    with any_db.engine.begin() as connection:
        notes.upsert(["late"], [stored[7] * 2], connection=connection)
        notes.delete([8], connection=connection)
        url = any_db.engine.url.render_as_string(False)
        with requant.open(url, folder=inside.folder_of(any_db)) as other:
            for reader in (notes, other.collection("notes")):
                # Each in a thread of its own, which would hang if it had to wait for us.
                with ThreadPoolExecutor(1) as pool:
                    searched = pool.submit(reader.search, stored[8], 1)
                    assert searched.result(timeout=30)[0].id == 8
                    assert pool.submit(len, reader).result(timeout=30) == 50
                    assert pool.submit(reader.get, ["late"]).result(timeout=30) == []
                    assert pool.submit(reader.verify).result(timeout=30).ok
    assert len(notes) == 50
    assert notes.get(["late"])[0].id == "late"
    assert held(notes) == expected(notes)


def test_a_search_that_would_publish_waits_for_no_writer(any_db, monkeypatch):
    monkeypatch.setattr(inside.SEARCH_PUBLISH_ROWS, 10)
    notes = any_db.create_collection("notes", DIM)
    notes.upsert(range(50), vectors(50, DIM))
    notes.add_index("main", engine="usearch")
    notes.upsert(range(50, 100), vectors(50, DIM, seed=1))
    with any_db.engine.begin() as connection, ThreadPoolExecutor(1) as pool:
        notes.upsert(["late"], vectors(1, DIM), connection=connection)
        searched = pool.submit(notes.search, vectors(50, DIM, seed=1)[7], 1)
        assert searched.result(timeout=30)[0].id == 57
        assert notes.indexes[0].items == 50
    inside.number(any_db)
    for _ in range(20):  # each follows a share
        notes.search(np.ones(DIM))
    assert notes.indexes[0].items == 101


def test_a_writer_waits_for_its_turn(any_db):
    notes = any_db.create_collection("notes", DIM)
    notes.upsert(["a"], vectors(1, DIM))
    url = any_db.engine.url.render_as_string(False)
    with requant.open(url, folder=inside.folder_of(any_db)) as other, ThreadPoolExecutor(3) as pool:
        with any_db.engine.begin() as connection:
            notes.upsert(["b"], vectors(1, DIM, seed=1), connection=connection)
            waiting = [
                pool.submit(notes.upsert, ["b", "c"], vectors(2, DIM, seed=2)),
                pool.submit(other.collection("notes").delete, ["a"]),
                pool.submit(other.collection("notes").upsert, ["d"], vectors(1, DIM, seed=3)),
            ]
            # Whoever is right waits until we commit: in PostgreSQL, for the same item alone.
            if any_db.engine.dialect.name == "postgresql":
                assert [one.result(timeout=60) for one in waiting[1:]] == [1, 1]
                waiting = waiting[:1]
            assert not any(one.done() for one in waiting)
        assert {one.result(timeout=60) for one in waiting} == {1}
    assert sorted(item.id for item in notes.iter()) == ["b", "c", "d"]
    np.testing.assert_array_equal(notes.vectors(["b"]), vectors(2, DIM, seed=2)[:1])


def test_many_writers_lose_nothing(any_db):
    notes = any_db.create_collection("notes", DIM)

    def write(worker):
        for n in range(15):
            notes.upsert([f"{worker}-{n}", "shared"], vectors(2, DIM, seed=worker))

    in_threads(*[lambda w=w: write(w) for w in range(6)])
    assert len(notes) == 6 * 15 + 1
    keys = [item.key for item in notes.iter()]
    assert len(set(keys)) == len(keys)
    with inside.connected(notes) as connection:
        seq = connection.execute(sa.text("SELECT seq FROM requant_collections")).scalar()
    # PostgreSQL's writers are numbered afterwards, by whoever reads.
    assert seq == (6 * 15 if any_db.engine.dialect.name == "sqlite" else 0)


def test_a_collection_is_dropped_during_a_publication(any_db, monkeypatch):
    """On PostgreSQL two that lock rows in another order than each other end in a deadlock."""
    notes = any_db.create_collection("notes", DIM)
    notes.upsert(range(50), vectors(50, DIM))
    notes.add_index("main", engine="usearch")
    notes.upsert(range(20), vectors(20, DIM, seed=1))
    notes.flush()
    notes.upsert(range(20), vectors(20, DIM, seed=2))
    with ThreadPoolExecutor(1) as pool:
        drops = []

        def drop_first():
            drops.append(pool.submit(any_db.drop_collection, "notes"))
            time.sleep(0.5)  # by then it waits for what we hold

        inside.before_the_log_is_pruned(monkeypatch, drop_first)
        notes.flush()
        drops[0].result(timeout=60)
    assert any_db.collections() == []
    with any_db.engine.connect() as connection:
        for table in ("collections", "items", "vectors", "changes", "indexes", "generations"):
            rows = connection.exec_driver_sql(f"SELECT count(*) FROM requant_{table}").scalar()
            assert (table, rows) == (table, 0)


def test_many_open_a_new_database_at_once(tmp_path):
    def open_and_write(path, worker):
        with requant.open(path) as db:
            notes = db.create_collection("notes", DIM, exist_ok=True)
            notes.upsert([worker], vectors(1, DIM))

    for attempt in range(4):
        path = tmp_path / f"x{attempt}"
        in_threads(*[lambda p=path, w=w: open_and_write(p, w) for w in range(8)])
        with requant.open(path) as db:
            assert len(db.collection("notes")) == 8


@pytest.mark.parametrize("engine", ["usearch", "lancedb"])
def test_an_index_is_dropped_while_its_file_is_written(any_db, monkeypatch, engine):
    """By another process, which removes the folder; whoever flushes has nothing to tell."""
    notes = any_db.create_collection("notes", DIM)
    notes.upsert(range(50), vectors(50, DIM))
    notes.add_index("goes", engine=engine)
    notes.upsert(range(20), vectors(20, DIM, seed=1))
    url = any_db.engine.url.render_as_string(False)
    with requant.open(url, folder=inside.folder_of(any_db)) as other:
        inside.before_it_is_durable(
            monkeypatch, lambda: other.collection("notes").drop_index("goes")
        )
        notes.flush()
    assert notes.indexes == []
    assert not list(inside.folder_of(any_db).glob("*/*.usearch"))
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok


def test_indexes_come_and_go_while_others_publish(any_db):
    notes = any_db.create_collection("notes", DIM)
    notes.upsert(range(50), vectors(50, DIM))
    notes.add_index("stays", engine="usearch")

    def publish():
        for seed in range(12):
            notes.upsert(range(20), vectors(20, DIM, seed=seed))
            notes.flush()

    def come_and_go():
        for n in range(8):
            notes.add_index(f"goes {n}".replace(" ", "-"), engine="usearch")
            notes.drop_index(f"goes-{n}")

    def other_collections():
        for n in range(8):
            other = any_db.create_collection(f"other-{n}", DIM)
            other.upsert(range(50), vectors(50, DIM))
            other.add_index("main", engine="usearch")
            any_db.drop_collection(f"other-{n}")

    in_threads(publish, come_and_go, other_collections)
    assert [info.name for info in notes.indexes] == ["stays"]
    assert any_db.collections() == ["notes"]
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok

"""An application's own engine: its pool may be as small as one connection."""

from __future__ import annotations

import threading
from pathlib import Path

import faiss
import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import StoreError
from requant.store.snapshots import KEPT
from tests import inside
from tests.databases import expected, held, vectors
from tests.test_concurrency import in_threads

N, DIM = 300, 8
LIVE = ["lancedb", "qdrant"]
ENGINES = ["faiss", "usearch", *LIVE]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("empty_postgres")
    return f"sqlite:///{tmp_path / 'application.db'}"


def opened(url, folder, **pool):
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.5} | pool
    engine = sa.create_engine(url, poolclass=sa.QueuePool, **pool)
    return requant.open(engine, folder=folder), engine


def filled(db):
    notes = db.create_collection("notes", DIM)
    notes.upsert(range(N), vectors(N, DIM), metadata=[{"n": n} for n in range(N)])
    return notes


def use(notes, engine):
    """Call what there is to call, with a search behind everything that an index has to follow."""
    query = vectors(1, DIM, seed=9)[0]
    notes.add_index("main", engine=engine, precision="int8")
    notes.search(query, where={"n": {"$lt": 50}})
    notes.search(query, exact=True, index="main")
    notes.search_many(vectors(3, DIM))
    notes.upsert([N], [query])
    assert notes.search(query, k=1)[0].id == N
    notes.delete([N])
    notes.flush()
    notes.rebuild()
    assert notes.migrate("next", engine="faiss", precision="int2", tolerance=1.0).ok
    notes.plan_migration("third", engine="usearch")
    assert notes.rollback() == "main"
    notes.migrate("other", engine=engine, precision="float32", switch=False)
    notes.shadow("other", 1.0)
    notes.search(query)
    assert notes.migrations[0].name == "other"
    notes.use_index("other")
    assert notes.verify(deep=True).ok
    assert len(notes.get([1, 2])) == 2
    assert len(notes.vectors([1, 2])) == 2
    assert len(list(notes.iter(where={"n": {"$lt": 2}}))) == 2
    notes.note_origin("x", "faiss", "exact")
    assert notes.stats().items == N
    assert held(notes) == expected(notes)
    for item in notes.iter(batch=100):  # which holds the one connection all the time
        if item.id % 100 == 0:
            notes.upsert([item.id], [-item.vector])
            assert notes.search(-item.vector, k=1)[0].id == item.id
    notes.drop_index("next")


@pytest.mark.parametrize("engine", ENGINES)
def test_everything_works_with_one_connection(url, tmp_path, engine):
    db, theirs = opened(url, tmp_path / "indexes")
    with db:
        notes = filled(db)
        use(notes, engine)
        with theirs.begin() as connection:
            notes.upsert(["new"], vectors(1, DIM), connection=connection)
            notes.delete([1], connection=connection)
            assert notes.get(["new"], connection=connection)
        assert notes.get(["new"])
        db.create_collection("more", DIM)
        db.drop_collection("more")
        db.drop_collection("notes")
    theirs.dispose()
    db, theirs = opened(url, tmp_path / "indexes")
    with db:
        assert db.collections() == []
    theirs.dispose()


def test_an_attached_index_and_an_engine_that_begins_by_hand(tmp_path):
    index = faiss.IndexFlatIP(DIM)
    rows = vectors(N, DIM)
    index.add(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    faiss.write_index(index, str(tmp_path / "theirs.index"))
    db, theirs = opened(f"sqlite:///{tmp_path / 'application.db'}", tmp_path / "indexes")

    @sa.event.listens_for(theirs, "connect")
    def connected(connection, _record):
        connection.isolation_level = None

    @sa.event.listens_for(theirs, "begin")
    def begun(connection):
        connection.exec_driver_sql("BEGIN")

    theirs.dispose()
    with db:
        notes = filled(db)
        notes.attach_index("main", engine="faiss", location=tmp_path / "theirs.index")
        notes.upsert([N], vectors(1, DIM, seed=5))
        assert notes.search(vectors(1, DIM, seed=5)[0], k=1)[0].id == N
        notes.add_index("ours", engine="lancedb")
        assert notes.search(vectors(1, DIM, seed=5)[0], k=1, index="ours")[0].id == N
        assert notes.verify().ok
    theirs.dispose()


@pytest.mark.parametrize("engine", ["attached", *LIVE])
def test_a_search_takes_no_second_connection(url, tmp_path, engine):
    db, theirs = opened(url, tmp_path / "indexes")
    with db:
        notes = filled(db)
        if engine == "attached":
            index = faiss.IndexFlatIP(DIM)
            rows = vectors(N, DIM)
            index.add(rows / np.linalg.norm(rows, axis=1, keepdims=True))
            faiss.write_index(index, str(tmp_path / "theirs.index"))
            notes.attach_index("main", engine="faiss", location=tmp_path / "theirs.index")
        else:
            notes.add_index("main", engine=engine)
        query = vectors(1, DIM)[0]
        notes.search(query)
        taken = []
        for each in (inside.beside(db), theirs):
            sa.event.listen(each, "checkout", lambda *_, each=each: taken.append(each))
        notes.search(query)
        notes.search(query, where={"n": 3})
        notes.search(query, exact=True, index="main")
        assert inside.beside(db) not in taken
        assert taken
    theirs.dispose()


@pytest.mark.parametrize("engine", LIVE)
def test_forty_threads_search_a_live_index_through_the_usual_pool(url, tmp_path, engine):
    db, theirs = opened(url, tmp_path / "indexes", pool_size=5, max_overflow=10, pool_timeout=20)
    with db:
        notes = filled(db)
        notes.add_index("main", engine=engine)
        stored = vectors(N, DIM)
        done = threading.Event()

        def write():
            try:
                for n in range(5):
                    notes.upsert([N + n], vectors(1, DIM, seed=n))
            finally:
                done.set()

        def search(worker):
            for n in range(3):
                row = (7 * worker + n) % N
                assert notes.search(stored[row], k=1)[0].id == row

        in_threads(write, *[lambda w=w: search(w) for w in range(40)])
        assert held(notes) == expected(notes)
        assert theirs.pool.checkedout() == 0
    theirs.dispose()


def test_a_pool_that_is_too_small_is_named(url, tmp_path):
    db, theirs = opened(url, tmp_path / "indexes", pool_timeout=0.1)
    with db:
        notes = filled(db)
        with theirs.connect() as connection:
            for call in (
                lambda: notes.search(np.ones(DIM)),
                lambda: notes.upsert([1], vectors(1, DIM)),
            ):
                with pytest.raises(StoreError, match="pool_size, max_overflow"):
                    call()
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    theirs.dispose()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files")
def test_a_burst_of_threads_leaves_a_bounded_number_of_readers(tmp_path):
    path = tmp_path / "x.requant"

    def held_open():
        # The log's: SQLite closes the file itself only when nobody in the process has it open.
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(str(link.readlink()) == f"{path}-wal" for link in links if link.is_symlink())

    with requant.open(path) as db:
        notes = filled(db)
        barrier = threading.Barrier(60)

        def read():
            with notes.selected() as selection:
                barrier.wait(60)  # all at once
                assert selection.total == N

        in_threads(*[read] * 60)
        assert held_open() <= KEPT + 10
        assert len(notes.search(np.ones(DIM))) == 10


def test_what_is_connected_beside_a_pool_is_not_counted_for_ever(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with requant.open(engine) as db:
        notes = db.create_collection("notes", 8)
        for _ in range(5):
            with inside.snapshot(notes):
                db.collection("notes")
        assert inside.taken_by_this_thread(db) == 0
    engine.dispose()

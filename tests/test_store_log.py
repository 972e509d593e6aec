"""SQLite's write-ahead log stays short beside readers that never pause."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from tests import inside
from tests.databases import expected, held, vectors

DIM = 384
ROWS = 2_000
LIMIT = 64 << 20


def log_of(path: Path) -> int:
    log = Path(f"{path}-wal")
    return log.stat().st_size if log.exists() else 0


def beside_readers(notes, path, write, writes, readers=4):
    """Search without pause while `write(n)` is called; return the most that the log has taken."""
    failed, longest, done = [], 0, threading.Event()

    def search(seed):
        queries = np.random.default_rng(seed)
        try:
            while not done.is_set():
                assert len(notes.search(queries.standard_normal(DIM))) == 10
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=search, args=(seed,)) for seed in range(readers)]
    for thread in threads:
        thread.start()
    try:
        for n in range(writes):
            write(n)
            longest = max(longest, log_of(path))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]
    return longest


@pytest.mark.parametrize("lent", [False, True], ids=["by itself", "in the caller's transaction"])
def test_the_log_is_bounded_beside_readers_without_pause(tmp_path, lent):
    path = tmp_path / "x.requant"
    with requant.open(path) as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(range(ROWS), vectors(ROWS, DIM))
        notes.add_index("main", engine="faiss", precision="int2")
        given = vectors(400, DIM, seed=1)

        def write(n):
            ids = [(400 * n + i) % ROWS for i in range(400)]
            if not lent:
                notes.upsert(ids, given)
                return
            with db.engine.begin() as connection:
                notes.upsert(ids, given, connection=connection)

        # 61 MB of vectors; with whole pages of 16 KB it is more than twice as much.
        assert beside_readers(notes, path, write, writes=100) < LIMIT
        notes.flush()
        assert held(notes) == expected(notes)
    assert log_of(path) == 0


def test_one_large_write_does_not_keep_the_log_long(tmp_path):
    path = tmp_path / "x.requant"
    with requant.open(path) as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(range(20_000), vectors(20_000, DIM))
        assert log_of(path) <= 8 << 20


def test_a_reader_that_stays_is_waited_for_seldom_and_loses_nothing(tmp_path):
    path = tmp_path / "x.requant"
    with requant.open(path) as db:
        notes = db.create_collection("notes", DIM)
        first = vectors(ROWS, DIM)
        notes.upsert(range(ROWS), first)
        with notes.selected() as selection:
            for seed in range(10):
                notes.upsert(range(ROWS), vectors(ROWS, DIM, seed=seed))
            assert log_of(path) > 8 << 20  # all of it may be needed by a reader of then
            kept = np.array([item.vector for item in selection.items(500)])
            np.testing.assert_array_equal(kept, first)
        time.sleep(1)  # it is not waited for at each write
        notes.upsert(range(100), first[:100])
        assert log_of(path) <= 8 << 20
        assert notes.verify(deep=True).ok


def test_an_applications_own_log_is_kept_short_too(tmp_path):
    path = tmp_path / "application.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    for _ in range(2):  # an engine may be opened again
        with requant.open(engine) as db:
            notes = db.create_collection("notes", DIM, exist_ok=True)
            notes.upsert(range(20_000), vectors(20_000, DIM))
            assert log_of(path) <= 8 << 20
            with inside.connected(notes) as connection:
                assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000
    engine.dispose()

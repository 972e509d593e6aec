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


def beside_readers(db, notes, path, write, seconds=12.0, readers=4):
    """Search without pause while `write(n)` is called; return the bytes written and the log's."""
    stop = time.monotonic() + seconds
    failed, longest, writes = [], 0, 0

    def search(seed):
        queries = np.random.default_rng(seed)
        try:
            while time.monotonic() < stop:
                assert len(notes.search(queries.standard_normal(DIM))) == 10
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=search, args=(seed,)) for seed in range(readers)]
    for thread in threads:
        thread.start()
    while time.monotonic() < stop and not failed:
        write(writes)
        writes += 1
        longest = max(longest, log_of(path))
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return writes, longest


@pytest.mark.parametrize("lent", [False, True], ids=["by itself", "in the caller's transaction"])
def test_the_log_is_bounded_beside_readers_without_pause(tmp_path, lent):
    path = tmp_path / "x.requant"
    with requant.open(path) as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(range(ROWS), vectors(ROWS, DIM))
        notes.add_index("main", engine="faiss", precision="int2")
        given = vectors(40, DIM, seed=1)

        def write(n):
            ids = [(40 * n + i) % ROWS for i in range(40)]
            if not lent:
                notes.upsert(ids, given)
                return
            with db.engine.begin() as connection:
                notes.upsert(ids, given, connection=connection)

        writes, longest = beside_readers(db, notes, path, write)
        assert writes * 40 * DIM * 4 > LIMIT / 4, "too little was written to tell"
        assert longest < LIMIT
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
        notes.upsert([0], first[:1])
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

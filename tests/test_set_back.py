"""A database that is set back under processes that stay open, and written to before they look."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import warnings

import numpy as np
import pytest

import requant
from requant.errors import IndexWarning
from tests.databases import expected, held, vectors

N = 1200
ENGINES = ["faiss", "usearch", "lancedb", "qdrant"]


def backup(path, to):
    """Copy a database as SQLite does, in place and with its numbers; its indexes left out."""
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(to)) as target,
    ):
        source.backup(target)


def make(path, engine="faiss", n=N):
    db = requant.open(path)
    notes = db.create_collection("notes", 8)
    notes.upsert(range(n), vectors(n, seed=0))
    notes.add_index("main", engine=engine, precision="int8")
    return db, notes


def answers(notes, **how):
    for query in vectors(20, seed=1):
        hits = notes.search(query, **how)
        best = notes.search(query, exact=True)
        assert [hit.id for hit in hits] == [hit.id for hit in best]


@contextlib.contextmanager
def told(match="gone back in time"):
    with warnings.catch_warnings(record=True) as every:
        warnings.simplefilter("always")
        yield
    assert any(re.search(match, str(one.message)) for one in every), [str(e) for e in every]


def write(path, seed, times, delete=()):
    """Write as another process does."""
    with requant.open(path) as db:
        notes = db.collection("notes")
        if delete:
            notes.delete(delete)
        for i in range(times):
            rows = np.arange(i, N, 7)
            notes.upsert(rows, vectors(len(rows), seed=seed + i))


def lose(path, notes, kept):
    """Write what is lost then: three writes, which the index follows."""
    backup(path, kept)
    notes.delete(range(0, N, 2))
    notes.upsert(range(N, N + 50), vectors(50, seed=2))
    notes.upsert(range(1, N, 4), vectors(N // 4, seed=3))
    answers(notes, oversample=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexWarning)
        notes.flush()
    backup(kept, path)


# More writes than were lost, and as many: the same number is another write then.
@pytest.mark.parametrize("times", [3, 8])
@pytest.mark.parametrize("engine", ENGINES)
def test_another_process_has_written_more_than_was_lost(tmp_path, engine, times):
    path = tmp_path / "x.db"
    db, notes = make(path, engine)
    with db:
        lose(path, notes, tmp_path / "kept.db")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IndexWarning)  # what live engines tell of, here
            write(path, 40, times)
        live = engine in ("lancedb", "qdrant")
        with warnings.catch_warnings() if live else told():
            warnings.simplefilter("ignore" if live else "always", IndexWarning)
            answers(notes, oversample=3)
        notes.flush()
        answers(notes, oversample=3)
        assert held(notes) == expected(notes)
    with requant.open(path) as again:
        answers(again.collection("notes"), oversample=3)


def test_the_process_itself_writes_on_without_looking(tmp_path):
    path = tmp_path / "x.db"
    db, notes = make(path)
    with db:
        lose(path, notes, tmp_path / "kept.db")
        for i in range(8):
            notes.upsert(range(i, N, 7), vectors(len(range(i, N, 7)), seed=40 + i))
        with told():
            answers(notes, oversample=3)
        assert held(notes) == expected(notes)


def test_what_is_kept_in_memory_of_few_items(tmp_path):
    path = tmp_path / "x.db"
    db, notes = make(path, n=300)
    with db:
        lose(path, notes, tmp_path / "kept.db")
        write(path, 40, 8)
        with told():
            answers(notes)
        answers(notes)


def test_closing_publishes_nothing_of_a_lost_future(tmp_path):
    path = tmp_path / "x.db"
    db, notes = make(path)
    backup(path, tmp_path / "kept.db")
    for i in range(3):
        notes.upsert(range(i, N, 2), vectors(len(range(i, N, 2)), seed=3 + i))
    answers(notes, oversample=3)
    backup(tmp_path / "kept.db", path)
    with requant.open(path) as other:  # whose index stays as it is
        for i in range(8):
            other.collection("notes").upsert([i], vectors(1, seed=50 + i))
        db.close()
    with requant.open(path) as again:
        notes = again.collection("notes")
        answers(notes, oversample=3)
        assert held(notes) == expected(notes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_child_is_another_writer(tmp_path):
    path = tmp_path / "x.db"
    db, notes = make(path)
    with db:
        notes.upsert([0], vectors(1, seed=5))
        backup(path, tmp_path / "kept.db")
        notes.delete(range(0, N, 2))
        answers(notes, oversample=3)
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                while not (tmp_path / "go").exists():
                    pass
                for i in range(4):
                    notes.upsert(range(i, N, 7), vectors(len(range(i, N, 7)), seed=60 + i))
                code = 0
            os._exit(code)
        backup(tmp_path / "kept.db", path)
        (tmp_path / "go").touch()
        assert os.waitpid(child, 0)[1] == 0
        with told():
            answers(notes, oversample=3)


def test_others_that_write_lose_nothing(tmp_path):
    """Two write in turns, rolled back now and then, and no warning is given, as it would fail."""
    path = tmp_path / "x.db"
    db, notes = make(path)
    with db, requant.open(path) as other:
        theirs = other.collection("notes")
        for i in range(30):
            notes.upsert([i], vectors(1, seed=70 + i))
            with contextlib.suppress(RuntimeError), db.engine.begin() as connection:
                notes.upsert([i + 1], vectors(1, seed=90 + i), connection=connection)
                if i % 3:
                    raise RuntimeError
            theirs.upsert([i + 2], vectors(1, seed=80 + i))
            query = vectors(1, seed=i)[0]
            for each in (notes, theirs):
                hits = each.search(query, oversample=3)
                assert [h.id for h in hits] == [h.id for h in each.search(query, exact=True)]
        with contextlib.closing(sqlite3.connect(path)) as raw:
            assert raw.execute("SELECT count(*) FROM requant_runs").fetchone()[0] > 30
        db.drop_collection("notes")
        with contextlib.closing(sqlite3.connect(path)) as raw:
            assert raw.execute("SELECT count(*) FROM requant_runs").fetchone()[0] == 0

"""Two who write to one live index at once: whoever has lost the turn stops before it writes on."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import IndexWarning, TurnLostError
from tests import inside
from tests.databases import expected, held, vectors

N = 300


def make(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(N), vectors(N))
    notes.add_index("main", engine="lancedb", precision="int8")
    return notes


def answers(notes):
    for query in vectors(10, seed=1):
        hits = notes.search(query, k=10, oversample=3)
        best = notes.search(query, k=10, exact=True)
        assert [hit.id for hit in hits] == [hit.id for hit in best]


def other_of(db, tmp_path):
    url = db.engine.url.render_as_string(False)
    return requant.open(url, folder=inside.folder_of(db))


@pytest.mark.parametrize("moment", ["before it writes", "between two batches", "at the end"])
def test_who_loses_the_turn_stops(any_db, tmp_path, monkeypatch, moment):
    """Both believe that they hold the lock, as behind a pooler that hands one session to two."""
    monkeypatch.setattr(*inside.NO_LOCK)
    notes = make(any_db)
    answers(notes)
    with other_of(any_db, tmp_path) as other:
        theirs = other.collection("notes")
        answers(theirs)

        def overtake():
            theirs.upsert(range(50, 80), vectors(30, seed=3))
            inside.number(other)
            answers(theirs)

        notes.upsert(range(0, 100), vectors(100, seed=2))
        inside.number(any_db)
        inside.within_a_turn(monkeypatch, moment, overtake)
        with pytest.raises(TurnLostError, match="another process has begun to write"):
            notes.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IndexWarning)
            for each in (notes, theirs):
                answers(each)
                each.flush()
                answers(each)
                assert held(each) == expected(each)


def test_a_search_that_loses_the_turn_answers_all_the_same(any_db, tmp_path, monkeypatch):
    monkeypatch.setattr(*inside.NO_LOCK)
    notes = make(any_db)
    with other_of(any_db, tmp_path) as other:
        theirs = other.collection("notes")
        answers(theirs)

        def overtake():
            theirs.upsert(range(50, 80), vectors(30, seed=3))
            inside.number(other)
            answers(theirs)

        notes.upsert(range(0, 100), vectors(100, seed=2))
        inside.number(any_db)
        # That is the search's snapshot: what the other one writes comes later.
        best = notes.search(np.ones(8), k=10, exact=True)
        inside.within_a_turn(monkeypatch, "at the end", overtake)
        with pytest.warns(IndexWarning, match="another process has begun to write"):
            hits = notes.search(np.ones(8), k=10, oversample=3)
        assert [hit.id for hit in hits] == [hit.id for hit in best]


def test_a_lock_whose_connection_was_cut(any_db, tmp_path):
    """PostgreSQL lets the next one in; the holder, which does not know it, does not write on."""
    if any_db.engine.dialect.name == "sqlite":
        pytest.skip("beside SQLite the lock is a file's")
    notes = make(any_db)
    with other_of(any_db, tmp_path) as other:
        theirs = other.collection("notes")
        answers(theirs)
        with inside.pinned(notes):
            with any_db.engine.begin() as connection:
                connection.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_locks "
                        "WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()"
                    )
                )
            theirs.upsert(range(50, 80), vectors(30, seed=3))
            theirs.flush()  # it waits for nobody
            answers(theirs)
        answers(notes)
        assert held(notes) == expected(notes)


def test_the_lock_leaves_nothing_open_to_vacuum(any_db):
    """The transaction in which it is held has no snapshot, and is not cut for doing nothing."""
    if any_db.engine.dialect.name == "sqlite":
        pytest.skip("beside SQLite the lock is a file's")
    notes = make(any_db)
    with inside.pinned(notes), any_db.engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT a.state, a.backend_xmin, a.backend_xid FROM pg_locks AS l "
                "JOIN pg_stat_activity AS a ON a.pid = l.pid "
                "WHERE l.locktype = 'advisory' AND l.granted"
            )
        ).all()
    assert rows == [("idle in transaction", None, None)]


@pytest.mark.parametrize("behind", [False, True])
def test_who_closes_later_leaves_what_another_has_built_anew(any_db, tmp_path, behind):
    """Nor does it publish its own place, which may be removed by then."""
    notes = make(any_db)
    notes.search(vectors(1)[0])
    with other_of(any_db, tmp_path) as other:
        theirs = other.collection("notes")
        theirs.search(vectors(1)[0])
        if behind:
            theirs.upsert(["x"], vectors(1, seed=2))
            answers(theirs)
        notes.rebuild()
        built = inside.newest_place(any_db)
    assert inside.newest_place(any_db) == built
    answers(notes)
    assert notes.verify(deep=True).ok

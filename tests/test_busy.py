"""A search waits for no writer, not even for one that begins in the midst of it."""

from __future__ import annotations

import sqlite3

import pytest

import requant
from tests import inside
from tests.databases import expected, held, vectors

N = 1200


def answers(notes, seed=1):
    for query in vectors(5, seed=seed):
        hits = notes.search(query, k=10, oversample=4)
        best = notes.search(query, k=10, exact=True)
        assert [hit.id for hit in hits] == [hit.id for hit in best]


@pytest.mark.parametrize("engine", ["lancedb", "qdrant"])
@pytest.mark.parametrize("moment", ["before it writes", "at the end"])
def test_a_writer_that_begins_within_a_search(tmp_path, monkeypatch, engine, moment):
    """It would otherwise be waited for as long as SQLite does, and then be an error."""
    path = tmp_path / "x.db"
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N))
        notes.add_index("main", engine=engine, precision="int8")
        answers(notes)
        notes.upsert(range(0, 2 * N, 2), vectors(N, seed=2))
        writer = sqlite3.connect(path, isolation_level=None)
        inside.within_a_turn(monkeypatch, moment, lambda: writer.execute("BEGIN IMMEDIATE"))
        answers(notes)
        answers(notes, seed=3)
        assert writer.in_transaction
        writer.execute("ROLLBACK")
        writer.close()
        answers(notes)
        notes.upsert(range(0, 2 * N, 3), vectors(2 * N // 3, seed=4))
        answers(notes)
        notes.flush()
        answers(notes)
        assert held(notes) == expected(notes)
    with requant.open(path) as db:
        answers(db.collection("notes"))

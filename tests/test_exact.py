"""Exact search reads blocks of vectors, keeps few of them in memory, and uses several threads."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import CorruptDataError
from requant.scores import best, score_many
from tests import inside
from tests.databases import vectors


def expected(notes, queries, k):
    """What float64 says of all that is stored, in the order of scores and then of keys."""
    items = list(notes.iter(batch=4096))
    rows = np.stack([item.vector for item in items])
    ids, order = [item.id for item in items], np.arange(len(items))
    return [
        [ids[at] for at in best(order, scores, k)[0]]
        for scores in score_many(queries, rows, notes.metric)
    ]


def check(notes, queries, k=10):
    wanted = expected(notes, queries, k)
    assert [[hit.id for hit in notes.search(one, k)] for one in queries[:2]] == wanted[:2]
    assert notes.search_many(queries, k).ids == wanted


def test_postgresql_hands_out_blocks_as_well(any_db):
    holes_ties_and_zeros(any_db, "cosine")


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_holes_ties_and_zeros_change_nothing(db, metric):
    holes_ties_and_zeros(db, metric)


def holes_ties_and_zeros(db, metric):
    notes = db.create_collection("notes", 24, metric)
    rows = vectors(5000, 24)
    rows[100:4000:13] = rows[50]  # which tie
    rows[::97] = 0
    notes.upsert(range(5000), rows)
    queries = np.concatenate([rows[50:51], vectors(8, 24, seed=1)])
    check(notes, queries)
    notes.delete(range(3))
    notes.delete([i for i in range(1500, 4900) if i % 50])  # few are left in their blocks
    check(notes, queries)
    notes.delete(range(4900))
    check(notes, queries)


def test_threads_that_share_a_search_see_the_same_write(tmp_path, monkeypatch):
    """All vectors are turned round as another thread begins its snapshot: it must not take part."""
    inside.let_threads_share(monkeypatch, 4)
    inside.let_memory_be(monkeypatch, 0)
    n, dim = 10_000, 512
    with requant.open(tmp_path / "x") as db, requant.open(tmp_path / "x") as theirs:
        notes, rows = db.create_collection("notes", dim, "ip"), vectors(n, dim)
        notes.upsert(range(n), rows)
        check(notes, rows[:1])
        other, begun = theirs.collection("notes"), []
        writes = [lambda: None, lambda: other.upsert(range(n), -rows)]
        inside.before_snapshots_beside(monkeypatch, lambda: begun.append(writes.pop()()))
        found = {hit.id: hit.score for hit in notes.search(rows[0], n)}
        scores = rows.astype(float) @ rows[0]
        np.testing.assert_allclose([found[i] for i in range(n)], scores, rtol=1e-5, atol=1e-4)
        assert len(begun) == 1
        writes[:] = [lambda: None] * 3
        found = {hit.id: hit.score for hit in notes.search(rows[0], n)}
        np.testing.assert_allclose([found[i] for i in range(n)], -scores, rtol=1e-5, atol=1e-4)
        assert len(begun) == 4


def test_what_is_kept_in_memory_is_never_out_of_date(tmp_path):
    path, rows = tmp_path / "x", vectors(300)
    with requant.open(path) as db, requant.open(path) as theirs:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(300), rows)
        query = rows[:1]
        for writer in (notes, theirs.collection("notes")):
            for write in (
                lambda w: w.upsert([300], -query),
                lambda w: w.upsert([300], query * 2),
                lambda w: w.delete([300, 5]),
                lambda w: w.upsert([5], query),
            ):
                for _ in range(3):
                    check(notes, query)
                write(writer)
                check(notes, query)
        for _ in range(3):
            check(notes, query)
        with db.engine.connect() as connection:
            notes.upsert([1000], query * 3, connection=connection)
            found = [hit.id for hit in notes.search(query[0], 400, connection=connection)]
            assert len(found) == 301
            assert 1000 in found
            connection.rollback()
        check(notes, query)
        notes.upsert([1001], query)
        check(notes, query)


def test_a_file_that_is_set_back_is_read_again(tmp_path):
    path, rows = tmp_path / "x", vectors(60)
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(50), rows[:50])
        db.backup(tmp_path / "saved")
        notes.upsert([50], rows[50:51])
        for _ in range(3):
            assert notes.search(rows[50], 1)[0].id == 50
        engine = sa.create_engine(db.engine.url)
        with engine.begin() as connection:  # as who copies an older state over it
            for table in ("vectors", "items"):
                key = "(SELECT max(key) FROM requant_items)"
                connection.exec_driver_sql(f"DELETE FROM requant_{table} WHERE key = {key}")
            connection.exec_driver_sql("UPDATE requant_collections SET run = 'another'")
        engine.dispose()
        assert len(notes.search(rows[50], 60)) == 50


def test_room_is_shared_by_the_collections_of_a_database(tmp_path, monkeypatch):
    inside.let_memory_be(monkeypatch, 3 * 200 * 8 * 4)
    with requant.open(tmp_path / "x") as db:
        every = [db.create_collection(f"c{i}", 8) for i in range(5)]
        for i, one in enumerate(every):
            one.upsert(range(200), vectors(200, seed=i))
        for _ in range(3):
            for one in every:
                check(one, vectors(2))
                for _ in range(2):
                    one.search(np.ones(8))
        assert inside.kept_in_memory(every) == [False, False, True, True, True]


@pytest.mark.parametrize("wrong", ["longer and shorter", "a text"])
def test_vectors_of_another_size_are_told_by_their_key(tmp_path, wrong):
    path = tmp_path / "x"
    with requant.open(path) as db:
        db.create_collection("notes", 8).upsert(range(100), vectors(100))
    with sqlite3.connect(path) as connection:
        (first, one), (_, other) = connection.execute(
            "SELECT key, vec FROM requant_vectors LIMIT 2"
        )
        put = "UPDATE requant_vectors SET vec = ? WHERE key = ?"
        if wrong == "a text":
            connection.execute(put, ("no vector", first))
        else:  # together of the right size
            connection.execute(put, (one + other[:4], first))
            connection.execute(put, (other[4:], first + 1))
    connection.close()
    with (
        requant.open(path) as db,
        pytest.raises(CorruptDataError, match=f"key {first} has another"),
    ):
        db.collection("notes").search(np.ones(8))


def test_a_database_of_utf16_is_read_a_vector_at_a_time(tmp_path):
    connection = sqlite3.connect(tmp_path / "x")
    connection.execute("PRAGMA encoding = 'UTF-16'")
    connection.execute("CREATE TABLE theirs (a TEXT)")
    connection.close()
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(500), vectors(500))
        check(notes, vectors(3, seed=1))
        notes.add_index("main", engine="usearch", precision="int8")
        notes.upsert(range(500, 1500), vectors(1000, seed=2))
        check(notes, vectors(3, seed=1))


def test_rescoring_many_queries_by_threads_changes_nothing(tmp_path, monkeypatch):
    inside.let_threads_share(monkeypatch, 4)
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", 32)
        rows, queries = vectors(3000, 32), vectors(400, 32, seed=1)
        notes.upsert(range(3000), rows)
        notes.add_index("main", engine="faiss", precision="int8")
        found = notes.search_many(queries, vectors=True)
        for row, query in enumerate(queries):
            assert [hit.id for hit in notes.search(query)] == found.ids[row]
            assert (rows[found.ids[row]] == found.vectors[row]).all()

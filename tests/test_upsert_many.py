"""Rows from an iterator, stored a batch at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import requant
from requant.errors import (
    DimensionError,
    DuplicateIdError,
    InputError,
    NonFiniteError,
    StoreError,
)
from tests import inside
from tests.databases import dump, vectors

DIM = 4


@pytest.fixture
def notes(any_db):
    return any_db.create_collection("notes", DIM)


def rows(n, first=0):
    given = vectors(n, DIM)
    for row in range(n):
        yield {"id": first + row, "vector": given[row], "document": f"text {row}"}


def test_an_iterator(notes):
    told = []
    assert notes.upsert_many(rows(2500), batch=1000, progress=lambda *n: told.append(n)) == 2500
    assert told == [(1000, 1000), (2000, 2000), (2500, 2500)]
    assert notes.upsert_many(list(rows(10, 2495)), progress=lambda *n: told.append(n)) == 5
    assert told[-1] == (10, 10)
    np.testing.assert_array_equal(notes.vectors([7]), vectors(2500, DIM)[[7]])
    assert notes.get([9])[0].document == "text 9"
    assert notes.upsert_many(iter([])) == 0
    assert notes.upsert_many([]) == 0


def test_columns_may_change_from_row_to_row(notes):
    notes.upsert(["a"], np.ones((1, DIM)), ["kept"], [{"n": 1}])
    given = [
        {"id": "a", "metadata": {"n": 2}},
        {"id": "a", "vector": [1, 2, 3, 4]},
        {"id": "b"},
        {"id": "c", "vector": None, "document": None, "metadata": None},
        {"metadata": {"n": 5}, "vector": [1] * 4, "id": "d"},
        {"id": "e", "vector": [2] * 4, "metadata": None},
    ]
    assert notes.upsert_many(given) == 4
    items = list(notes.iter())
    assert [item.id for item in items] == ["a", "b", "c", "d", "e"]
    assert (items[0].document, items[0].metadata) == ("kept", {"n": 2})
    assert items[0].vector.tolist() == [1, 2, 3, 4]
    assert [item.vector is None for item in items] == [False, True, True, False, False]


def test_what_is_refused_leaves_the_batches_before(any_db, notes):
    given = list(rows(2500))
    given[1234] = {**given[1234], "vector": [0, np.nan, 0, 0]}
    text = "rows 1000 to 1999 was refused, 1000 rows before it are stored; .* row 234 holds nan"
    with pytest.raises(NonFiniteError, match=text) as refused:
        notes.upsert_many(iter(given), batch=1000)
    assert refused.value.stored == 1000 == len(notes)
    given[1234]["vector"] = [1] * 4
    assert notes.upsert_many(iter(given), batch=1000, on_conflict="skip") == 1500
    assert [item.id for item in notes.iter()] == list(range(2500))


def test_an_error_of_the_iterator_is_passed_on(notes):
    def broken():
        yield from rows(250)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more") as failed:
        notes.upsert_many(broken(), batch=100)
    assert failed.value.stored == 200 == len(notes)


def test_an_error_of_progress_is_passed_on(notes):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        notes.upsert_many(rows(250), batch=100, progress=stop)
    assert stopped.value.stored == 100 == len(notes)


def test_in_the_callers_transaction(any_db, notes):
    before = dump(any_db)
    with any_db.engine.connect() as connection:
        transaction = connection.begin()
        assert notes.upsert_many(rows(250), batch=100, connection=connection) == 250
        assert len(notes) == 0
        transaction.rollback()
    assert dump(any_db) == before
    with any_db.engine.begin() as connection:
        with pytest.raises(InputError, match="'vektor' is no column") as refused:
            notes.upsert_many(
                [*rows(120), {"id": 5, "vektor": [1]}], batch=100, connection=connection
            )
        assert refused.value.stored == 120
    assert len(notes) == 120


def test_duplicates_and_conflicts(notes):
    twice = [{"id": "a", "document": "1"}, {"id": "a", "document": "2"}]
    with pytest.raises(DuplicateIdError, match="twice in one batch: rows 0 and 1") as refused:
        notes.upsert_many(twice)
    assert refused.value.stored == 0
    assert notes.upsert_many(twice, duplicates="last") == 1
    assert notes.upsert_many(twice, batch=1) == 0  # one batch after the other
    assert notes.get(["a"])[0].document == "2"
    with pytest.raises(DuplicateIdError, match="row 0: id 'a' is already stored"):
        notes.upsert_many(twice, batch=1, on_conflict="error")
    fresh = [{"id": "b", "document": "x"}, {"id": "b", "document": "y"}]
    assert notes.upsert_many([*twice, *fresh], batch=1, on_conflict="skip") == 1
    assert notes.get(["b"])[0].document == "x"


REFUSED = {
    "a strange column": ([{"id": "a", "text": "x"}], InputError, "'text' is no column"),
    "no id": ([{"vector": [1] * 4}], InputError, "there is no 'id'"),
    "no dict": ([("a", [1] * 4)], InputError, "a row is a dict such as"),
    "a dict": ({"id": "a"}, InputError, "rows must be an iterable of dicts, not dict"),
    "text": ("abc", InputError, "rows must be an iterable of dicts, not str"),
    "nothing": (None, InputError, "rows must be an iterable of dicts, not NoneType"),
    "a width": ([{"id": "a", "vector": [1] * 3}], DimensionError, "3 dimensions, expected 4"),
    "an id": ([{"id": 1.5}], InputError, "ids row 0 is a float"),
    "metadata": ([{"id": "a", "metadata": "x"}], InputError, "metadata row 0 is a str"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_bad_rows(db, case):
    given, kind, text = case
    notes = db.create_collection("notes", DIM)
    with pytest.raises(kind, match=text):
        notes.upsert_many(given)
    assert len(notes) == 0


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "10", None])
def test_bad_sizes(db, size):
    with pytest.raises(InputError, match="batch must be a whole number from 1"):
        db.create_collection("notes", DIM).upsert_many(rows(3), batch=size)


def test_a_closed_collection(db):
    notes = db.create_collection("notes", DIM)
    notes.close()
    with pytest.raises(StoreError, match="closed"):
        notes.upsert_many(rows(3))


def test_memory_is_that_of_a_batch(db):
    notes = db.create_collection("wide", 1024)
    notes.upsert(["warm"], np.ones((1, 1024)))

    def wide():
        for row in range(20_000):
            yield {"id": row, "vector": np.full(1024, row, np.float32)}

    tracemalloc.start()
    try:
        assert notes.upsert_many(wide(), batch=500) == 20_000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20 << 20  # all of them are 80 MB


def test_batches_of_wide_vectors_are_smaller(db, monkeypatch):
    monkeypatch.setattr(inside.BATCH_BYTES, 10 * 4 * DIM)
    told = []
    db.create_collection("notes", DIM).upsert_many(rows(25), progress=lambda *n: told.append(n))
    assert [done for done, _ in told] == [10, 20, 25]


def test_from_one_database_to_another(tmp_path):
    with requant.open(tmp_path / "a") as one, requant.open(tmp_path / "b") as two:
        source = one.create_collection("notes", DIM)
        source.upsert_many(rows(3000))
        source.upsert(["bare"], documents=["no vector"])
        target = two.create_collection("notes", DIM)
        copied = target.upsert_many(
            {"id": item.id, "vector": item.vector, "document": item.document}
            for item in source.iter()
        )
        assert copied == 3001
        assert [item.id for item in target.iter()] == [item.id for item in source.iter()]

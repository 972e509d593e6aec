"""Vectors for some rows of a batch and not for others; vectors that are taken away."""

from __future__ import annotations

import numpy as np
import pytest

import requant
from requant.errors import DimensionError, InputError, NonFiniteError, UnknownIdError
from requant.inputs import check_rows
from tests import inside
from tests.databases import dump, expected, held, vectors

DIM = 8
ENGINES = [
    {"engine": "faiss", "precision": "int8"},
    {"engine": "faiss", "precision": "int2"},
    {"engine": "faiss", "precision": "int8", "index_type": "hnsw"},
    {"engine": "usearch", "precision": "int8"},
    {"engine": "qdrant", "precision": "int8"},
    {"engine": "lancedb", "precision": "int8"},
]
every_engine = pytest.mark.parametrize("config", ENGINES, ids=lambda c: "-".join(c.values()))


def without(notes, ids):
    """Assert that nobody finds these ids, by any way."""
    with pytest.raises(UnknownIdError, match="has no vector"):
        notes.vectors(ids[:1])
    wanted = {item.id for item in notes.iter() if item.vector is not None}
    assert not wanted & set(ids)
    for options in ({}, {"exact": True}, {"oversample": 100}):
        found = [hit.id for hit in notes.search(np.ones(DIM), k=3000, **options)]
        assert set(found) == wanted
        assert len(found) == len(wanted)


def test_none_among_the_vectors(any_db):
    notes = any_db.create_collection("notes", DIM)
    given = vectors(4)
    assert (
        notes.upsert(
            list("abcd"), [given[0], None, given[2].tolist(), None], documents=list("wxyz")
        )
        == 4
    )
    np.testing.assert_array_equal(notes.vectors(["c", "a"]), given[[2, 0]])
    without(notes, ["b", "d"])
    assert [item.document for item in notes.get(list("abcd"))] == list("wxyz")
    # One appears, one goes, one stays.
    notes.upsert(list("bca"), (given[1], None, given[0]))
    np.testing.assert_array_equal(notes.vectors(["a", "b"]), given[:2])
    without(notes, ["c", "d"])
    assert notes.add(["e", "f"], [None, None], documents=["e", "f"]) == 2
    assert len(notes) == 6
    without(notes, ["e", "f"])


@every_engine
def test_an_index_lets_go_of_it(tmp_path, config):
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", DIM, "l2")
        notes.upsert(range(200), vectors(200))
        notes.add_index("main", **config)
        taken = list(range(50, 90))
        notes.upsert([*taken, 1000], [None] * 40 + [vectors(1, seed=1)[0]])
        assert notes.verify(deep=True).ok
        assert held(notes) == expected(notes)
        assert len(held(notes)["main"]) == 161
        without(notes, taken)
        notes.update([0, 50, 1], vectors=[None, vectors(1, seed=2)[0], None])
        without(notes, [0, 1, 51])
        assert notes.search(vectors(1, seed=2)[0], k=1)[0].id == 50
        notes.flush()
        assert held(notes) == expected(notes)
    with requant.open(tmp_path / "x") as db:
        assert db.collection("notes").verify(deep=True).ok
        without(db.collection("notes"), [0, 1, 51])


def test_before_the_index_has_followed(any_db):
    notes = any_db.create_collection("notes", DIM, "l2")
    notes.upsert(range(2000), vectors(2000))
    notes.add_index("main", engine="faiss", precision="int8")
    notes.upsert([5000, 5001], [None, vectors(1, seed=3)[0]])
    notes.upsert([5001], [None])
    notes.upsert([7], [None])
    without(notes, [7, 5000, 5001])
    assert held(notes) == expected(notes)


def test_another_process_drops_it_too(tmp_path):
    with requant.open(tmp_path / "x") as one, requant.open(tmp_path / "x") as two:
        mine = one.create_collection("notes", DIM, "l2")
        mine.upsert(range(300), vectors(300))
        mine.add_index("main", engine="faiss", precision="int8")
        mine.flush()
        theirs = two.collection("notes")
        assert theirs.search(vectors(300)[9], k=1)[0].id == 9
        mine.upsert([9], [None])
        without(theirs, [9])
        assert held(theirs) == expected(theirs)


def test_in_the_callers_transaction(any_db):
    notes = any_db.create_collection("notes", DIM, "l2")
    notes.upsert(range(20), vectors(20))
    notes.add_index("main", engine="faiss", precision="int8")
    before = dump(any_db)
    with any_db.engine.connect() as connection:
        transaction = connection.begin()
        notes.upsert([3], [None], connection=connection)
        assert notes.search(vectors(20)[3], k=1)[0].id == 3
        transaction.rollback()
    assert dump(any_db) == before
    assert notes.search(vectors(20)[3], k=1)[0].id == 3
    with any_db.engine.begin() as connection:
        notes.upsert([3], [None], connection=connection)
    without(notes, [3])


GOOD = vectors(1)[0]
REFUSED = {
    "NaN": ([None, GOOD, None, [np.nan] * DIM], NonFiniteError, "vectors row 3 holds nan"),
    "overflow": ([None, GOOD, [1e39] * DIM, None], NonFiniteError, "vectors row 2 holds inf"),
    "too wide": ([None, GOOD, None, [1.0] * 9], DimensionError, "vectors row 3: 9 dimensions"),
    "all too wide": ([None, [1] * 9, None, [1] * 9], DimensionError, "vectors row 1: 9 dim"),
    "a number": ([None, GOOD, 5, None], InputError, "vectors row 2 must have shape"),
    "text": ([None, GOOD, None, "text"], InputError, "vectors row 3"),
    "ragged": ([None, GOOD, [[1], [1, 2]], None], InputError, "vectors row 2 cannot be read"),
    "masked": (
        [None, GOOD, None, np.ma.MaskedArray(GOOD, [True] + [False] * 7)],
        InputError,
        "vectors row 3 row 0 has masked",
    ),
    "too few": ([None, GOOD], InputError, "vectors has 2 rows, ids has 4"),
    "objects": (np.array([None, 1, 2, 3], object), InputError, "vectors must hold real numbers"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("call", ["upsert", "add", "update"])
def test_what_is_refused_is_named_by_its_own_row(db, call, case):
    given, kind, text = case
    notes = db.create_collection("notes", DIM)
    notes.upsert(list("abcd"), vectors(4, seed=5))
    before = dump(db)
    with pytest.raises(kind, match=text):
        getattr(notes, call)(list("abcd"), vectors=given)
    assert dump(db) == before


def test_a_plain_array_is_taken_as_it_is():
    array = vectors(3)
    rows = check_rows(list("abc"), array, None, None, DIM)
    assert rows.present is None
    assert np.shares_memory(rows.vectors, array)
    assert check_rows(list("abc"), array.tolist(), None, None, DIM).present is None
    some = check_rows(list("abc"), [array[0], None, np.float64(array[2])], None, None, DIM)
    assert some.present.tolist() == [True, False, True]


def test_integers_as_large_as_float32_rounds_them_once():
    odd = 2**53 + 1
    with_none = check_rows(list("ab"), [[odd] * 2, None], None, None, 2).vectors[0]
    assert (
        with_none.tolist() == check_rows(list("a"), [[odd] * 2], None, None, 2).vectors[0].tolist()
    )


def test_the_log_tells_of_nothing_else(db):
    notes = db.create_collection("notes", DIM)
    notes.upsert(range(10), vectors(10))
    notes.add_index("main", engine="faiss", precision="int8")
    notes.upsert([100, 101], [None, GOOD])  # new: their keys tell of them
    with inside.connected(notes) as connection:
        changes = connection.exec_driver_sql("SELECT count(*) FROM requant_changes").scalar()
    assert changes == 0

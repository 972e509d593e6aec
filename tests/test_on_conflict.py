"""Ids that are stored already, and ids that occur twice in a batch."""

from __future__ import annotations

import threading
from uuid import UUID

import numpy as np
import pytest

import requant
from requant.errors import DuplicateIdError, InputError
from tests.databases import dump, expected, held, vectors

DIM = 3
ONE = UUID("12345678-1234-5678-1234-567812345678")


@pytest.fixture
def notes(any_db):
    collection = any_db.create_collection("notes", DIM)
    collection.upsert(list("ab"), np.eye(3)[:2], ["first", "second"], [{"n": 1}, {"n": 2}])
    return collection


def texts(collection, ids):
    return [item.document for item in collection.get(ids)]


def test_skip_leaves_what_is_stored(any_db, notes):
    assert (
        notes.upsert(list("acbd"), np.ones((4, 3)), ["w", "x", "y", "z"], on_conflict="skip") == 2
    )
    assert texts(notes, list("abcd")) == ["first", "second", "x", "z"]
    np.testing.assert_array_equal(notes.vectors(list("ab")), np.eye(3)[:2])
    assert notes.upsert(list("ab"), np.ones((2, 3)), on_conflict="skip") == 0
    assert [item.metadata for item in notes.get(list("ab"))] == [{"n": 1}, {"n": 2}]


def test_error_is_add(any_db, notes):
    before = dump(any_db)
    for act in (notes.add, lambda *given: notes.upsert(*given, on_conflict="error")):
        with pytest.raises(DuplicateIdError, match="row 1: id 'b' is already stored"):
            act(list("cb"), np.ones((2, 3)))
    assert dump(any_db) == before
    assert notes.upsert(list("cd"), np.ones((2, 3)), on_conflict="error") == 2


def test_replace_is_the_default(notes):
    assert notes.upsert(list("bc"), documents=["new", "c"], on_conflict="replace") == 1
    assert texts(notes, list("bc")) == ["new", "c"]


def test_the_last_of_duplicates_wins(any_db, notes):
    ids = ["x", 7, "x", "7", ONE, str(ONE), "y", "x"]
    given = vectors(8, DIM)
    documents = [str(row) for row in range(8)]
    before = dump(any_db)
    with pytest.raises(DuplicateIdError, match=r"'x' occurs twice .* rows 0 and 2; duplicates="):
        notes.upsert(ids, given, documents)
    assert dump(any_db) == before
    marks = [{"row": row} for row in range(8)]
    assert notes.upsert(ids, given, documents, marks, duplicates="last") == 4
    stored = [item for item in notes.iter() if item.id not in ("a", "b")]
    # Where the first one stood, of the kind that it had, with all that the last one has.
    assert [(item.id, item.document) for item in stored] == [
        ("x", "7"), (7, "3"), (ONE, "5"), ("y", "6"),
    ]  # fmt: skip
    assert [item.metadata["row"] for item in stored] == [7, 3, 5, 6]
    np.testing.assert_array_equal([item.vector for item in stored], given[[7, 3, 5, 6]])


def test_the_last_wins_among_nones(notes):
    fresh = vectors(1, DIM)[0]
    notes.upsert(["a", "b", "a", "b"], [None, fresh, fresh, None], duplicates="last")
    np.testing.assert_array_equal(notes.vectors(["a"]), [fresh])
    assert [hit.id for hit in notes.search(fresh, k=5)] == ["a"]


def test_what_loses_is_checked_all_the_same(any_db, notes):
    before = dump(any_db)
    with pytest.raises(InputError, match="documents row 0 is a int"):
        notes.upsert(["x", "x"], documents=[5, "text"], duplicates="last")
    assert dump(any_db) == before


def test_skip_and_last_together(notes):
    assert (
        notes.upsert(list("cacb"), documents=list("wxyz"), on_conflict="skip", duplicates="last")
        == 1
    )
    assert texts(notes, list("abc")) == ["first", "second", "y"]


@pytest.mark.parametrize("call", ["upsert", "upsert_texts", "upsert_many"])
@pytest.mark.parametrize("name", ["on_conflict", "duplicates"])
@pytest.mark.parametrize("value", ["ignore", None, 5, ["error"], True])
def test_other_words_are_refused(db, call, name, value):
    notes = db.create_collection("notes", DIM)
    given = {
        "upsert": (["a"], np.ones((1, 3))),
        "upsert_texts": (["a"], ["text"], lambda texts: np.ones((1, 3))),
        "upsert_many": ([{"id": "a"}],),
    }[call]
    with pytest.raises(InputError, match=f"{name} must be '.*' or 'error|{name} must be 'error'"):
        getattr(notes, call)(*given, **{name: value})
    assert len(notes) == 0


class Model:
    """Embeds, and tells what."""

    def __init__(self):
        self.seen = []

    def encode(self, texts):
        self.seen += texts
        return np.array([[len(text), 1, 0] for text in texts])


def test_what_is_skipped_is_not_embedded(any_db, notes):
    model = Model()
    ids, given = ["a", "x", "b", "x", "y"], ["1", "22", "333", "4444", "55555"]
    stored = notes.upsert_texts(ids, given, model, on_conflict="skip", duplicates="last")
    assert (stored, model.seen) == (2, ["4444", "55555"])
    assert texts(notes, ["a", "x", "y"]) == ["first", "4444", "55555"]
    np.testing.assert_array_equal(notes.vectors(["x"]), [[4, 1, 0]])
    assert notes.upsert_texts(ids[:3], given[:3], on_conflict="skip") == 0
    assert model.seen == ["4444", "55555"]


def test_what_would_be_an_error_is_one_before_anything_is_embedded(any_db, notes):
    model = Model()
    with pytest.raises(DuplicateIdError, match="row 1: id 'b' is already stored"):
        notes.upsert_texts(["x", "b"], ["1", "2"], model, on_conflict="error")
    assert model.seen == []
    assert notes.upsert_texts(["x", "y"], ["1", "2"], model, on_conflict="error") == 2


def test_what_others_store_while_texts_are_embedded_is_skipped_too(any_db, notes):
    class Slow(Model):
        def encode(self, texts):
            notes.upsert(["x"], np.ones((1, 3)), ["theirs"])
            return super().encode(texts)

    model = Slow()
    assert notes.upsert_texts(["x", "y"], ["1", "2"], model, on_conflict="skip") == 1
    assert texts(notes, ["x", "y"]) == ["theirs", "2"]
    notes.delete(["x"])
    with pytest.raises(DuplicateIdError, match="row 0: id 'x' is already stored"):
        notes.upsert_texts(["x", "z"], ["1", "2"], model, on_conflict="error")
    assert texts(notes, ["x", "z"]) == ["theirs"]


def test_texts_in_the_callers_transaction(any_db, notes):
    model = Model()
    with any_db.engine.begin() as connection:
        notes.upsert(["x"], documents=["mine"], connection=connection)
        stored = notes.upsert_texts(
            ["x", "y"], ["1", "2"], model, on_conflict="skip", connection=connection
        )
    assert (stored, model.seen, texts(notes, list("xy"))) == (1, ["2"], ["mine", "2"])


def test_every_id_is_stored_once_however_many_try(any_db, notes):
    counts = []

    def write(seed):
        counts.append(
            sum(
                notes.upsert(range(n, n + 20), vectors(20, DIM, seed), on_conflict="skip")
                for n in range(100, 300, 10)
            )
        )

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 210
    assert len(notes) == 212


def test_an_index_follows_only_what_was_written(tmp_path):
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", 8, "l2")
        notes.upsert(range(50), vectors(50))
        notes.add_index("main", engine="faiss", precision="int8")
        notes.upsert(range(40, 60), vectors(20, seed=1), on_conflict="skip")
        assert held(notes) == expected(notes)
        np.testing.assert_array_equal(notes.vectors([45]), vectors(50)[[45]])
        assert notes.verify(deep=True).ok

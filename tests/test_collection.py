"""Writing and reading items, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pickle
from uuid import UUID

import numpy as np
import pytest

from requant.errors import (
    DuplicateIdError,
    ExistsError,
    InputError,
    UnknownCollectionError,
    UnknownIdError,
    UnsupportedError,
)
from tests.databases import dump, vectors

UUID_1 = UUID("12345678-1234-5678-1234-567812345678")


@pytest.fixture
def notes(any_db):
    return any_db.create_collection("notes", dim=3)


def test_upsert_counts_the_new_ids(notes):
    assert notes.upsert(["a", "b"], np.eye(3)[:2]) == 2
    assert notes.upsert(["b", "c"], np.eye(3)[:2]) == 1
    assert len(notes) == 3
    np.testing.assert_array_equal(notes.vectors(["a", "b", "c"]), np.eye(3)[[0, 0, 1]])


def test_add_refuses_what_is_stored_and_writes_nothing(any_db, notes):
    assert notes.add(["a"], np.eye(3)[:1], ["first"]) == 1
    before = dump(any_db)
    with pytest.raises(DuplicateIdError, match="'a' is already stored"):
        notes.add(["b", "a"], np.eye(3)[:2], ["second", "third"])
    assert dump(any_db) == before


def test_columns_that_are_not_given_stay(notes):
    notes.upsert(["a"], [[1, 2, 3]], ["text"], [{"n": 1}])
    notes.upsert(["a"], metadata=[{"n": 2}])
    assert notes.get(["a"])[0].document == "text"
    notes.upsert(["a"], documents=["other"])
    notes.upsert(["a"], [[4, 5, 6]])
    (item,) = notes.get(["a"])
    assert (item.document, item.metadata) == ("other", {"n": 2})
    assert notes.vectors(["a"]).tolist() == [[4, 5, 6]]


def test_none_in_a_column_that_is_given_clears_it(notes):
    notes.upsert(["a"], [[1, 2, 3]], ["text"], [{"n": 1}])
    notes.upsert(["a"], documents=[None], metadata=[None])
    (item,) = notes.get(["a"])
    assert (item.document, item.metadata) == (None, None)


def test_get_keeps_the_order_asked_and_skips_what_is_not_there(notes):
    notes.upsert(["a", "b", "c"], np.eye(3))
    assert [item.id for item in notes.get(["c", "x", "a", "c"])] == ["c", "a", "c"]
    assert notes.get([]) == []
    assert notes.get(["c"])[0].vector is None


def test_vectors_keep_the_order_asked_and_every_bit(notes):
    given = vectors(5, 3) * np.float32(1e-30)
    given[2] = [3.4e38, -0.0, 1e-45]
    notes.upsert(range(5), given)
    np.testing.assert_array_equal(notes.vectors([4, 2, 2, 0]), given[[4, 2, 2, 0]])
    assert np.signbit(notes.vectors([2])[0, 1])
    assert notes.vectors([]).shape == (0, 3)


def test_vectors_of_an_unknown_id(notes):
    notes.upsert(["a"], np.eye(3)[:1])
    notes.upsert(["bare"], documents=["no vector"])
    with pytest.raises(UnknownIdError, match="no item 'x' in collection 'notes'"):
        notes.vectors(["a", "x"])
    with pytest.raises(UnknownIdError, match="'bare' of collection 'notes' has no vector"):
        notes.vectors(["bare", "a"])


def test_delete_by_id(notes):
    notes.upsert(["a", "b", "c"], np.eye(3))
    assert notes.delete(["b", "x"]) == 1
    assert notes.delete(["b"]) == 0
    assert notes.delete([]) == 0
    assert [item.id for item in notes.iter()] == ["a", "c"]
    assert notes.upsert(["b"], [[0, 0, 1]]) == 1


def test_delete_by_filter(notes):
    notes.upsert(range(6), np.eye(3)[[0, 1, 2] * 2], metadata=[{"n": n} for n in range(6)])
    assert notes.delete(where={"n": {"$gte": 4}}) == 2
    assert notes.delete(where={"n": {"$gte": 4}}) == 0
    assert len(notes) == 4


def test_many_rows_in_one_call(notes):
    n = 25_000
    given = vectors(n, 3)
    notes.upsert(range(n), given)
    np.testing.assert_array_equal(notes.vectors(range(n)), given)
    assert len(notes.get(range(n))) == n
    assert notes.delete(range(0, n, 2)) == n // 2
    assert len(notes) == n // 2


@pytest.mark.parametrize(
    ("given", "back"),
    [
        ("text", "text"),
        ("7", "7"),
        (7, 7),
        (-3, -3),
        (10**40, 10**40),
        (np.int64(9), 9),
        (np.uint8(9), 9),
        (np.str_("x"), "x"),
        (UUID_1, UUID_1),
        ("ünï 文字 🙂", "ünï 文字 🙂"),
        ("zz' OR '1'='1", "zz' OR '1'='1"),
        ("new\nline", "new\nline"),
        ("x" * 1024, "x" * 1024),
    ],
)
def test_ids_come_back_as_they_were(notes, given, back):
    notes.upsert([given, "beside"], np.eye(3)[:2])
    found = notes.get([given])[0].id
    assert (found, type(found)) == (back, type(back))
    assert notes.search([1, 0, 0], k=1)[0].id == back
    assert notes.search_many([[1, 0, 0]], k=1).ids == [[back]]
    assert next(notes.iter()).id == back
    assert notes.delete([given]) == 1


def test_an_integer_and_its_text_are_one_id(notes):
    notes.upsert([7], [[1, 0, 0]])
    notes.upsert(["7"], [[0, 1, 0]])
    assert len(notes) == 1
    assert notes.vectors([7]).tolist() == [[0, 1, 0]]
    assert notes.get(["7"])[0].id == 7


METADATA = {
    "text": "ünï 文字 🙂 ' \" \\ \n \\u0000",
    "big": 2**70,
    "float": 0.1,
    "tiny": 5e-324,
    "null": None,
    "list": [1, [2, {"deep": []}]],
    "": "empty key",
    "a.b": {"c": True},
}


def test_metadata_and_documents_come_back_as_they_were(notes):
    notes.upsert(["a", "b"], documents=["", "ünï 🙂 \r\n\t"], metadata=[METADATA, {}])
    first, second = notes.get(["a", "b"])
    assert first.metadata == METADATA
    assert list(first.metadata) == list(METADATA)
    assert type(first.metadata["big"]) is int
    assert second.metadata == {}
    assert [first.document, second.document] == ["", "ünï 🙂 \r\n\t"]


def test_iter_yields_everything_in_order_of_insertion(notes):
    given = vectors(10, 3)
    notes.upsert([str(9 - i) for i in range(10)], given, metadata=[{"n": i} for i in range(10)])
    notes.upsert(["bare"], documents=["no vector"])
    items = list(notes.iter(batch=3))
    assert [item.id for item in items] == [*"9876543210", "bare"]
    np.testing.assert_array_equal([item.vector for item in items[:10]], given)
    assert items[10].vector is None
    assert items[4].metadata == {"n": 4}


def test_iter_sees_one_snapshot(notes):
    notes.upsert(range(10), vectors(10, 3))
    items = notes.iter(batch=2)
    seen = [next(items).id]
    notes.upsert(range(10, 20), vectors(10, 3))
    notes.delete([5])
    seen += [item.id for item in items]
    assert seen == list(range(10))


def test_an_iter_that_is_left_does_no_harm(notes):
    notes.upsert(range(10), vectors(10, 3))
    for item in notes.iter(batch=2):
        assert item.id == 0
        break
    notes.upsert(range(10, 20), vectors(10, 3))
    assert len(notes) == 20
    assert len(list(notes.iter())) == 20


def test_documents_without_vectors_are_stored_and_not_found(notes):
    notes.upsert(["bare"], documents=["no vector"])
    assert notes.search([1, 0, 0]) == []
    notes.upsert(["a"], [[1, 0, 0]])
    assert [hit.id for hit in notes.search([1, 0, 0])] == ["a"]
    notes.upsert(["bare"], [[1, 0, 0]])
    assert [hit.id for hit in notes.search([1, 0, 0])] == ["bare", "a"]


def test_an_empty_batch_is_refused_and_changes_nothing(any_db, notes):
    before = dump(any_db)
    empty = ({}, {"vectors": [], "documents": [], "metadata": []}, {"vectors": np.empty((0, 3))})
    for columns in empty:
        with pytest.raises(InputError, match="the batch is empty"):
            notes.upsert([], **columns)
    assert notes.get([]) == []
    assert notes.vectors([]).shape == (0, 3)
    assert notes.delete([]) == 0
    assert notes.search_many(np.empty((0, 3))).ids == []
    assert dump(any_db) == before


def test_collections_are_found_by_name_and_kept_apart(any_db, notes):
    other = any_db.create_collection("other", dim=2, metric="l2")
    notes.upsert(["a"], [[1, 0, 0]])
    other.upsert(["a", "b"], [[1, 0], [0, 1]])
    assert any_db.collections() == ["notes", "other"]
    assert any_db.collection("other") is other
    assert (len(notes), len(other)) == (1, 2)
    assert (other.name, other.dim, other.metric) == ("other", 2, "l2")
    other.delete(["a"])
    assert len(notes) == 1
    assert [hit.id for hit in other.search([1, 0])] == ["b"]


def test_a_collection_is_made_once(any_db, notes):
    with pytest.raises(ExistsError, match=r"'notes' already exists, with 3 dimensions .*'cosine'"):
        any_db.create_collection("notes", dim=3)
    assert any_db.create_collection("notes", dim=3, exist_ok=True) is notes
    with pytest.raises(ExistsError):
        any_db.create_collection("notes", dim=4, exist_ok=True)
    with pytest.raises(ExistsError):
        any_db.create_collection("notes", dim=3, metric="ip", exist_ok=True)


def test_a_dropped_collection_is_gone_with_everything_in_it(any_db):
    empty = dump(any_db)
    notes = any_db.create_collection("notes", dim=3)
    notes.upsert(["a", "b"], np.eye(3)[:2], ["x", "y"])
    notes.add_index("main", engine="usearch", precision="float32")
    notes.delete(["a"])
    notes.flush()
    any_db.drop_collection("notes")
    after = dump(any_db)
    assert after.pop("requant.json")  # the folder itself stays ours
    assert {name: rows for name, rows in after.items() if "sequence" not in name} == {
        name: rows for name, rows in empty.items() if "sequence" not in name
    } | {"requant_quantizers": after["requant_quantizers"]}
    with pytest.raises(UnknownCollectionError, match=r"no collection 'notes' here; .* none yet"):
        any_db.drop_collection("notes")
    again = any_db.create_collection("notes", dim=5)
    assert len(again) == 0
    assert again.search(np.ones(5)) == []


def test_stats_and_repr(any_db, notes):
    notes.upsert(["a", "b"], np.eye(3)[:2])
    stats = notes.stats()
    assert (stats.name, stats.dim, stats.metric, stats.items) == ("notes", 3, "cosine", 2)
    assert stats.vector_bytes == 24
    assert stats.indexes == []
    assert repr(notes) == "<Collection 'notes': 3 dimensions, cosine>"
    assert repr(any_db).startswith("<Database ")


def test_verify_finds_nothing_wrong(notes):
    notes.upsert(["a", "b"], np.eye(3)[:2])
    notes.add_index("main", engine="usearch", precision="int8")
    report = notes.verify(deep=True)
    assert report.ok
    assert len(report.checked) == 2


def test_what_was_written_is_there_after_reopening(any_db, notes, tmp_path):
    import requant

    notes.upsert(["a", "b"], np.eye(3)[:2], ["first", "second"])
    with requant.open(any_db.engine.url.render_as_string(False), folder=tmp_path / "i") as again:
        found = again.collection("notes").search([0, 1, 0], k=1)
        assert (found[0].id, found[0].document) == ("b", "second")
        assert found[0].score == pytest.approx(1)


def test_nothing_is_pickled_into_another_process(db):
    notes = db.create_collection("notes", 8)
    for one in (db, notes):
        with pytest.raises(UnsupportedError, match=r"not pickled: .* requant\.open"):
            pickle.dumps(one)

"""Items changed where they stand: metadata merged, documents and vectors by id."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

import requant
from requant.errors import (
    DimensionError,
    DuplicateIdError,
    FilterError,
    InputError,
    NonFiniteError,
    ReadOnlyError,
    UnknownCollectionError,
    UnknownIdError,
)
from requant.inputs import MAX_DEPTH
from requant.patches import check_patch, merged
from tests import inside
from tests.databases import dump, expected, held, vectors


@pytest.fixture
def notes(any_db):
    collection = any_db.create_collection("notes", 8, "l2")
    collection.upsert(
        range(6),
        vectors(6),
        [f"text {n}" for n in range(6)],
        [{"n": n, "a": {"b": n}} for n in range(6)],
    )
    return collection


def metadata_of(collection, *ids):
    return [item.metadata for item in collection.get(ids)]


def stored_text(collection, id_):
    """Return the metadata of an item as the database holds them."""
    with inside.connected(collection) as connection:
        (text,) = connection.execute(
            sa.text("SELECT metadata FROM requant_items WHERE ext_id = :id"), {"id": str(id_)}
        ).one()
    return text


def store_text(db, id_, text):
    """Let the database hold metadata that Python would not write."""
    with db.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE requant_items SET metadata = :text WHERE ext_id = :id"),
            {"text": text, "id": str(id_)},
        )


def test_one_patch_for_all_ids(notes):
    assert notes.update([1, "3"], metadata={"n": "new", "a": {"c": [1]}}) == 2
    assert metadata_of(notes, 0, 1, 3) == [
        {"n": 0, "a": {"b": 0}},
        {"n": "new", "a": {"b": 1, "c": [1]}},
        {"n": "new", "a": {"b": 3, "c": [1]}},
    ]
    assert [item.document for item in notes.get([1, 3])] == ["text 1", "text 3"]


def test_a_patch_for_each_id(notes):
    notes.upsert(["bare"], documents=["no metadata"])
    patches = [{"n": None}, None, {}, {"x": {"y": None}}]
    assert notes.update([0, 1, 2, "bare"], metadata=patches) == 4
    after = [{"a": {"b": 0}}, None, {"n": 2, "a": {"b": 2}}, {"x": {}}]
    assert metadata_of(notes, 0, 1, 2, "bare") == after


def test_nothing_to_remove_leaves_an_item_without_metadata(notes):
    notes.upsert(["bare"], documents=["no metadata"])
    assert notes.update(["bare"], metadata={"n": None}) == 1
    assert metadata_of(notes, "bare") == [None]


def test_documents_and_vectors_by_id(notes):
    fresh = vectors(2, seed=1)
    assert notes.update([4, 5], documents=["new", None], vectors=fresh) == 2
    assert [item.document for item in notes.get([3, 4, 5])] == ["text 3", "new", None]
    np.testing.assert_array_equal(notes.vectors([4, 5]), fresh)
    assert metadata_of(notes, 4) == [{"n": 4, "a": {"b": 4}}]
    assert notes.update([4], metadata={"n": 0}, documents=["x"], vectors=[None]) == 1
    (item,) = notes.get([4])
    assert (item.document, item.metadata["n"]) == ("x", 0)
    with pytest.raises(UnknownIdError, match="'4' of collection 'notes' has no vector"):
        notes.vectors([4])


def test_by_filter(notes):
    assert notes.update(where={"n": {"$lt": 4}}, metadata={"n": 9, "low": True}) == 4
    assert notes.update(where={"n": 9}, metadata={"low": None}) == 4
    assert metadata_of(notes, 0, 5) == [{"n": 9, "a": {"b": 0}}, {"n": 5, "a": {"b": 5}}]
    assert notes.update(where={"n": "nobody"}, metadata={"n": 1}) == 0


def test_a_patch_that_makes_its_own_filter_true_of_others_reaches_each_item_once(any_db):
    notes = any_db.create_collection("many", 2)
    notes.upsert(range(1000), metadata=[{"n": n} for n in range(1000)])
    assert notes.update(where={"n": {"$gte": 500}}, metadata={"n": 0, "seen": True}) == 500
    assert notes.update(where={"n": 0}, metadata={"seen": None}) == 501
    assert notes.update(where={"seen": True}, metadata={}) == 0


def test_what_a_patch_does_not_touch_stays_as_it_was_written(any_db, notes):
    odd = (
        '{ "big":1e400,"int":12345678901234567890123,"a":{"tiny" : 1.10,"gone":1}, "é":"\\u00e9" }'
    )
    store_text(any_db, 0, odd)
    assert notes.update([0], metadata={"a": {"gone": None, "new": 1}, "é": "e"}) == 1
    kept = '{"big":1e400,"int":12345678901234567890123,"a":{"tiny":1.10,"new":1},"é":"e"}'
    assert stored_text(notes, 0) == kept


def test_big_numbers_of_a_patch_are_exact(notes):
    patch = {"int": 2**80, "float": 0.1 + 0.2, "list": [2**70, 1e300]}
    notes.update(where={"n": 1}, metadata=patch)
    assert metadata_of(notes, 1) == [{"n": 1, "a": {"b": 1}, **patch}]


KEYS = st.sampled_from("abc\"'é\\")
LETTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(LETTERS, max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=4)


def by_the_rfc(target, patch):
    """Return what RFC 7396 says, word for word."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = by_the_rfc(target.get(name), value)
    return target


@given(OBJECTS, OBJECTS, st.sampled_from([None, 1]))
def test_merging_is_what_the_rfc_says(target, patch, indent):
    text = merged(json.dumps(target, indent=indent), check_patch(patch))
    assert json.loads(text) == by_the_rfc(target, patch)
    assert list(json.loads(text)) == list(by_the_rfc(target, patch))


def deep(levels):
    value = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_depth_after_merging(notes):
    notes.update([0], metadata=deep(MAX_DEPTH))
    other = deep(MAX_DEPTH - 1)
    notes.update([0], metadata={"a": other})
    inner = metadata_of(notes, 0)[0]
    for _ in range(MAX_DEPTH - 1):
        inner = inner["a"]
    assert inner in ({}, {"b": 0})
    with pytest.raises(InputError, match=f"metadata is nested more than {MAX_DEPTH} levels deep"):
        notes.update([0], metadata=deep(MAX_DEPTH + 1))


HOSTILE = {
    "SQL": {"'; DROP TABLE requant_items; --": "'); DELETE FROM requant_items; --"},
    "quotes": {'"': "'", "'": '"', '\\"': '\\\\"', "`": "$$"},
    "a path": {"$.n": 1, "a.b": 2, "[0]": 3, "": 4},
    "a megabyte": {"x" * 2**20: "y" * 2**20},
    "format": {"%s": "{}", "?": ":id", "%(x)s": "%"},
    "surrogates in pairs": {"\U0001f600": "\U0001f600"},
}


@pytest.mark.parametrize("patch", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_patch_is_data(notes, patch):
    assert notes.update(where={"n": 0}, metadata=patch) == 1
    assert metadata_of(notes, 0) == [{"n": 0, "a": {"b": 0}, **patch}]
    assert metadata_of(notes, 1) == [{"n": 1, "a": {"b": 1}}]
    notes.update([0], metadata=dict.fromkeys(patch))
    assert metadata_of(notes, 0) == [{"n": 0, "a": {"b": 0}}]


REFUSED = {
    "a NUL": ({"a": "x\0"}, "metadata holds a NUL"),
    "a NUL in a key": ({"a\0": {"b": None}}, "metadata holds a NUL"),
    "a key that is no text": ({"a": {7: 1}}, "metadata has the key 7"),
    "not a number": ({"a": float("nan")}, "metadata is not JSON"),
    "a lone surrogate": ({"a": "\ud800"}, "metadata is not valid Unicode"),
    "a set": ({"a": {1, 2}}, "metadata is not JSON"),
    "text": ("text", "metadata must be a list with an entry a row, not str"),
    "too few": ([{}], "metadata has 1 rows, ids has 2"),
    "no dict": ([{}, 5], "metadata row 1 is a int: give a dict or None"),
    "a NUL in a row": ([{}, {"a": "\0"}], "metadata row 1 holds a NUL"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_a_patch_that_cannot_be_stored_is_refused(any_db, notes, case):
    patch, text = case
    before = dump(any_db)
    with pytest.raises(InputError, match=text):
        notes.update([0, 1], metadata=patch)
    if isinstance(patch, dict):
        with pytest.raises(InputError, match=text):
            notes.update(where={"n": 0}, metadata=patch)
    assert dump(any_db) == before


CALLS = {
    "nothing": ({}, InputError, "give either ids or a non-empty where"),
    "both": ({"ids": [1], "where": {"n": 1}, "metadata": {}}, InputError, "give either ids"),
    "an empty filter": ({"where": {}, "metadata": {}}, InputError, "give either ids"),
    "no change": ({"ids": [1]}, InputError, "there is nothing to change"),
    "documents by filter": ({"where": {"n": 1}, "documents": ["x"]}, InputError, "go by ids"),
    "vectors too": ({"where": {"n": 1}, "metadata": {}, "vectors": [[1]]}, InputError, "go by ids"),
    "patches by filter": ({"where": {"n": 1}, "metadata": [{}]}, InputError, "metadata is a list"),
    "a strange filter": ({"where": {"$x": 1}, "metadata": {}}, FilterError, "x"),
    "twice": ({"ids": [1, "1"], "metadata": {}}, DuplicateIdError, "'1' occurs twice"),
    "unknown": ({"ids": [1, "x"], "metadata": {"n": 5}}, UnknownIdError, "no item 'x' .row 1."),
    "unknown, documents": ({"ids": ["x"], "documents": ["y"]}, UnknownIdError, "no item 'x'"),
    "NaN": ({"ids": [1, 2], "vectors": [None, [np.nan] * 8]}, NonFiniteError, "vectors row 1"),
    "too wide": ({"ids": [1, 2], "vectors": [None, [1] * 9]}, DimensionError, "vectors row 1: 9"),
    "one id": ({"ids": "x", "metadata": {}}, InputError, "wrap one in a list"),
}


@pytest.mark.parametrize("case", CALLS.values(), ids=CALLS.keys())
def test_a_call_that_cannot_be_followed_writes_nothing(any_db, notes, case):
    arguments, kind, text = case
    before = dump(any_db)
    with pytest.raises(kind, match=text):
        notes.update(**arguments)
    assert dump(any_db) == before


def test_no_ids_are_no_error(notes):
    assert notes.update([], metadata={"a": 1}) == 0
    assert notes.update(iter([2]), metadata={"a": 1}) == 1


def test_an_index_has_nothing_to_follow(any_db, notes):
    notes.add_index("main", engine="faiss", precision="int8")
    notes.flush()
    before = held(notes)
    notes.update(range(6), metadata={"n": 7}, documents=["x"] * 6)
    notes.update(where={"n": 7}, metadata={"m": 1})
    with inside.connected(notes) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM requant_changes")) == 0
    assert held(notes) == before
    (hit,) = notes.search(vectors(6)[3], k=1, where={"n": 7})
    assert (hit.id, hit.document, hit.metadata) == (3, "x", {"n": 7, "a": {"b": 3}, "m": 1})
    notes.update([3], vectors=vectors(1, seed=9))
    assert held(notes) == expected(notes) != before
    assert notes.verify(deep=True).ok


def test_in_the_callers_transaction(any_db, notes):
    before = dump(any_db)
    with any_db.engine.connect() as connection:
        transaction = connection.begin()
        notes.update([1], metadata={"n": "in"}, vectors=[None], connection=connection)
        assert notes.update(where={"n": "in"}, metadata={"m": 1}, connection=connection) == 1
        with pytest.raises(UnknownIdError):
            notes.update([2, "x"], metadata={"n": "lost"}, connection=connection)
        (item,) = notes.get([1], connection=connection)
        assert item.metadata == {"n": "in", "a": {"b": 1}, "m": 1}
        assert metadata_of(notes, 1) == [{"n": 1, "a": {"b": 1}}]
        transaction.rollback()
    assert dump(any_db) == before


def test_a_failure_in_the_middle_takes_all_of_it_back(any_db, notes):
    many = range(100, 700)
    notes.upsert(many, metadata=[{"k": 1}] * 600)
    store_text(any_db, 650, '{"k": 1')
    before = dump(any_db)
    with pytest.raises(requant.RequantError, match="stored metadata are not JSON"):
        notes.update(many, metadata={"k": 2}, documents=["new"] * 600)
    assert dump(any_db) == before
    with any_db.engine.begin() as connection:
        notes.update([0], metadata={"n": "stays"}, connection=connection)
        with pytest.raises(requant.RequantError, match="stored metadata are not JSON"):
            notes.update(many, metadata={"k": 2}, connection=connection)
    assert stored_text(notes, 100) == '{"k":1}'
    assert metadata_of(notes, 0) == [{"n": "stays", "a": {"b": 0}}]


def test_of_a_collection_that_is_gone_or_only_read(tmp_path):
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", 2)
        notes.upsert(["a"], metadata=[{"n": 1}])
        with requant.open(tmp_path / "x", read_only=True) as reading:
            for act in (
                lambda only: only.update(["a"], metadata={}),
                lambda only: only.update(where={"n": 1}, metadata={}),
                lambda only: only.clear(),
                lambda only: only.upsert(["a"], metadata=[{}], on_conflict="skip"),
                lambda only: only.upsert_texts(["a"], ["x"], len, on_conflict="skip"),
                lambda only: only.upsert_many([{"id": "a", "document": "x"}]),
            ):
                with pytest.raises(ReadOnlyError):
                    act(reading.collection("notes"))
        db.drop_collection("notes")
        with pytest.raises(UnknownCollectionError):
            notes.update(["a"], metadata={})
        with pytest.raises(UnknownCollectionError):
            notes.clear()

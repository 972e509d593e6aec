"""Indexed fields: kept in step by every write, on both databases; what is wrong is told by name."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy as sa

import requant
from requant import (
    ExistsError,
    FieldInfo,
    FilterError,
    InputError,
    StoreError,
    UnknownFieldError,
)
from requant.store import Reader
from tests import inside
from tests.databases import vectors

N = 40


def rows(n=N):
    return [{"n": i, "word": "even" if i % 2 == 0 else "odd", "tags": [i % 3]} for i in range(n)]


def ids(notes, **where):
    return [item.id for item in notes.iter(where=where)]


def listed(db):
    """Return how many lists of keys are stored."""
    with db.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM requant_values").scalar()


@pytest.fixture
def notes(any_db):
    notes = any_db.create_collection("notes", 8, index_fields=["n", "word"])
    notes.upsert(range(N), vectors(N), metadata=rows())
    inside.number(any_db)
    return notes


def test_fields_are_told_by_name(notes):
    notes.index_field("tags")
    assert notes.fields == [
        FieldInfo("n", None, True),
        FieldInfo("tags", None, True),
        FieldInfo("word", None, True),
    ]
    notes.unindex_field("n")
    assert [field.name for field in notes.fields] == ["tags", "word"]


def test_the_index_is_what_is_asked(notes, any_db):
    """What is listed decides: were it the items, a list that is wrong would do no harm."""
    with any_db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE requant_items SET metadata = NULL")
    assert ids(notes, n=7) == [7]
    assert [hit.id for hit in notes.search(vectors(1)[0], where={"n": 7})] == [7]
    assert notes.delete(where={"n": {"$gt": 30}}) == 9


def test_writes_keep_them_in_step(notes):
    notes.upsert([3, N], metadata=[{"n": 99}, {"n": 99, "word": "new"}])
    assert ids(notes, n=99) == [3, N]
    assert ids(notes, n=3) == []
    assert ids(notes, word="new") == [N]
    notes.upsert([3], metadata=[None])
    assert ids(notes, n=99) == [N]
    assert ids(notes, n=None) == [3]
    assert notes.delete([N, 4]) == 2
    assert ids(notes, n={"$in": [4, 99]}) == []
    assert notes.delete(where={"word": "odd"}) == N // 2 - 1
    assert ids(notes, word={"$ne": "even"}) == [3]
    notes.upsert([5], vectors(1))
    assert ids(notes, word=None) == [3, 5]


def test_updates_and_clear_keep_them_in_step(notes, any_db):
    assert notes.update([3, 4], metadata={"n": 99}) == 2
    assert notes.update(where={"word": "odd", "n": {"$lt": 6}}, metadata={"n": None}) == 2
    assert ids(notes, n=99) == [3, 4]
    assert ids(notes, n=None) == [1, 5]
    assert notes.update([4], metadata=[{"word": "odd"}]) == 1
    assert ids(notes, n=99, word="odd") == [3, 4]
    notes.upsert([3, "new"], metadata=[{"n": 1}, {"n": 1}], on_conflict="skip")
    assert ids(notes, n=1) == ["new"]
    assert notes.clear() == N + 1
    assert listed(any_db) == 0
    notes.upsert([7], metadata=[{"n": 7}])
    assert ids(notes, n=7) == [7]


def test_every_verb_asks_them(notes, any_db):
    with any_db.engine.begin() as connection:
        # What is listed decides, and not what the items say by now.
        connection.exec_driver_sql("UPDATE requant_items SET metadata = '{\"n\":1000}'")
    where = {"word": "odd", "n": {"$gte": 10}}
    odd = list(range(11, N, 2))
    assert notes.count(where) == len(odd)
    assert notes.ids(where) == odd
    assert notes.ids(where, limit=3) == odd[:3]
    page = notes.get(where=where, limit=4)
    assert [item.id for item in page] == odd[:4]
    assert [item.id for item in notes.get(where=where, limit=4, after=page[-1])] == odd[4:8]
    assert [item.id for item in notes.get([11, 12, 1, 13], where=where)] == [11, 13]
    assert [(one.value, one.count) for one in notes.distinct("n", where)] == [(1000, len(odd))]
    assert notes.extent("n", where).types == {"number": len(odd)}
    with any_db.engine.connect() as connection:
        assert notes.count(where, connection=connection) == len(odd)
        assert notes.ids(where, limit=1, connection=connection) == [11]


def test_vectors_and_documents_alone_change_nothing(notes, any_db):
    before = listed(any_db)
    notes.upsert([3, 4], vectors(2), documents=["a", "b"])
    assert listed(any_db) == before
    assert ids(notes, n=3) == [3]


def test_a_field_of_items_that_are_there(notes):
    seen = []
    notes.index_field("tags", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(N, N)]
    assert ids(notes, tags={"$contains": 2}) == list(range(2, N, 3))
    notes.upsert([0], metadata=[{"tags": [2, "two"]}])
    assert ids(notes, tags={"$contains": "two"}) == [0]


def test_the_last_field_leaves_nothing_behind(notes, any_db):
    assert listed(any_db)
    for name in ("n", "word"):
        notes.unindex_field(name)
    assert listed(any_db) == 0
    assert ids(notes, n=7) == [7]


def test_a_collection_that_is_dropped_leaves_nothing_behind(notes, any_db):
    any_db.drop_collection("notes")
    assert listed(any_db) == 0
    again = any_db.create_collection("notes", 8)
    assert again.fields == []


def test_what_is_taken_back_was_never_listed(notes, any_db):
    with any_db.engine.connect() as connection:
        transaction = connection.begin()
        notes.upsert([3], metadata=[{"n": 99}], connection=connection)
        nested = connection.begin_nested()
        notes.upsert([4], metadata=[{"n": 99}], connection=connection)
        assert notes.delete(where={"n": 99}, connection=connection) == 2
        nested.rollback()
        assert ids(notes, n=99) == []  # others see nothing of it
        assert notes.delete(where={"n": 99}, connection=connection) == 1
        transaction.rollback()
    assert ids(notes, n=3) == [3]
    assert ids(notes, n=4) == [4]


def test_a_transaction_of_ones_own_comes_to_stay(notes, any_db):
    with any_db.engine.begin() as connection:
        notes.upsert([3], metadata=[{"n": 99}], connection=connection)
    assert ids(notes, n=99) == [3]


def test_another_handle_learns_of_a_field_at_its_next_write_and_search(tmp_path):
    with requant.open(tmp_path / "x.db") as one, requant.open(tmp_path / "x.db") as other:
        notes = one.create_collection("notes", 8)
        theirs = other.collection("notes")
        theirs.upsert(range(N), metadata=rows())
        notes.index_field("n")
        theirs.upsert([N], metadata=[{"n": 7}])
        assert ids(notes, n=7) == ids(theirs, n=7) == [7, N]
        notes.unindex_field("n")
        theirs.upsert([N], metadata=[{"n": 8}])
        notes.index_field("n")
        assert ids(notes, n=8) == ids(theirs, n=8) == [8, N]
        assert [field.name for field in theirs.fields] == ["n"]


def test_parts_of_a_large_collection(any_db):
    """So many that there are several parts, and lists of bits as well as of places."""
    n = 40_000
    notes = any_db.create_collection("many", 2, index_fields=["flag", "n", "tenth"])
    some = [{"flag": i % 2 == 0, "n": i, "tenth": f"t{i % 10}"} for i in range(n)]
    for first in range(0, n, 7000):
        notes.upsert(range(first, min(first + 7000, n)), metadata=some[first : first + 7000])
    assert ids(notes, flag=True) == list(range(0, n, 2))
    assert ids(notes, flag=True, tenth="t3") == []
    assert ids(notes, flag=True, n={"$gte": 15_300, "$lt": 15_400}) == list(
        range(15_300, 15_400, 2)
    )
    assert ids(notes, tenth={"$ne": "t1"}) == [i for i in range(n) if i % 10 != 1]
    assert notes.delete(where={"n": {"$lt": 20_000}, "tenth": "t4"}) == 2000
    notes.upsert([8, 30_000], metadata=[{"flag": False}, {"tenth": "t4"}])
    assert ids(notes, tenth="t4") == [
        i for i in range(n) if (i >= 20_000 and i % 10 == 4) or i == 30_000
    ]
    assert len(ids(notes, flag=False)) == n // 2 + 1
    assert ids(notes, n=None) == [8, 30_000]


@pytest.mark.parametrize("name", ["it's", "%s", "a b", "ключ", "v1\\.0", "a.b.c", "; DROP TABLE x"])
def test_any_name_that_a_filter_has_is_data(any_db, name):
    notes = any_db.create_collection("notes", 2, index_fields=[name])
    *outer, last = name.replace("\\.", "\0").split(".")
    entry = {last.replace("\0", "."): 1}
    for key in reversed(outer):
        entry = {key: entry}
    notes.upsert([1, 2], metadata=[entry, {"other": 1}])
    assert ids(notes, **{name: 1}) == [1]
    assert [field.name for field in notes.fields] == [name]


@pytest.mark.parametrize("name", ["", "$id", 'a"b', "a..b", "a\0b", 7, None, "x" * 1001])
def test_no_name_that_a_filter_has_not(any_db, name):
    notes = any_db.create_collection("notes", 2)
    with pytest.raises(InputError):
        notes.index_field(name)
    with pytest.raises(InputError):
        any_db.create_collection("others", 2, index_fields=[name])
    assert any_db.collections() == ["notes"]


def test_refusals(notes, any_db):
    with pytest.raises(ExistsError, match="kind=None"):
        notes.index_field("n", kind="datetime")
    with pytest.raises(InputError, match="kind"):
        notes.index_field("n", kind="number")
    with pytest.raises(UnknownFieldError, match="'n', 'word'"):
        notes.unindex_field("year")
    with pytest.raises(FilterError):
        notes.unindex_field("")
    with pytest.raises(InputError, match="list of fields"):
        any_db.create_collection("others", 2, index_fields="year")
    with pytest.raises(InputError, match="at most 64"):
        any_db.create_collection("others", 2, index_fields=[f"f{i}" for i in range(65)])
    notes.index_field("n")
    for i in range(62):
        notes.index_field(f"f{i}")
    with pytest.raises(InputError, match="at most 64"):
        notes.index_field("one more")


def test_a_collection_that_exists_gets_its_fields(any_db):
    any_db.create_collection("notes", 2, index_fields=["a"])
    notes = any_db.create_collection("notes", 2, exist_ok=True, index_fields=["a", "b"])
    assert [field.name for field in notes.fields] == ["a", "b"]


def write_as_schema_4(db):
    """Write as a requant that had the database open, and keeps nothing in step."""
    with db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE requant_collections SET seq = seq + 1")
        connection.execute(
            sa.text("UPDATE requant_items SET metadata = :new WHERE ext_id = '3'"),
            {"new": '{"n":7}'},
        )


def test_a_requant_that_knows_no_fields_is_found_out(notes, any_db):
    write_as_schema_4(any_db)
    assert ids(notes, n=7) == [3, 7]
    notes.upsert([4], metadata=[{"n": 7}])
    assert ids(notes, n=7) == [3, 4, 7]
    assert notes.fields == []
    notes.index_field("n")
    assert [field.name for field in notes.fields] == ["n", "word"]
    assert ids(notes, n=7) == [3, 4, 7]
    assert ids(notes, word="odd") == [i for i in range(1, N, 2) if i != 3]


def test_to_forget_a_field_does_not_set_the_others_right(notes, any_db):
    write_as_schema_4(any_db)
    notes.unindex_field("word")
    assert ids(notes, n=7) == [3, 7]
    notes.index_field("n")
    assert ids(notes, n=7) == [3, 7]


def test_a_requant_that_knows_no_fields_writes_while_one_is_built(notes, any_db, monkeypatch):
    monkeypatch.setattr(inside.FIELD_BATCH, 4)

    def write(done, total):
        if done == 8:
            write_as_schema_4(any_db)

    with pytest.raises(StoreError, match="older requant"):
        notes.index_field("own", progress=write)
    assert ids(notes, n=7) == [3, 7]
    notes.index_field("own")
    assert ids(notes, n=7) == [3, 7]


@pytest.mark.parametrize("times", [1, 2])
def test_a_read_in_a_transaction_of_ones_own_is_of_one_state(notes, any_db, monkeypatch, times):
    """Others write between what the lists say and the items: each statement sees that."""
    matching, left = Reader.matching, [times]

    def overtaken(self, *asked):
        keys = matching(self, *asked)
        if left[0]:
            left[0] -= 1
            notes.update(range(N), metadata={"n": left[0] + 1000})
        return keys

    reads = [
        lambda own: {item.metadata["n"] for item in notes.get(where=where, connection=own)},
        lambda own: {item.metadata["n"] for item in notes.get([7], where=where, connection=own)},
        lambda own: {count.value for count in notes.distinct("n", where, connection=own)},
        lambda own: {*notes.extent("n", where, connection=own)[:2]},
    ]
    with any_db.engine.connect() as own:
        for read in reads:
            notes.update(range(N), metadata={"n": 7})
            left[0], where = times, {"n": {"$lt": 1000}}
            monkeypatch.setattr(inside.MATCHING, overtaken)
            assert read(own) in (set(), {None}, {7})
            monkeypatch.undo()


def test_ranges_over_values_that_are_all_different(any_db):
    """Lists of one part come as one list, which may be as long as the bits of a part are."""
    n = 17_000
    notes = any_db.create_collection("many", 2, index_fields=["n"])
    values = [5000.5 if i % 3 == 0 else i * 7919 % 17_011 for i in range(n)]
    notes.upsert(range(n), metadata=[{"n": value} for value in values])
    for low, high in [(0, 1440), (0, 1), (4000, 6000), (5000.5, 5000.6), (-1, 20_000), (9, 9)]:
        expected = [i for i, value in enumerate(values) if low <= value < high]
        assert notes.ids({"n": {"$gte": low, "$lt": high}}) == expected
    first = sorted({value for value in values[:15_000] if value < 5000})[960]
    assert notes.count({"n": {"$lt": first}}) == sum(value < first for value in values)


def test_a_text_within_texts_that_are_all_different(any_db):
    notes = any_db.create_collection("many", 2, index_fields=["word"])
    words = ["same" if i % 2 else f"Word {i}" for i in range(4000)]
    notes.upsert(range(4000), metadata=[{"word": word} for word in words])
    for asked in ("a", "Word 1", "3"):
        found = notes.ids({"word": {"$contains": asked}})
        assert found == [i for i, word in enumerate(words) if asked in word]
    assert len(notes.ids({"word": {"$icontains": "w"}})) == 2000


def test_a_database_in_utf_16_has_no_indexed_fields(tmp_path):
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA encoding = 'UTF-16le'")
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    with requant.open(path) as db:
        with pytest.raises(requant.UnsupportedError, match="UTF-16le"):
            db.create_collection("notes", 2, index_fields=["n"])
        notes = db.create_collection("notes", 2)
        notes.upsert([1, 2], metadata=[{"n": "é"}, {"n": 2}])
        with pytest.raises(requant.UnsupportedError, match="UTF-16le"):
            notes.index_field("n")
        assert notes.fields == []
        assert notes.ids({"n": "é"}) == [1]
        assert notes.distinct("n") == [(2, 1), ("é", 1)]
        assert notes.extent("n")[:2] == (2, "é")

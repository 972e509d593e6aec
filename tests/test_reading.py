"""`get`, `ids`, `count`, `iter` by filter and page by page, beside writers, in transactions."""

from __future__ import annotations

import random
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import requant
from requant.errors import (
    FilterError,
    InputError,
    StoreError,
    UnknownCollectionError,
    UnknownIdError,
)
from tests.databases import metadata, vectors
from tests.filter_reference import matches
from tests.test_filters_property import filters

HUGE = pytest.param(-(10**5000), id="of more digits than Python writes")
WHERES = [None, {}, {"even": True}, {"word": "bay", "n": {"$gt": 30}}, {"n": -1}, {"$id": "7"}]


@pytest.fixture
def notes(any_db):
    """A hundred items, every third without a vector, and a collection on either side of them."""
    for name in ("before", "notes", "after"):
        some = any_db.create_collection(name, 8)
        some.upsert(range(100), vectors(100), [f"text {i}" for i in range(100)], metadata(100))
    notes = any_db.collection("notes")
    bare = list(range(2, 100, 3))
    notes.delete(bare)
    notes.upsert(bare, None, [f"text {i}" for i in bare], [metadata(100)[i] for i in bare])
    return notes


@pytest.fixture
def empty(any_db):
    return any_db.create_collection("notes", 8)


def numbers(notes, where=None):
    """Ids as `iter` gives them, which stood before the other ways to read."""
    return [item.id for item in notes.iter(where=where)]


def paged(notes, limit, where=None, by_id=False):
    found, after = [], None
    while page := notes.get(where=where, limit=limit, after=after):
        assert len(page) <= limit
        found += [item.id for item in page]
        after = page[-1].id if by_id else page[-1]
    return found


@pytest.mark.parametrize("where", WHERES)
def test_every_way_reads_the_same_items(notes, where):
    expected = [i for i in [*(i for i in range(100) if i % 3 != 2), *range(2, 100, 3)]]
    expected = [i for i in expected if matches(where or {}, metadata(100)[i], {"id": str(i)})]
    assert numbers(notes, where) == expected
    assert [item.id for item in notes.get(where=where)] == expected
    assert [item.id for item in notes.iter(where=where, vectors=False)] == expected
    assert notes.ids(where) == expected
    assert notes.count(where) == len(expected)
    for limit in (1, 7, 1000):
        assert paged(notes, limit, where) == expected
        assert paged(notes, limit, where, by_id=True) == expected
        assert notes.ids(where, limit=limit) == expected[:limit]
    if expected:
        assert notes.ids(where, after=expected[0], limit=np.int64(5)) == expected[1:6]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.none() | st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 2) | st.text("ab")),
        max_size=8,
    ),
    where=filters,
    limit=st.integers(1, 4),
    data=st.data(),
)
def test_what_a_dictionary_would_say(empty, rows, where, limit, data):
    notes = empty
    notes.delete(range(8))
    if rows:
        notes.upsert(range(len(rows)), metadata=rows)
    expected = [i for i, row in enumerate(rows) if matches(where, row)]
    assert notes.ids(where) == paged(notes, limit, where) == expected
    assert notes.count(where) == len(expected)
    asked = data.draw(st.lists(st.integers(0, 9), max_size=5))
    found = notes.get(asked, where=where, limit=limit)
    assert [item.id for item in found] == [i for i in asked if i in expected][:limit]
    assert [item.metadata for item in found] == [rows[item.id] for item in found]


@pytest.mark.parametrize("selected", [{}, {"where": {"n": {"$gte": 0}}}, {"ids": range(100)}])
def test_vectors_where_they_are_asked_for(notes, selected):
    floats = vectors(100)
    for item in notes.get(**selected, vectors=True):
        if item.id % 3 == 2:
            assert item.vector is None
        else:
            np.testing.assert_array_equal(item.vector, floats[item.id])
        assert item[2:4] == (f"text {item.id}", metadata(100)[item.id])
    assert len(notes.get(**selected, vectors=True)) == 100
    assert all(item.vector is None for item in notes.get(**selected))
    assert all(item.vector is None for item in notes.iter(vectors=False))


def test_ids_keep_the_order_asked_and_the_filter_holds_too(notes):
    asked = [9, 4, 1000, 8, 4, 7]
    assert [item.id for item in notes.get(asked)] == [9, 4, 8, 4, 7]
    assert [item.id for item in notes.get(asked, where={"even": True})] == [4, 8, 4]
    assert [item.id for item in notes.get(asked, limit=2)] == [9, 4]
    assert [item.id for item in notes.get(asked, where={"even": True}, limit=2)] == [4, 8]
    assert [item.id for item in notes.get(["9"], where={}, vectors=True)] == [9]
    assert notes.get([]) == notes.get([], where={"even": True}, vectors=True) == []
    with pytest.raises(InputError, match="after goes on in the order of insertion"):
        notes.get([1], after=2)


@pytest.mark.parametrize("where", [None, {"keep": True}])
def test_pages_hold_what_stands_there_throughout_once(any_db, where):
    """Whatever is inserted, replaced or deleted between two pages, their last items among it."""
    notes = any_db.create_collection("notes", 8)
    kept = {"keep": True}
    notes.upsert(range(300), metadata=[kept] * 300)
    throughout, chosen = set(range(300)), random.Random(0)
    found, after, fresh = [], None, 300
    while page := notes.get(where=where, limit=7, after=after):
        found += [item.id for item in page]
        after = page[-1]
        gone = {after.id, *chosen.sample(range(300), 3)}
        notes.delete(gone)
        throughout -= gone
        replaced = chosen.sample(sorted(throughout), 5)
        notes.upsert(replaced, metadata=[kept] * 5)
        if fresh < 320:
            notes.upsert([fresh], metadata=[kept])
            fresh += 1
    assert len(throughout) > 100
    assert len(found) == len(set(found))
    assert throughout <= set(found)
    assert set(range(300, fresh)) <= set(found)


def test_the_place_of_a_deleted_item_is_known_its_id_is_not(notes):
    page = notes.get(limit=10)
    notes.delete([page[-1].id])
    assert notes.ids(after=page[-1], limit=1) == [page[-1].id + 2]
    with pytest.raises(UnknownIdError, match="keeps its place though it is deleted"):
        notes.get(after=page[-1].id)


def test_after_another_collections_item_is_refused(any_db, notes):
    for name in ("before", "after"):
        item = any_db.collection(name).get(limit=1)[0]
        with pytest.raises(InputError, match="is no item of 'notes'"):
            notes.get(after=item)
        with pytest.raises(InputError, match="is no item of 'notes'"):
            notes.ids(after=item)


@pytest.mark.parametrize("after", [True, 1.5, ["a"], (1, 2), b"a", {}])
def test_what_is_no_place_is_refused(notes, after):
    with pytest.raises(InputError, match="after takes the last item"):
        notes.get(after=after)


@pytest.mark.parametrize(
    "limit", [0, -1, True, 1.5, "1", 2**63, pytest.param(-(10**5000), id="huge")]
)
def test_what_is_no_limit_is_refused(notes, limit):
    for read in (notes.get, notes.ids):
        with pytest.raises(InputError, match="limit must be a whole number from 1"):
            read(limit=limit)
    with pytest.raises(InputError, match="limit must be a whole number from 1"):
        notes.get([1], limit=limit)


def test_a_filter_that_is_none_is_refused(notes):
    for read in (notes.count, notes.ids, lambda where: notes.get(where=where)):
        with pytest.raises(FilterError):
            read({"n": {"$what": 1}})


def test_ids_come_back_as_they_were_given(any_db):
    notes = any_db.create_collection("notes", 8)
    given_ids = [7, "x", UUID(int=5)]
    notes.upsert(given_ids, vectors(3))
    assert notes.ids() == given_ids
    assert notes.ids(after=UUID(int=5)) == []
    assert notes.ids(after="7", limit=2**63 - 1) == given_ids[1:]


def test_an_empty_collection(any_db):
    notes = any_db.create_collection("notes", 8)
    assert notes.get() == notes.ids() == list(notes.iter(vectors=False)) == []
    assert notes.count() == notes.count({"a": 1}) == 0


def test_ones_own_uncommitted_rows_are_read(any_db, notes):
    with any_db.engine.connect() as connection:
        notes.upsert(["new"], [np.ones(8)], metadata=[{"n": 1000}], connection=connection)
        where = {"n": {"$gte": 1000}}
        assert notes.ids(where, connection=connection) == ["new"]
        assert notes.count(where, connection=connection) == 1
        assert notes.count(connection=connection) == 101
        assert notes.count(where) == 0
        (item,) = notes.get(where=where, vectors=True, connection=connection)
        assert item.vector.tolist() == [1.0] * 8
        assert notes.get(["new"], where=where, connection=connection)[0].id == "new"
        assert notes.ids(after=98, limit=1, connection=connection) == ["new"]
        assert notes.distinct("n", where, connection=connection) == [(1000, 1)]
        assert notes.extent("n", connection=connection).greatest == 1000
        point = connection.begin_nested()
        notes.delete(["new"], connection=connection)
        assert notes.count(where, connection=connection) == 0
        point.rollback()
        assert notes.count(where, connection=connection) == 1
        connection.rollback()
    assert notes.count() == 100


def test_a_connection_without_transactions_is_read_by(any_db, notes):
    with any_db.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        assert len(notes.get(vectors=True, connection=connection)) == 100
        assert notes.ids({"n": 5}, connection=connection) == [5]
        assert notes.count({"n": 5}, connection=connection) == 1


def test_a_connection_to_another_database_is_refused(notes, tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    with engine.connect() as connection:
        for read in (notes.get, notes.ids, notes.count):
            with pytest.raises(InputError, match="connection= is one to"):
                read(connection=connection)
        for read in (notes.distinct, notes.extent):
            with pytest.raises(InputError, match="connection= is one to"):
                read("n", connection=connection)
    engine.dispose()


def test_a_dropped_collection_says_so(any_db, notes):
    item = notes.get(limit=1)[0]
    other = any_db.collection("notes")
    any_db.drop_collection("notes")
    reads = [
        other.get, other.ids, other.count, lambda: other.get(after=item),
        lambda: other.get([1], where={"n": 1}), lambda: other.distinct("n"),
        lambda: other.extent("n"), lambda: list(other.iter(vectors=False)),
    ]  # fmt: skip
    for read in reads:
        with pytest.raises((UnknownCollectionError, StoreError)):
            read()


def test_a_database_that_is_only_read(tmp_path):
    path = tmp_path / "notes.requant"
    with requant.open(path) as db:
        db.create_collection("notes", 8).upsert(range(10), vectors(10), metadata=metadata(10))
    with requant.open(path, read_only=True) as db:
        notes = db.collection("notes")
        assert notes.count({"even": True}) == 5
        assert notes.ids({"even": True}, after=4) == [6, 8]
        assert len(notes.get(limit=3, vectors=True)) == 3
        assert notes.distinct("even") == [(False, 5), (True, 5)]
        assert notes.extent("n") == (0, 9, {"number": 10})


def test_more_items_than_one_window_of_keys_with_holes(tmp_path):
    """A window has 65,536 keys: one is emptied wholly, others have holes."""
    with requant.open(tmp_path / "many.requant") as db:
        notes = db.create_collection("notes", 2)
        n = 150_000
        notes.upsert(range(n), metadata=[{"m": i % 3, "f": i % 5} for i in range(n)])
        gone = [*range(65_000, 132_000), *range(140_000, 148_000, 2)]
        notes.delete(gone)
        left = sorted(set(range(n)) - set(gone))
        for where, expected in ((None, left), ({"m": 1}, [i for i in left if i % 3 == 1])):
            assert notes.ids(where) == expected
            assert notes.count(where) == len(expected)
            assert [item.id for item in notes.iter(where=where, vectors=False)] == expected
            assert paged(notes, 30_000, where) == expected
            counted = {i: sum(1 for one in expected if one % 5 == i) for i in range(5)}
            assert dict(notes.distinct("f", where)) == counted


# A cursor on the server, which nobody could close any more, complains.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("one", [False, True])
def test_an_interrupted_read_says_so_and_the_next_one_is_answered(notes, any_db, one):
    """Ctrl-C in the middle of a statement: SQLAlchemy takes its connection away."""

    def interrupt(conn, cursor, statement, *rest):
        if "document" in statement:
            raise KeyboardInterrupt

    sa.event.listen(any_db.engine, "after_cursor_execute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        notes.get(limit=1) if one else notes.get()
    sa.event.remove(any_db.engine, "after_cursor_execute", interrupt)
    assert notes.get(limit=1)
    assert len(notes.get()) == len(notes)

"""Fields of dates: text that is ISO 8601 is compared as the instant that it names."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requant.store.fields.values import instant

DATES = [
    "2024-05-01T12:00:00+02:00",  # 0
    "2024-05-01T10:00:00Z",  # 1: the same instant
    "2024-05-01T10:00",  # 2: the same, in UTC since it says nothing else
    "2024-05-01",  # 3
    "2024-05-01T11:00:00.5+00:00",  # 4
    "2024-04-30T23:59:59-12:00",  # 5: later than all of them
    "someday",  # 6
    None,  # 7
    20240501,  # 8
    ["2024-05-01T10:00:00Z"],  # 9
    "2024-02-30",  # 10: no day
    "x" * 2000,  # 11
]
SAME = [0, 1, 2]


@pytest.fixture
def notes(any_db):
    notes = any_db.create_collection("notes", 2)
    notes.upsert(range(len(DATES)), metadata=[{"at": one, "n": i} for i, one in enumerate(DATES)])
    notes.upsert(["none"], metadata=[{"n": 99}])
    notes.index_field("at", kind="datetime")
    return notes


def ids(notes, operand, **more):
    return [item.id for item in notes.iter(where={"at": operand, **more})]


@pytest.mark.parametrize("text", ["2024-05-01T10:00:00Z", "2024-05-01T05:30:00.000-04:30"])
def test_equal_instants_are_equal(notes, text):
    assert ids(notes, text) == SAME
    assert ids(notes, {"$in": [text, "someday"]}) == [*SAME, 6]
    everything = [*range(len(DATES)), "none"]
    assert ids(notes, {"$ne": text}) == [i for i in everything if i not in SAME]
    assert ids(notes, {"$nin": [text, 20240501]}) == [i for i in everything if i not in [*SAME, 8]]


def test_dates_come_one_after_another(notes):
    assert ids(notes, {"$gt": "2024-05-01T10:00:00Z"}) == [4, 5]
    assert ids(notes, {"$gte": "2024-05-01T10:00:00Z"}) == [*SAME, 4, 5]
    assert ids(notes, {"$lt": "2024-05-01T10:00:00Z"}) == [3]
    assert ids(notes, {"$lte": "2024-05-01T11:00:00.500Z", "$gt": "2024-05-01"}) == [*SAME, 4]


def test_what_is_no_date_is_compared_as_text(notes):
    assert ids(notes, {"$gt": "someday"}) == [11]
    assert ids(notes, "someday") == [6]
    assert ids(notes, {"$startswith": "2024-05"}) == [0, 1, 2, 3, 4]
    assert ids(notes, {"$contains": "2024-05-01T10:00:00Z"}) == [1, 9]
    assert ids(notes, {"$lt": "2024-02-31"}) == [10]
    assert ids(notes, "x" * 2000) == [11]
    assert ids(notes, None) == [7, "none"]


def test_other_fields_are_asked_beside(notes):
    assert ids(notes, "2024-05-01T10:00:00Z", n={"$gt": 0}) == [1, 2]
    either = {"$or": [{"at": "2024-05-01T10:00:00Z"}, {"n": {"$in": [4, 99]}}]}
    assert [item.id for item in notes.iter(where=either)] == [*SAME, 4, "none"]
    neither = [item.id for item in notes.iter(where={"$not": either})]
    assert neither == [3, *range(5, len(DATES))]


def test_searches_ask_for_instants(notes):
    notes.upsert(range(12), [[1, i] for i in range(12)])
    for n in ({}, {"n": {"$gte": 0}}):
        hits = notes.search([1, 0], where={"at": "2024-05-01T10:00:00Z", **n})
        assert [hit.id for hit in hits] == SAME
    assert notes.delete(where={"at": {"$lte": "2024-05-01T10:00:00Z"}, "n": {"$gt": 1}}) == 2


def test_many_candidates_are_asked_for_instants(any_db):
    notes = any_db.create_collection("many", 4)
    n = 3000
    at = datetime(2024, 5, 1, tzinfo=timezone.utc)
    zones = [timezone(timedelta(hours=hours)) for hours in (-5, 0, 9)]
    times = [(at + timedelta(hours=i)).astimezone(zones[i % 3]) for i in range(n)]
    notes.upsert(
        range(n),
        [[1, i, i * i, 1] for i in range(n)],
        metadata=[{"at": time.isoformat(), "n": i} for i, time in enumerate(times)],
    )
    notes.index_field("at", kind="datetime")
    notes.add_index("main", engine="faiss", precision="int8")
    where = {"at": {"$gte": times[500].astimezone(zones[0]).isoformat()}, "n": {"$lt": 2500}}
    for k in (5, 100, 2500):
        hits = notes.search([1, 3, 9, 1], k, where=where)
        assert len(hits) == min(k, 2000)
        assert all(500 <= hit.id < 2500 for hit in hits)


def test_it_begins_when_the_field_is_built_and_ends_with_it(notes):
    notes.unindex_field("at")
    assert ids(notes, "2024-05-01T10:00:00Z") == [1]
    notes.index_field("at")
    assert ids(notes, "2024-05-01T10:00:00Z") == [1]
    notes.unindex_field("at")
    notes.index_field("at", kind="datetime")
    assert ids(notes, "2024-05-01T10:00:00Z") == SAME


offsets = st.integers(-23 * 60, 23 * 60).map(lambda n: timezone(timedelta(minutes=n)))


@given(st.datetimes(timezones=offsets))
def test_an_instant_is_that_of_the_standard_library(when):
    seconds = (when - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)
    assert instant(when.isoformat()) == instant(when.isoformat(" ")) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "2024", "2024-05", "2024-13-01", "2024-05-01T25:00", "2024-05-01T10", "20240501",
     "2024-05-01T10:00+25:00", " 2024-05-01", "2024-05-01T10:00:00Zulu", "٢٠٢٤-05-01"],
)  # fmt: skip
def test_what_is_no_date(text):
    assert instant(text) is None

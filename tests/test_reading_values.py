"""`distinct` and `extent`: what plain Python counts, on both databases, with every digit."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from requant.errors import FilterError, InputError
from tests.filter_reference import matches

MISSING = object()
KINDS = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string"}
KINDS |= {list: "array", dict: "object"}
RANK = ["null", "boolean", "number", "string", "array", "object"]

texts = st.sampled_from(["", "1", "true", "null", "a", "B", "é", "😀", 'q"q', "it's", "\\", ".0"])
integers = st.integers(-2, 2) | st.integers(-(2**80), 2**80) | st.sampled_from([2**70, 2**70 + 1])
floats = st.sampled_from([0.0, -0.0, 1.0, 0.1 + 0.2, 0.3, 1e300, 5e-324, -2.5]) | st.floats(
    allow_nan=False, allow_infinity=False
)
scalars = st.none() | st.booleans() | integers | floats | texts
values = scalars | st.lists(scalars, max_size=4) | st.just({"f": 1}) | st.just([[1], {"f": 2}])
entries = st.none() | st.fixed_dictionaries({}, optional={"f": values, "in": st.just({"f": 1})})


def found_in(entry: dict[str, Any] | None, field: str) -> Any:
    value: Any = entry or {}
    for key in re.split(r"(?<!\\)\.", field):
        key = key.replace("\\.", ".")
        if not isinstance(value, dict) or key not in value:
            return MISSING
        value = value[key]
    return value


def canonical(value: Any) -> tuple[int, str]:
    """Return what one value is, by its type and the digits that are written."""
    text = value if isinstance(value, str) else json.dumps(value)
    if KINDS[type(value)] == "number":
        text = re.sub(r"^-0$", "0", re.sub(r"\.0$", "", text))
    return RANK.index(KINDS[type(value)]), text


def scalars_of(value: Any) -> list[Any]:
    if value is MISSING:
        return []
    listed = value if isinstance(value, list) else [value]
    return [one for one in listed if not isinstance(one, list | dict)]


def counted(entries: list[Any], field: str) -> dict[tuple[int, str], int]:
    return Counter(
        one for entry in entries for one in set(map(canonical, scalars_of(found_in(entry, field))))
    )


def kinds(entries: list[Any], field: str) -> dict[str, int]:
    there = [found_in(entry, field) for entry in entries]
    return Counter(KINDS[type(value)] for value in there if value is not MISSING)


@pytest.fixture(params=["", "indexed"])
def notes(request, any_db):
    """Answers are the same from the items, and from what is listed of an indexed field."""
    fields = ["f", "in.f", "many", "it's", "a\\.b"] if request.param else []
    return any_db.create_collection("notes", 2, index_fields=fields)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(entries, min_size=1, max_size=10), limit=st.none() | st.integers(1, 3))
def test_what_plain_python_counts(notes, rows, limit):
    notes.delete(range(10))
    notes.upsert(range(len(rows)), metadata=rows)
    for field in ("f", "in.f"):
        expected = counted(rows, field)
        found = notes.distinct(field)
        assert {canonical(value): n for value, n in found} == expected
        order = [(-n, *canonical(value)[:1]) for value, n in found]
        assert order == sorted(order)
        assert notes.distinct(field, limit=limit) == found[:limit]
        where = {"f": {"$exists": True}}
        some = [row for row in rows if matches(where, row)]
        assert {canonical(v): n for v, n in notes.distinct(field, where)} == counted(some, field)
        extent = notes.extent(field)
        assert extent.types == kinds(rows, field)
        every = [one for row in rows for one in scalars_of(found_in(row, field))]
        numbers = [one for one in every if type(one) in (int, float)]
        strings = [one for one in every if isinstance(one, str)]
        assert_ends(extent.least, min(numbers) if numbers else min(strings, default=None))
        assert_ends(extent.greatest, max(strings) if strings else max(numbers, default=None))


def assert_ends(found: Any, expected: Any) -> None:
    assert isinstance(found, str) == isinstance(expected, str)
    assert found == expected  # Python compares an integer and a float digit by digit


def test_values_come_back_as_what_they_were(notes):
    given = [2**64, -(2**64) - 1, 0.1, 1e16, 1e300, 5e-324, 7, 7.5, True, "7", None]
    notes.upsert(range(len(given)), metadata=[{"f": value} for value in given])
    found = [value for value, _ in notes.distinct("f")]
    assert sorted(map(repr, found)) == sorted(map(repr, given))
    listed = [2**64, 2**64 + 1, 0.1, 1.0]
    notes.upsert(["listed"], metadata=[{"many": listed}])
    assert sorted(map(repr, (v for v, _ in notes.distinct("many")))) == sorted(map(repr, listed))


@pytest.mark.parametrize(
    "given",
    [
        [2**53, 2.0**53, 2**53 + 1, 2.0**53 + 2],
        [2**63 + 1, 2.0**63, 2**63 - 1],
        [-(2**70), -(2**70) - 1, -(2.0**70)],
        [0.1, 0.1 + 2**-56, 0.1 - 2**-56],
        [[2**70, 1], 2**70 + 1, [2.5, 1.0]],
    ],
)
def test_ends_are_told_by_every_digit(notes, given):
    notes.upsert(range(len(given)), metadata=[{"f": value} for value in given])
    every = [one for value in given for one in scalars_of(value)]
    assert notes.extent("f")[:2] == (min(every), max(every))


def test_an_integer_stands_for_equal_floats(notes):
    notes.upsert(range(3), metadata=[{"f": 1.0}, {"f": 1}, {"f": [1.0, 1, 1]}])
    assert list(map(repr, notes.distinct("f"))) == ["ValueCount(value=1, count=3)"]
    notes.upsert(range(3), metadata=[{"f": 1.0}, {"f": 1.0}, None])
    assert list(map(repr, notes.distinct("f"))) == ["ValueCount(value=1.0, count=2)"]


def test_equally_frequent_values_in_their_order(notes):
    given = ["é", "b", "B", 10, 9, 2.5, -(2**70), -(2**70) - 1, 2**70 + 1, 2**70, True, False, None]
    notes.upsert(range(len(given)), metadata=[{"f": value} for value in given])
    expected = [None, False, True, -(2**70) - 1, -(2**70), 2.5, 9, 10, 2**70, 2**70 + 1]
    expected += ["B", "b", "é"]
    assert [value for value, _ in notes.distinct("f")] == expected
    numbers = {"f": {"$nin": ["é", "b", "B"]}}
    assert notes.extent("f", numbers)[:2] == (-(2**70) - 1, 2**70 + 1)


@pytest.mark.parametrize("name", ["it's", "%s", "a b", "x' OR 1=1 --", ":f", "ключ", "0", "[0]"])
def test_any_name_is_data(notes, name):
    notes.upsert([1, 2], metadata=[{name: {name: 5}}, {name: [name]}])
    assert notes.distinct(name) == [(name, 1)]
    assert notes.distinct(f"{name}.{name}") == [(5, 1)]
    assert notes.extent(name) == (name, name, {"object": 1, "array": 1})


def test_a_dot_of_a_key_is_escaped(notes):
    notes.upsert([1, 2], metadata=[{"a.b": 1}, {"a": {"b": 2}}])
    assert notes.distinct("a\\.b") == [(1, 1)]
    assert notes.distinct("a.b") == [(2, 1)]


@pytest.mark.parametrize("field", ["$id", "$document", "$x", "", "a..b", 'a"b', "a\0", 5, None])
def test_what_is_no_field_is_refused(notes, field):
    with pytest.raises(FilterError):
        notes.distinct(field)
    with pytest.raises(FilterError):
        notes.extent(field)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "1", 2**63])
def test_what_is_no_limit_is_refused(notes, limit):
    with pytest.raises(InputError, match="limit must be a whole number from 1"):
        notes.distinct("f", limit=limit)


def test_another_collection_is_not_counted(any_db, notes):
    other = any_db.create_collection("other", 2)
    other.upsert([1], metadata=[{"f": 1}])
    assert notes.distinct("f") == []
    assert notes.extent("f") == (None, None, {})
    assert other.distinct("f", limit=np.int64(5)) == [(1, 1)]


@pytest.mark.parametrize("values", [[1, 2.0, 3], [1, "x" * 5000], [2**63, 1], [1, 10**16, 1e16]])
def test_what_the_lists_of_a_field_do_not_tell_is_read_from_the_items(any_db, values):
    plain = any_db.create_collection("plain", 2)
    listed = any_db.create_collection("listed", 2, index_fields=["f"])
    for notes in (plain, listed):
        notes.upsert(range(len(values)), metadata=[{"f": value} for value in values])
    assert repr(listed.distinct("f")) == repr(plain.distinct("f"))
    assert repr(listed.extent("f")) == repr(plain.extent("f"))
    assert {repr(value) for value, _ in listed.distinct("f")} == set(map(repr, values))


def test_many_items_with_few_and_with_many_values(any_db):
    plain = any_db.create_collection("plain", 2)
    listed = any_db.create_collection("listed", 2, index_fields=["f"])
    rows = [{"f": i % 3 if i % 2 else [i, str(i % 5), i % 3]} for i in range(20_000)]
    for notes in (plain, listed):
        notes.upsert(range(len(rows)), metadata=rows)
        notes.update(range(0, 9000, 3), metadata={"f": None})
        notes.delete(range(0, 3000, 2))
    assert listed.distinct("f") == plain.distinct("f")
    assert listed.distinct("f", limit=7) == plain.distinct("f", limit=7)
    assert listed.distinct("f", {"f": {"$lt": 2}}) == plain.distinct("f", {"f": {"$lt": 2}})
    assert listed.extent("f") == plain.extent("f")


def test_what_is_listed_is_asked_instead_of_the_items(db, monkeypatch):
    """Else these tests would compare the items with themselves."""
    notes = db.create_collection("notes", 2, index_fields=["f"])
    notes.upsert(range(3), metadata=[{"f": 1}, {"f": 0.5}, {"f": ["a"]}])
    nothing = "requant.store.contents.reading"
    monkeypatch.delattr(f"{nothing}.count_values")
    monkeypatch.delattr(f"{nothing}.extent")
    assert notes.distinct("f") == [(0.5, 1), (1, 1), ("a", 1)]
    assert notes.extent("f") == (0.5, "a", {"number": 2, "array": 1})
    with pytest.raises(NameError):
        notes.distinct("f", {"f": 1})

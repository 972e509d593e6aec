"""Random filters over random metadata: indexed fields find what the reference in Python finds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import requant
from tests.databases import fresh_schema
from tests.filter_reference import matches
from tests.test_filters import DOCUMENTS, VALUES
from tests.test_filters_property import documents, filters, names, single_operators, values

FIELDS = {"every field": names, "some": names[:1], "deep": ["a", "a.b", "b.a", "a.a"]}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def db(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("fields")
    if request.param == "sqlite":
        with requant.open(home / "x.db") as opened:
            yield opened
        return
    url = request.getfixturevalue("postgres_url")
    fresh_schema(url)
    with requant.open(url, folder=home) as opened:
        yield opened
    fresh_schema(url)


@pytest.fixture(scope="module", params=sorted(FIELDS))
def notes(request, db):
    name = request.param.replace(" ", "-")
    yield db.create_collection(name, 2, index_fields=FIELDS[request.param])
    db.drop_collection(name)


def found(notes, where: dict[str, Any]) -> list[int]:
    """Return what is found, once all items are asked for and once these alone."""
    ids = [item.id for item in notes.iter(where=where)]
    hits = notes.search_many([[1, 1]], k=100, where=where).ids[0]
    assert sorted(hits) == ids
    return ids


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    before=st.lists(documents, min_size=1, max_size=6),
    rows=st.lists(documents, min_size=1, max_size=8),
    gone=st.sets(st.integers(0, 7)),
    where=filters,
)
def test_fields_find_what_the_reference_finds(notes, before, rows, gone, where: dict[str, Any]):
    notes.delete(range(8))
    # Written as something else first, and then changed, or taken away.
    notes.upsert(range(len(before)), [[1, i] for i in range(len(before))], metadata=before)
    notes.upsert(range(len(rows)), [[1, i] for i in range(len(rows))], metadata=rows)
    notes.delete(gone)
    stored = {i: one for i, one in enumerate([*rows, *before[len(rows) :]]) if i not in gone}
    expected = [item.id for item in notes.iter() if matches(where, stored[item.id])]
    assert found(notes, where) == expected
    denied = [item.id for item in notes.iter() if not matches(where, stored[item.id])]
    assert found(notes, {"$not": where}) == denied


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(operator=st.sampled_from(sorted(single_operators)), data=st.data())
def test_every_pair_of_values_under_one_operator(notes, operator: str, data: st.DataObject):
    rows = [{"a": one} for one in data.draw(st.lists(values, min_size=1, max_size=12))]
    where = {"a": {operator: data.draw(single_operators[operator])}}
    notes.delete(range(12))
    notes.upsert(range(len(rows)), metadata=rows)
    expected = [key for key, one in enumerate(rows) if matches(where, one)]
    assert [item.id for item in notes.iter(where=where)] == expected


SCALARS = [value for value in VALUES if not isinstance(value, list | dict)]
ORDERED = [value for value in SCALARS if value is not None and not isinstance(value, bool)]
OPERANDS: dict[str, list[Any]] = {
    "$eq": [*SCALARS, [], [1, "apple", None, True], [1]],
    "$ne": SCALARS,
    "$in": [[], SCALARS, SCALARS[::2], *([value] for value in SCALARS)],
    "$nin": [SCALARS, SCALARS[1::2]],
    **{name: [*ORDERED, "x" * 2000, -(2**63), 0.5] for name in ("$gt", "$gte", "$lt", "$lte")},
    "$contains": [*SCALARS, "p", "%", "\x05", "x" * 2000],
    "$icontains": ["PP", "", "Ä", "ä", "%", "\x05"],
    "$startswith": ["", "A", "a", "\U0001f600", "100%", "x" * 2000],
    "$exists": [True, False],
}


# What has no bytes in an index: text and arrays that are long, integers beyond int64.
ODD: list[Any] = [
    "x" * 2000,
    "x" * 2001 + "y",
    ["x" * 2000, 1],
    2**64,
    [2**64, "apple"],
    [*range(1500)],
]


@pytest.mark.parametrize("operator", sorted(OPERANDS))
def test_every_value_under_every_operator(notes, operator):
    rows = [
        *(one and {"a": one["f"]} if one is None or "f" in one else one for one in DOCUMENTS),
        *({"a": value} for value in ODD),
    ]
    notes.delete(range(100))
    notes.upsert(range(len(rows)), metadata=rows)
    for operand in OPERANDS[operator]:
        where = {"a": {operator: operand}}
        expected = [key for key, one in enumerate(rows) if matches(where, one)]
        assert [item.id for item in notes.iter(where=where)] == expected, where
    notes.delete(range(100))

"""Random filters over random metadata: SQL finds what the reference in plain Python finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine

from tests.filter_reference import matches
from tests.filter_tables import find, sqlite_engine

KEYS = ["a", "b", "a.b", "it's", "%s", "ключ", "0"]
# Above 2**53 an integer and a float compare as the database rounds them; the docs say so.
EXACT = 2.0**53

# Few distinct values, so that documents and filters meet; a few from anywhere.
strings = st.sampled_from(["", "a", "A", "ab", "b%", "_", "1", 'q"q', "it's", "\\", "é", "😀"])
anywhere = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
integers = st.integers(-2, 2) | st.integers(-(2**63), 2**63 - 1)
floats = st.sampled_from([0.0, -1.0, 0.5, 1.0, 0.1 + 0.2, 0.3, 1e300]) | st.floats(
    -EXACT, EXACT, allow_subnormal=False
)
numbers = integers | floats
texts = strings | strings | anywhere
scalars = st.booleans() | numbers | texts
values = st.recursive(
    st.none() | scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | anywhere, inner, max_size=3)
    ),
    max_leaves=5,
)
documents = st.none() | st.dictionaries(st.sampled_from(KEYS[:3]), values, max_size=3)

names = [key.replace(".", "\\.") for key in KEYS]
fields = st.lists(st.sampled_from(names[:2]) | st.sampled_from(names), min_size=1, max_size=2)
optional = st.none() | scalars
lists = st.lists(optional, max_size=4)
ordered = numbers | texts
single_operators = {
    **dict.fromkeys(["$eq", "$ne"], optional | lists),
    "$contains": optional,
    **dict.fromkeys(["$icontains", "$startswith"], texts),
    **dict.fromkeys(["$in", "$nin"], lists),
    **dict.fromkeys(["$gt", "$gte", "$lt", "$lte"], ordered),
    "$exists": st.booleans(),
}


def some_operators(extra: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    pairs = [st.tuples(st.just(name), value) for name, value in (single_operators | extra).items()]
    return st.lists(st.one_of(pairs), min_size=1, max_size=2).map(dict)


def _one_of(values: list[str]) -> dict[str, list[str]]:
    return {"$in": values}


operators = some_operators({"$not": some_operators({})})


@st.composite
def operands(draw: st.DrawFn) -> Any:
    """Draw what a field is asked for; a composite, since its repr would be too long otherwise."""
    return draw(optional | lists | operators | operators)


conditions = st.dictionaries(fields.map(".".join), operands(), max_size=2)
filters = st.recursive(
    conditions,
    lambda inner: (
        st.builds(
            lambda connective, parts, beside: beside | {connective: parts},
            st.sampled_from(["$and", "$or"]),
            st.lists(inner, min_size=1, max_size=3),
            conditions,
        )
        | inner.map(lambda part: {"$not": part})
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "sqlite":
        engine = sqlite_engine()
    else:
        engine = create_engine(request.getfixturevalue("postgres_url"))
    yield engine
    engine.dispose()


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(documents, min_size=1, max_size=8), where=filters)
def test_sql_finds_what_the_reference_finds(engine: Engine, rows: list[Any], where: dict[str, Any]):
    expected = [key for key, one in enumerate(rows) if matches(where, one)]
    assert find(engine, rows, where) == expected
    assert find(engine, rows, {"$not": where}) == [
        key for key in range(len(rows)) if key not in expected
    ]


@settings(max_examples=100, deadline=None)
@given(
    documents=st.lists(st.none() | texts, min_size=1, max_size=8),
    where=st.fixed_dictionaries(
        {},
        optional={
            "$document": st.none() | texts | some_operators({"$eq": optional, "$ne": optional}),
            "$id": st.integers(0, 8).map(str) | st.lists(st.integers(0, 8).map(str)).map(_one_of),
            "$has_vector": st.booleans(),
            "a": optional,
        },
    ),
)
def test_what_items_have_beside_their_metadata(
    engine: Engine, documents: list[Any], where: dict[str, Any]
):
    rows: list[Any] = [{"a": key % 2} for key in range(len(documents))]
    expected = [
        key
        for key, text in enumerate(documents)
        if matches(where, rows[key], {"id": str(key), "document": text, "vector": key % 3 != 2})
    ]
    assert find(engine, rows, where, documents) == expected
    assert find(engine, rows, {"$not": where}, documents) == [
        key for key in range(len(rows)) if key not in expected
    ]


@settings(max_examples=100, deadline=None)
@given(operator=st.sampled_from(sorted(single_operators)), data=st.data())
def test_every_pair_of_values_under_one_operator(
    engine: Engine, operator: str, data: st.DataObject
):
    rows = [{"f": one} for one in data.draw(st.lists(values, min_size=1, max_size=12))]
    where = {"f": {operator: data.draw(single_operators[operator])}}
    expected = [key for key, one in enumerate(rows) if matches(where, one)]
    assert find(engine, rows, where) == expected

"""Metadata filters: what they match, on SQLite and on PostgreSQL, and what they refuse."""

from __future__ import annotations

import contextlib
import enum
import math
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, column, create_engine
from sqlalchemy.dialects import postgresql, sqlite

from requant.errors import FilterError, InputError, UnsupportedError
from requant.filters import Columns, compile_where
from tests.filter_reference import matches
from tests.filter_tables import find, sqlite_engine

INT64 = 2**63 - 1
HOSTILE = "x' OR '1'='1"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "sqlite":
        engine = sqlite_engine()
    else:
        engine = create_engine(request.getfixturevalue("postgres_url"))
    yield engine
    engine.dispose()


class Colour(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


# One value of the field "f" for each number; the last two documents lack the field.
VALUES: list[Any] = [
    1,  # 0
    1.0,  # 1
    "1",  # 2
    True,  # 3
    False,  # 4
    None,  # 5
    0,  # 6
    "",  # 7
    "apple",  # 8
    "Apple",  # 9
    "äpfel",  # 10
    "100% _a*[x]?",  # 11
    [1, "apple", None, True],  # 12
    [],  # 13
    {"g": 1, "0": "zero"},  # 14
    {"g": None},  # 15
    -2.5,  # 16
    INT64,  # 17
    INT64 - 1,  # 18
    [[1], {"g": 1}, "100%"],  # 19
    HOSTILE,  # 20
    "\U0001f600",  # 21
    "\uffee",  # 22
    0.1 + 0.2,  # 23
    0.3,  # 24
]
DOCUMENTS: list[Any] = [*({"f": value} for value in VALUES), {"h": 1}, None]
MISSING = [25, 26]
EVERYTHING = list(range(27))


def without(*keys: int) -> list[int]:
    return [key for key in EVERYTHING if key not in keys]


CASES: list[tuple[dict[str, Any], list[int]]] = [
    ({}, EVERYTHING),
    ({"$not": {}}, []),
    # Equality has strict types, and numbers are one type.
    ({"f": 1}, [0, 1]),
    ({"f": 1.0}, [0, 1]),
    ({"f": "1"}, [2]),
    ({"f": True}, [3]),
    ({"f": {"$eq": False}}, [4]),
    ({"f": 0}, [6]),
    ({"f": -0.0}, [6]),
    ({"f": ""}, [7]),
    ({"f": "apple"}, [8]),
    ({"f": INT64}, [17]),
    ({"f": -(2**63)}, []),
    ({"f": 0.3}, [24]),
    ({"f": 0.30000000000000004}, [23]),
    ({"f": "[]"}, []),
    ({"f": '{"g":1,"0":"zero"}'}, []),
    # null and missing are one for equality, two for $exists.
    ({"f": None}, [5, *MISSING]),
    ({"f": {"$ne": None}}, without(5, *MISSING)),
    ({"f": {"$exists": True}}, without(*MISSING)),
    ({"f": {"$exists": False}}, MISSING),
    # $ne is the exact negation.
    ({"f": {"$ne": 1}}, without(0, 1)),
    ({"f": {"$ne": "apple"}}, without(8)),
    ({"f": {"$ne": True}}, without(3)),
    # Order: numbers with numbers, strings with strings by code point.
    ({"f": {"$gt": 0}}, [0, 1, 17, 18, 23, 24]),
    ({"f": {"$gte": 1, "$lt": INT64}}, [0, 1, 18]),
    ({"f": {"$lt": 0.5}}, [6, 16, 23, 24]),
    ({"f": {"$lte": -2.5}}, [16]),
    ({"f": {"$gt": 0.3, "$lt": 1}}, [23]),
    ({"f": {"$gt": "Apple"}}, [8, 10, 20, 21, 22]),
    ({"f": {"$lt": "Apple"}}, [2, 7, 11]),
    ({"f": {"$gt": "\uffee"}}, [21]),
    ({"f": {"$gte": ""}}, [2, 7, 8, 9, 10, 11, 20, 21, 22]),
    # Lists.
    ({"f": {"$in": [1, "apple", False]}}, [0, 1, 4, 8]),
    ({"f": {"$in": [None, "1"]}}, [2, 5, *MISSING]),
    ({"f": {"$in": (None,)}}, [5, *MISSING]),
    ({"f": {"$in": {True}}}, [3]),
    ({"f": {"$in": []}}, []),
    ({"f": {"$nin": []}}, EVERYTHING),
    ({"f": {"$nin": [1, None]}}, without(0, 1, 5, *MISSING)),
    ({"f": {"$in": [str(number) for number in range(10_000)]}}, [2]),
    # Substrings and elements.
    ({"f": {"$contains": "pp"}}, [8, 9]),
    ({"f": {"$contains": "App"}}, [9]),
    ({"f": {"$contains": "%"}}, [11]),
    ({"f": {"$contains": "_a*["}}, [11]),
    ({"f": {"$contains": "a%e"}}, []),
    ({"f": {"$contains": "a__le"}}, []),
    ({"f": {"$contains": ""}}, [2, 7, 8, 9, 10, 11, 20, 21, 22]),
    ({"f": {"$contains": "apple"}}, [8, 12]),
    ({"f": {"$contains": "100%"}}, [11, 19]),
    ({"f": {"$contains": 1}}, [12]),
    ({"f": {"$contains": 1.0}}, [12]),
    ({"f": {"$contains": "1"}}, [2, 11, 20]),
    ({"f": {"$contains": True}}, [12]),
    ({"f": {"$contains": False}}, []),
    ({"f": {"$contains": None}}, [12]),
    # Connectives and exact negation.
    ({"$and": [{"f": 1}, {"f": {"$exists": True}}]}, [0, 1]),
    ({"$or": [{"f": "1"}, {"f": "apple"}]}, [2, 8]),
    ({"$or": [{}, {"f": "apple"}]}, EVERYTHING),
    ({"$and": [{"f": 1}], "f": "1"}, []),
    ({"$not": {"f": {"$gt": 0}}}, without(0, 1, 17, 18, 23, 24)),
    ({"$not": {"$not": {"f": {"$gt": 0}}}}, [0, 1, 17, 18, 23, 24]),
    ({"f": {"$not": {"$gte": 1, "$lt": INT64}}}, without(0, 1, 18)),
    ({"f": {"$not": {"$contains": "pp"}}}, without(8, 9)),
    ({"f": {"$not": {"$not": {"$ne": "1"}}}}, without(2)),
    ({"$not": {"$or": [{"f": None}, {"f.g": 1}]}}, without(5, 14, *MISSING)),
    # Paths: dots nest, arrays have no index, everything else is a name.
    ({"f.g": 1}, [14]),
    ({"f.g": {"$exists": True}}, [14, 15]),
    ({"f.g": None}, without(14)),
    ({"f.0": "zero"}, [14]),
    ({"f.0": {"$exists": True}}, [14]),
    ({"f.g.deeper": {"$exists": True}}, []),
    ({"f[0]": {"$exists": True}}, []),
    ({"*": {"$exists": True}}, []),
    ({"nothing": {"$ne": 1}}, EVERYTHING),
    # Attempts to be SQL are only values and names.
    ({"f": HOSTILE}, [20]),
    ({"f": {"$contains": "' OR '"}}, [20]),
    ({"f": {"$in": [HOSTILE, "'); DROP TABLE filtered_items; --"]}}, [20]),
    ({"f": {"$gt": "' OR 1=1 --"}}, [2, 8, 9, 10, 11, 20, 21, 22]),
    ({"a') OR 1=1 --": 1}, []),
    ({"f') IS NOT NULL --": {"$exists": True}}, []),
    ({"%(param_1)s": {"$exists": True}, ":x": {"$exists": True}, "?": 1}, []),
    # Subclasses of the plain types are what JSON makes of them.
    ({"f": {"$ne": np.float64(0.3)}}, without(24)),
    ({"f": {"$in": [Colour.RED, np.str_("1"), Level.HIGH]}}, [2]),
    ({"f": {"$lt": Level.HIGH, "$gte": np.float64(1)}}, [0, 1]),
]


@pytest.mark.parametrize(("where", "expected"), CASES, ids=lambda value: str(value)[:60])
def test_matches(engine: Engine, where: dict[str, Any], expected: list[int]):
    assert find(engine, DOCUMENTS, where) == expected


@pytest.mark.parametrize(("where", "expected"), CASES, ids=lambda value: str(value)[:60])
def test_the_reference_agrees_with_the_table(where: dict[str, Any], expected: list[int]):
    assert [key for key, one in enumerate(DOCUMENTS) if matches(where, one)] == expected


def test_names_with_quotes_brackets_and_unicode_are_names(engine: Engine):
    names = ["it's", "a b", "[0]", "straße", "\U0001f600", "a`b", "a]b", "$inner", "#-1", "{a}"]
    for name in names:
        assert find(engine, [{"x": {name: 1}}, {"x": 1}], {f"x.{name}": 1}) == [0], name


def test_large_filters_reach_the_database(engine: Engine):
    wide = {"$or": [{f"key {number}": {"$contains": number}} for number in range(249)]}
    assert find(engine, [{"key 248": [248]}, {"key 248": 248}], wide) == [0]
    long = {"f": {"$nin": list(range(10_000))}, "g": {"$in": ["x" * 50] * 10_000}}
    assert find(engine, [{"f": 10_000, "g": "x" * 50}, {"f": 9_999}], long) == [0]


# Four ways to nest: each adds one level or two to a filter.
NESTINGS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "not": lambda where: {"$not": where},
    "and or": lambda where: {"g": 1, "$or": [{"f": 2}, {"h": {"$gt": 3}, "$not": where}]},
    "or and": lambda where: {"$or": [{"g": 2}, {"$and": [{"h": {"$contains": 1}}, where]}]},
    "beside": lambda where: {"f": "a", "$or": [chain(10), {"g": 1, "$or": [where, chain(9)]}]},
    "behind": lambda where: {"$and": [chain(10), {"$or": [chain(9), {"$not": where}]}]},
}


def chain(levels: int) -> dict[str, Any]:
    where: dict[str, Any] = {"f": 1}
    for _ in range(levels):
        where = {"$not": where}
    return where


@pytest.mark.parametrize("nesting", NESTINGS)
def test_deep_filters_reach_the_database(engine: Engine, nesting: str):
    where: dict[str, Any] = {"f": {"$contains": "a"}}
    with contextlib.suppress(FilterError):
        while True:
            deeper = NESTINGS[nesting](where)
            compile_where(deeper, Columns(column("metadata")), "sqlite")
            where = deeper
    documents = [{"f": "a", "g": 1, "h": 4}, {"f": 2, "g": 1}, {"f": "a", "g": 1}, None]
    expected = [key for key, one in enumerate(documents) if matches(where, one)]
    assert find(engine, documents, where) == expected


def test_deep_fields_reach_the_database(engine: Engine):
    document: Any = 1
    for _ in range(50):
        document = {"a": document}
    assert find(engine, [document, {}], {".".join("a" * 50): 1}) == [0]


def cyclic() -> dict[str, Any]:
    where: dict[str, Any] = {}
    where["$not"] = where
    return where


REFUSED: list[tuple[Any, str]] = [
    ([("f", 1)], "a filter is a mapping"),
    ("f = 1", "a filter is a mapping"),
    (None, "a filter is a mapping"),
    ({1: 2}, "named by a string, not 1"),
    ({None: 2}, "named by a string, not None"),
    ({"$nor": [{}]}, r"unknown operator '\$nor'"),
    ({"$where": "1=1"}, r"unknown operator '\$where'"),
    ({"$gt": 1}, r"\$gt stands where a field is expected"),
    ({"f": {"$regex": "x"}}, r"field 'f': '\$regex' is not an operator"),
    ({"f": {"$like": "x"}}, r"'\$like' is not an operator"),
    ({"f": {"g": 1}}, "'g' is not an operator.*\"f.inner\""),
    ({"f": {"$gt": 1, "g": 1}}, "'g' is not an operator"),
    ({"f": {1: 1}}, "1 is not an operator"),
    ({"f": {}}, "expects operators"),
    ({"f": {"$not": {}}}, "expects operators"),
    ({"f": {"$not": 1}}, "expects operators"),
    ({"f": {"$and": [{"$gt": 1}]}}, r"'\$and' is not an operator"),
    ({"$and": []}, r"\$and expects a non-empty list"),
    ({"$or": {"f": 1}}, r"\$or expects a non-empty list"),
    ({"$or": "ab"}, r"\$or expects a non-empty list"),
    ({"$or": [1]}, "a filter is a mapping"),
    ({"$not": [{"f": 1}]}, "a filter is a mapping"),
    ({"f": [[1]]}, r"field 'f', \$eq: a list is no value here, unless .*: \$in finds one of many"),
    ({"f": [1] * 101}, "a list of 101 values; at most 100"),
    ({"$or": [{"f": [1] * 100}] * 5}, "at most 500 conditions"),
    ({"f": {"$startswith": 1}}, r"\$startswith: expects a string, not 1"),
    ({"f": {"$icontains": None}}, r"\$icontains: expects a string"),
    ({"$id": {"$gt": "a"}}, r"\$id: '\$gt' cannot be asked of an id"),
    ({"$id": [1]}, "a list is no value"),
    ({"$document": ["a"]}, "a list is no value"),
    ({"$has_vector": 1}, "expects True or False, not 1"),
    ({"$text": "a"}, r"of items \$id, \$document, \$has_vector"),
    ({"f": {"$eq": {"g": 1}}}, "a mapping is no value here"),
    ({"f": {"$in": [[1]]}}, r"field 'f', \$in: a list is no value"),
    ({"f": {"$in": [{}]}}, "a mapping is no value"),
    ({"f": {"$in": "abc"}}, "expects a list of values, not 'abc'"),
    ({"f": {"$nin": 1}}, r"\$nin: expects a list of values, not 1"),
    ({"f": {"$in": [0] * 10_001}}, "10001 values; at most 10000"),
    ({"f": {"$contains": ["a"]}}, r"field 'f', \$contains: a list is no value"),
    ({"f": {"$exists": 1}}, "expects True or False, not 1"),
    ({"f": {"$exists": None}}, "expects True or False"),
    ({"f": {"$gt": None}}, r"field 'f', \$gt: None has no order"),
    ({"f": {"$lte": True}}, "True has no order"),
    ({"f": {"$lt": [1]}}, "a list is no value"),
    ({"f": {"$gte": {}}}, "a mapping is no value"),
    ({"f": 2**63}, "outside int64"),
    ({"f": {"$lt": -(2**63) - 1}}, "outside int64"),
    ({"f": {"$in": [10**5000]}}, "outside int64"),
    ({"f": math.nan}, "not a number that JSON can hold"),
    ({"f": {"$gt": math.inf}}, "not a number that JSON can hold"),
    ({"f": np.float64("nan")}, "not a number that JSON can hold"),
    ({"f": np.int64(1)}, "is a int64; use a string, a number"),
    ({"f": b"x"}, "is a bytes; use a string"),
    ({"f": date(2024, 1, 1)}, "is a date; use a string"),
    ({"f": "a\0b"}, "NUL character"),
    ({"f": {"$contains": "\0"}}, "NUL character"),
    ({"f": "\ud800"}, "half a surrogate pair"),
    ({"": 1}, "an empty name"),
    ({".f": 1}, "an empty name"),
    ({"f..g": 1}, "an empty name"),
    ({"f.": 1}, "an empty name"),
    ({'f"': 1}, "no double quote, backslash"),
    ({'f" OR 1=1 --': 1}, "no double quote, backslash"),
    ({"f\\": 1}, "no double quote, backslash"),
    ({"f\n": 1}, "control character"),
    ({"f\0": 1}, "control character"),
    ({"\udc00": 1}, "half surrogate pair"),
    ({".".join("a" * 51): 1}, "at most 50 keys deep"),
    (chain(21), "at most 20 levels"),
    (chain(500), "at most 20 levels"),
    ({"f": {"$not": chain(300)}}, "at most 20 levels"),
    (cyclic(), "at most 20 levels"),
    ({"$or": [{"f": 1}] * 501}, r"at most 500 conditions.*\$in"),
    ({"f": {"$gt": 1}, "g": {f"${number}": 1 for number in range(9)}}, "not an operator"),
]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.parametrize(("where", "message"), REFUSED, ids=lambda value: str(type(value)))
def test_refuses(where: Any, message: str, dialect: str):
    with pytest.raises(FilterError, match=message) as refusal:
        compile_where(where, Columns(column("metadata")), dialect)
    assert len(str(refusal.value)) < 300


def test_refusals_are_input_errors_and_other_dialects_unsupported():
    assert issubclass(FilterError, InputError)
    with pytest.raises(UnsupportedError, match="'mysql'; available: sqlite, postgresql"):
        compile_where({}, Columns(column("metadata")), "mysql")


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])
def test_nothing_of_a_filter_is_in_the_sql_text(dialect: Any):
    marker = "zzz"
    operators = {
        "$eq": marker, "$gt": marker, "$in": [marker], "$nin": [marker, 1], "$contains": marker
    }  # fmt: skip
    where = {f"a{marker}.{marker}": operators, marker: marker, f"{marker}2": None}
    where = {"$or": [where, {"$not": {f"{marker}3": {"$exists": True, "$not": operators}}}]}
    compiled = compile_where(where, Columns(column("metadata")), dialect.name).compile(
        dialect=dialect
    )
    assert marker not in str(compiled)
    assert any(marker in str(value) for value in compiled.params.values())


def test_the_filter_given_is_not_changed():
    where = {"$and": [{"f": {"$in": [3, 1, 2, None]}}], "g": {"$not": {"$eq": 1}}}
    before = repr(where)
    compile_where(where, Columns(column("metadata")), "sqlite")
    assert repr(where) == before

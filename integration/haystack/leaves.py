"""One comparison of a Haystack filter: as filters of requant's, and as a test of an item.

A filter of requant's says the same wherever it can. Where it cannot (dates, which Haystack compares
as times; lists and objects that equal each other; embeddings), there are two that enclose what is
meant, and the items between them are tested one by one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from requant.integration.haystack import dates
from requant.integration.haystack.errors import DocumentFilterError
from requant.integration.haystack.fields import Field, Found

Where = dict[str, Any]
# Not empty: `{}` stands for no filter where items are to be removed.
EVERYTHING: Where = {"$and": [{}]}
NOTHING: Where = {"$not": EVERYTHING}
ORDERS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    ">": ("$gt", operator.gt),
    ">=": ("$gte", operator.ge),
    "<": ("$lt", operator.lt),
    "<=": ("$lte", operator.le),
}
# Beyond, databases and Python compare integers and floats differently.
_EXACT = 1 << 53
_MOST_VALUES = 10_000
_MOST_LISTED = 100


@dataclass(frozen=True)
class Condition:
    """Items that meet `least` are meant, items that do not meet `most` are not.

    `meets` tells of an item; where both filters are one, nothing has to be asked.
    """

    most: Where
    least: Where
    meets: Callable[[Found], bool]
    needs_vector: bool = False

    @property
    def exact(self) -> bool:
        """Whether the filter alone says what is meant."""
        return self.most is self.least


def equal(field: Field, value: Any, instants: Collection[str]) -> Condition:
    """Return `==`, which Haystack asks as Python does: `1 == True`, and dates are times."""
    value = plain(value)

    def meets(item: Found) -> bool:
        return same(field.value(item), value, field.needs_vector)

    def enclosed(most: Where, least: Where = NOTHING) -> Condition:
        return Condition(most, least, meets, field.needs_vector)

    def exactly(where: Where) -> Condition:
        return enclosed(where, where)

    if field.needs_vector:
        return exactly({"$has_vector": False}) if value is None else enclosed({"$has_vector": True})
    alternatives = listed(field, value, instants)
    if alternatives is not None:
        return exactly({_name(field): {"$in": alternatives}} if alternatives else NOTHING)
    if field.nowhere:
        return exactly(EVERYTHING if value is None else NOTHING)
    if _is_plain_list(value) and field.where is not None:
        return exactly({field.where: {"$eq": value}})
    time = dates.when(value)
    if time is None or _name(field) in ("", "$id"):
        return enclosed(EVERYTHING)
    first, last = dates.around(time)
    same_text = NOTHING if isinstance(value, datetime) else {_name(field): {"$eq": value}}
    return enclosed({_name(field): {"$gte": first, "$lt": last}}, same_text)


def one_of(field: Field, values: Any, instants: Collection[str]) -> list[Condition]:
    """Return `in` as conditions of which one has to hold."""
    if not isinstance(values, list):
        raise DocumentFilterError(
            f"field {field.name!r}: 'in' and 'not in' expect a list, not {type(values).__name__}"
        )
    together: dict[Any, Any] = {}
    apart: list[Condition] = []
    for value in map(plain, values):
        alternatives = None if field.needs_vector else listed(field, value, instants)
        if alternatives is None:
            apart.append(equal(field, value, instants))
        else:
            together.update(((type(one), one), one) for one in alternatives)
    asked = list(together.values())
    return apart + [
        _in(field, asked[at : at + _MOST_VALUES]) for at in range(0, len(asked), _MOST_VALUES)
    ]


def _in(field: Field, values: list[Any]) -> Condition:
    where = {_name(field): {"$in": values}}
    wanted = {(type(one) is str, one) for one in values}

    def meets(item: Found) -> bool:
        found = field.value(item)
        hashable = found is None or isinstance(found, str | int | float)
        return hashable and (type(found) is str, found) in wanted

    return Condition(where, where, meets)


def ordered(field: Field, sign: str, value: Any, instants: Collection[str]) -> Condition:
    """Return an order: of numbers, or of dates; what cannot be compared does not match."""
    value = plain(value)
    name, compare = ORDERS[sign]
    time = _comparable(field, sign, value)

    def meets(item: Found) -> bool:
        found = field.value(item)
        if time is not None:
            there = dates.when_ordered(found)
            return there is not None and compare(*dates.aligned(there, time))
        return value is not None and isinstance(found, int | float) and compare(found, value)

    def exactly(where: Where) -> Condition:
        return Condition(where, where, meets)

    if value is None or field.nowhere or field.needs_vector:
        return exactly(NOTHING)
    if time is not None:
        if _name(field) in ("", "$id"):
            return Condition(EVERYTHING, NOTHING, meets)
        if field.where in instants:
            return exactly({_name(field): {name: dates.told(time)}})
        return Condition({_name(field): _range(name, time)}, NOTHING, meets)
    if field.beside is not None:
        return exactly(NOTHING)  # texts
    if field.where is None or not _is_small(value):
        return Condition(EVERYTHING, NOTHING, meets)
    number = value + 0
    booleans = [one for one in (False, True) if compare(one, number)]
    either = [{field.where: {name: number}}, {field.where: {"$in": booleans}}]
    return exactly({"$or": either[: 1 + bool(booleans)]})


def plain(value: Any) -> Any:
    """Return a value of NumPy's as Python's."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def same(found: Any, value: Any, embedding: bool = False) -> bool:
    """Whether both are equal as Haystack sees it; embeddings as the float32 that are stored."""
    if embedding and isinstance(value, list) and found is not None:
        return len(found) == len(value) and found == _float32(value)
    if found == value:
        return True
    one, other = dates.when(found), dates.when(value)
    if one is None or other is None:
        return False
    one, other = dates.aligned(one, other)
    return one == other


def listed(field: Field, value: Any, instants: Collection[str]) -> list[Any] | None:
    """Return the stored values that equal a value, as `$in` takes them; None if it cannot say."""
    if field.beside == "$id" and not isinstance(value, str | datetime):
        return []
    if value is None or isinstance(value, str):
        if not _name(field):
            return None
        if value is None:
            return [None]
        time = dates.when(value)
        if time is not None:
            return [value, dates.told(time)] if field.where in instants else None
        return [value] if _storable(value) else []
    if field.beside is not None:
        return None if isinstance(value, datetime) else []
    if field.where is None or not isinstance(value, int | float):
        return None
    if not _is_small(value):
        return None
    twins = [value + 0, value == 1] if value in (0, 1) else [value]
    return twins


def _name(field: Field) -> str:
    return "" if field.nowhere else (field.beside or field.where or "")


def _comparable(field: Field, sign: str, value: Any) -> datetime | None:
    """Return the time that a value stands for; raises FilterError for what has no order."""
    if value is None or isinstance(value, int | float):
        return None
    time = dates.when_ordered(value)
    if time is None:
        raise DocumentFilterError(
            f"field {field.name!r}: {sign!r} compares numbers and texts that are dates in ISO 8601 "
            f"(2024-05-01, 2024-05-01T10:00:00), not {str(value)[:80]!r}, a {type(value).__name__}"
        )
    return time


def _range(name: str, time: datetime) -> dict[str, str]:
    first, last = dates.years_around(time)
    if name in ("$gt", "$gte"):
        return {"$gte": first, "$lt": dates.BEYOND}
    return {"$gte": dates.FIRST, "$lt": last}


def _is_small(value: Any) -> bool:
    return bool(abs(value) <= _EXACT)


def _is_plain_list(value: Any) -> bool:
    """Whether a list equals the same lists for Python and for a filter of requant's."""
    if not isinstance(value, list) or not 0 < len(value) <= _MOST_LISTED:
        return False
    return all(
        one is None
        or (isinstance(one, str) and _storable(one))
        or (type(one) in (int, float) and _is_small(one) and one not in (0, 1))
        for one in value
    )


def _storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _float32(values: list[Any]) -> Any:
    try:
        return np.asarray(values, np.float32).tolist()
    except (TypeError, ValueError, OverflowError):
        return None

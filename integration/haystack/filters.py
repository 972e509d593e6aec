"""Filters of Haystack, read whole: every mistake in one is told before anything is looked at."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from requant.integration.haystack.errors import DocumentFilterError
from requant.integration.haystack.fields import Field, Found
from requant.integration.haystack.leaves import (
    EVERYTHING,
    NOTHING,
    ORDERS,
    Condition,
    Where,
    equal,
    one_of,
    ordered,
)

_LOGIC = ("AND", "OR", "NOT")
_COMPARISONS = ("==", "!=", *ORDERS, "in", "not in")


# Below what Python's stack holds; what the databases answer is told by `requant.filters`.
_DEEPEST = 100


def read(filters: Mapping[str, Any], instants: Collection[str] = ()) -> Condition:
    """Return what a filter means.

    Args:
        filters: of Haystack, a comparison or a connection of others.
        instants: fields that are indexed as dates; there a time without an offset is UTC.

    Raises FilterError, Haystack's and requant's.

    >>> read({"field": "meta.lang", "operator": "!=", "value": "en"}).most
    {'$not': {'lang': {'$in': ['en']}}}
    """
    return _read(filters, instants, 0)


def _read(filters: Mapping[str, Any], instants: Collection[str], depth: int) -> Condition:
    if depth > _DEEPEST:
        raise DocumentFilterError(f"filters nest more than {_DEEPEST} levels deep: flatten them")
    if not isinstance(filters, Mapping):
        raise DocumentFilterError(
            'filters are a dict such as {"field": "meta.lang", "operator": "==", "value": "en"}, '
            f"not {type(filters).__name__}"
        )
    if "field" in filters:
        return _comparison(filters, instants)
    sign, conditions = _asked(filters, "operator"), _asked(filters, "conditions")
    if sign not in _LOGIC:
        known = ", ".join(_LOGIC)
        raise DocumentFilterError(f"unknown operator {sign!r} of conditions; there are {known}")
    if not isinstance(conditions, list | tuple):
        raise DocumentFilterError(f"conditions are a list, not {type(conditions).__name__}")
    parts = [_read(one, instants, depth + 1) for one in conditions]
    return _any(parts) if sign == "OR" else _all(parts) if sign == "AND" else _not(_all(parts))


def _comparison(filters: Mapping[str, Any], instants: Collection[str]) -> Condition:
    name, sign, value = filters["field"], _asked(filters, "operator"), _asked(filters, "value")
    if not isinstance(name, str):
        raise DocumentFilterError(f"a field is named by a text such as 'meta.lang', not {name!r}")
    field = Field(name)
    if sign in ("==", "!="):
        found = equal(field, value, instants)
        return found if sign == "==" else _not(found)
    if sign in ("in", "not in"):
        found = _any(one_of(field, value, instants))
        return found if sign == "in" else _not(found)
    if not isinstance(sign, str) or sign not in ORDERS:
        known = ", ".join(_COMPARISONS)
        raise DocumentFilterError(f"field {name!r}: unknown operator {sign!r}; there are {known}")
    return ordered(field, sign, value, instants)


def _asked(filters: Mapping[str, Any], key: str) -> Any:
    if key not in filters:
        raise DocumentFilterError(f"{key!r} is missing in the filter {str(dict(filters))[:200]}")
    return filters[key]


def _not(part: Condition) -> Condition:
    most: Where = {"$not": part.least}
    least = most if part.exact else {"$not": part.most}
    return Condition(most, least, lambda item: not part.meets(item), part.needs_vector)


def _all(parts: Sequence[Condition]) -> Condition:
    def meets(item: Found) -> bool:
        return all(part.meets(item) for part in parts)

    return _together("$and", parts, meets, EVERYTHING)


def _any(parts: Sequence[Condition]) -> Condition:
    def meets(item: Found) -> bool:
        return any(part.meets(item) for part in parts)

    return _together("$or", parts, meets, NOTHING)


def _together(word: str, parts: Sequence[Condition], meets: Any, none: Where) -> Condition:
    if len(parts) == 1:
        return parts[0]
    most: Where = {word: [part.most for part in parts]} if parts else none
    exact = all(part.exact for part in parts)
    least = most if exact else {word: [part.least for part in parts]}
    return Condition(most, least, meets, any(part.needs_vector for part in parts))

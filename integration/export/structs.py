"""Metadata as a struct, where all items have the same fields of the same types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from requant.integration.export.packages import package

# What a value is: a name, or ("list", kind), or ("struct", ((name, kind), ...)); what is in an
# empty list is "unknown".
Kind = Any
_MAX_DEPTH = 8


class MixedError(Exception):
    """The values have no type in common."""


def struct_of(pages: Iterable[list[dict[str, Any] | None]]) -> Any | None:
    """Return the Arrow struct that holds the metadata of all items exactly, None if there is none.

    It takes the same fields in the same order, of one type each; a value may be null, metadata
    may not: readers of older tables cannot tell a null from a struct of nulls.

    >>> struct_of([[{"year": 2020, "tags": ["a"]}, {"year": None, "tags": []}]])
    StructType(struct<year: int64, tags: list<item: string>>)
    >>> struct_of([[{"year": 2020}, {"year": 2020.5}]])
    """
    kind: Kind = None
    try:
        for page in pages:
            for metadata in page:
                found = _kind(metadata, 0)
                if found == "null":
                    return None
                kind = found if kind is None else _merged(kind, found)
    except MixedError:
        return None
    return None if kind is None else _arrow(kind)


def _kind(value: Any, depth: int) -> Kind:
    if value is None:
        return "null"
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return (
            "struct",
            tuple((_field(value, key), _kind(v, depth + 1)) for key, v in _some(value)),
        )
    if isinstance(value, list) and depth < _MAX_DEPTH:
        inner: Kind = "unknown"
        for element in value:
            inner = _merged(inner, _kind(element, depth + 1))
        return ("list", inner)
    if isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 63:
        raise MixedError
    name = type(value).__name__
    if name not in ("bool", "int", "float", "str"):
        raise MixedError
    return name


def _some(value: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    if not value:
        raise MixedError  # a struct without fields holds nothing
    return value.items()


def _field(value: dict[str, Any], key: str) -> str:
    # SQL on a table knows these without quotes, and does not tell case apart.
    if not key.isidentifier() or sum(other.lower() == key.lower() for other in value) > 1:
        raise MixedError
    return key


def _merged(left: Kind, right: Kind) -> Kind:
    if left == right:
        return left
    if "unknown" in (left, right):
        return right if left == "unknown" else left
    if "null" in (left, right):
        known = right if left == "null" else left
        if known[0] == "struct":
            raise MixedError
        return known
    if left[0] == right[0] == "list":
        return ("list", _merged(left[1], right[1]))
    if left[0] == right[0] == "struct" and _names(left) == _names(right):
        pairs = zip(left[1], right[1], strict=True)
        return ("struct", tuple((name, _merged(kind, other)) for (name, kind), (_, other) in pairs))
    raise MixedError


def _names(kind: Kind) -> list[str]:
    return [name for name, _ in kind[1]]


def _arrow(kind: Kind) -> Any:
    arrow = package("pyarrow", "lancedb")
    if kind[0] == "struct":
        return arrow.struct([(name, _arrow(inner)) for name, inner in kind[1]])
    if kind[0] == "list":
        return arrow.list_(_arrow(kind[1]))
    types = {"bool": arrow.bool_(), "int": arrow.int64(), "float": arrow.float64()}
    return types.get(kind, arrow.string())

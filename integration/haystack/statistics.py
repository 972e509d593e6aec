"""What stands in the metadata of documents: which fields, which values, and their ends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from requant.integration.haystack.documents import BESIDE
from requant.integration.haystack.errors import DocumentError
from requant.integration.haystack.kept import Documents, Filters

_MISSING = object()


def field_types(kept: Documents) -> dict[str, dict[str, str]]:
    """Return boolean, int, float or keyword for each field; of several kinds, keyword."""
    kinds: dict[str, set[str]] = {}
    for item in kept.items(None):
        for key, value in (item.metadata or {}).items():
            if value is not None and key != BESIDE:
                kinds.setdefault(key, set()).add(_kind(value))
    return {key: {"type": _common(found)} for key, found in kinds.items()}


def ends(kept: Documents, field: str) -> dict[str, Any]:
    """Return the least and the greatest value; None where they are of several kinds, or none."""
    values = [value for value in _values(kept, field, None) if isinstance(value, int | float | str)]
    texts = sum(isinstance(value, str) for value in values)
    if not values or 0 < texts < len(values):
        return {"min": None, "max": None}
    return {"min": min(values), "max": max(values)}


def count_unique(kept: Documents, filters: Filters | None, fields: Sequence[str]) -> dict[str, int]:
    """Return how many values each field has among what a filter lets through."""
    if isinstance(fields, str) or not hasattr(fields, "__iter__"):
        raise DocumentError(f"metadata_fields is a list of names, not {type(fields).__name__}")
    keys = [_key(field) for field in fields]
    seen: dict[str, set[str]] = {key: set() for key in keys}
    for item in kept.items(filters):
        for key in seen:
            value = _value(item.metadata, key)
            if value is not None:
                seen[key].add(_told_apart(value))
    return {key: len(values) for key, values in seen.items()}


def unique(
    kept: Documents, field: str, term: str | None, first: int, size: int, filters: Filters | None
) -> tuple[list[Any], int]:
    """Return some of a field's values, in order, and how many there are: 1, 1.0 and True apart."""
    if not all(isinstance(count, int) and count >= 0 for count in (first, size)):
        raise DocumentError(f"from_ and size count from 0, not {first!r} and {size!r}")
    values = {_told_apart(value): value for value in _values(kept, field, filters)}
    found = [one for one in values.values() if not term or term.lower() in str(one).lower()]
    found.sort(key=lambda value: (str(value), type(value).__name__))
    return found[first : first + size], len(found)


def _values(kept: Documents, field: str, filters: Filters | None) -> Iterable[Any]:
    key = _key(field)
    values = (_value(item.metadata, key) for item in kept.items(filters))
    return (value for value in values if value is not None)


def _key(field: str) -> str:
    if not isinstance(field, str):
        raise DocumentError(f"a field is named by a text, not {field!r}")
    return field.removeprefix("meta.")


def _value(meta: Mapping[str, Any] | None, key: str) -> Any:
    """Return what stands under a key, or, as in filters, under the keys between its dots."""
    if not meta:
        return None
    value = meta.get(key, _MISSING)
    if value is not _MISSING or "." not in key:
        return None if value is _MISSING else value
    whole: Any = meta
    for part in key.split("."):
        if not isinstance(whole, Mapping):
            return None
        whole = whole.get(part)
    return whole


def _told_apart(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "int" if isinstance(value, int) else "float" if isinstance(value, float) else "keyword"


def _common(kinds: set[str]) -> str:
    if len(kinds) == 1:
        return next(iter(kinds))
    return "float" if kinds == {"int", "float"} else "keyword"

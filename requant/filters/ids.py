"""The ids that a filter names at its top: looked up by key, and not by asking every item."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

# How deep lists of $and are followed; the parser sees to what is deeper.
_LEVELS = 4
# Python itself refuses to write longer numbers; no id is one.
_BITS = 4096


def named_ids(where: Any) -> tuple[list[str] | None, Any]:
    """Return the ids that an item must be one of, None for no such wish, and what else must hold.

    What is not plainly `$id` with an id or with `$in`, alone or in an `$and`, stays in the filter,
    and so does what the parser will refuse.

    >>> named_ids({"$id": {"$in": ["a", 7]}, "lang": "en"})
    (['a', '7'], {'lang': 'en'})
    """
    found: list[list[str]] = []
    if not isinstance(where, Mapping):
        return None, where
    rest = _without(where, found, 0)
    if not found:
        return None, where
    first, *others = found
    sets = [set(other) for other in others]
    return [text for text in first if all(text in other for other in sets)], rest


def _without(where: Mapping[str, Any], found: list[list[str]], level: int) -> Mapping[str, Any]:
    rest: dict[str, Any] = {}
    for key, operand in where.items():
        if key == "$and" and _is_list_of_filters(operand) and level < _LEVELS:
            parts = [_without(part, found, level + 1) for part in operand]
            parts = [part for part, whole in zip(parts, operand, strict=True) if part or not whole]
            if parts:
                rest[key] = parts
            continue
        texts = _texts(_values(operand)) if key == "$id" else None
        if texts is None:
            rest[key] = operand
        else:
            found.append(texts)
    return rest


def _is_list_of_filters(operand: object) -> bool:
    return (
        isinstance(operand, list | tuple)
        and bool(operand)
        and all(isinstance(part, Mapping) for part in operand)
    )


def _values(operand: Any) -> Iterable[Any] | None:
    """Return the ids that an operand of `$id` names, None if it asks for something else."""
    if not isinstance(operand, Mapping):
        return (operand,)
    if len(operand) != 1:
        return None
    ((operator, value),) = operand.items()
    if operator == "$eq":
        return (value,)
    listed = operator == "$in" and isinstance(value, list | tuple | set | frozenset)
    return value if listed else None


def _texts(values: Iterable[Any] | None) -> list[str] | None:
    """Return ids as they are stored, None where one of them is no id."""
    if values is None:
        return None
    texts: list[str] = []
    for value in values:
        if type(value) is str:
            texts.append(value)
        elif type(value) is UUID or (type(value) is int and value.bit_length() < _BITS):
            texts.append(str(value))
        else:
            return None
    joined = "".join(texts)
    try:
        joined.encode()
    except UnicodeEncodeError:
        return None
    return None if "\0" in joined else texts

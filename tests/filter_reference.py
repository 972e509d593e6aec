"""What a metadata filter means, in plain Python: the second implementation to compare SQL with."""

from __future__ import annotations

import operator
from typing import Any

MISSING = object()
ORDER = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}


def matches(where: dict[str, Any], metadata: dict[str, Any] | None) -> bool:
    """Return whether an item with this metadata is matched by the filter."""
    document = metadata or {}
    for key, operand in where.items():
        if key == "$and":
            found = all([matches(part, document) for part in operand])
        elif key == "$or":
            found = any([matches(part, document) for part in operand])
        elif key == "$not":
            found = not matches(operand, document)
        elif isinstance(operand, dict):
            found = _holds(operand, _look_up(document, key))
        else:
            found = _equal(_look_up(document, key), operand)
        if not found:
            return False
    return True


def _look_up(document: dict[str, Any], field: str) -> Any:
    value: Any = document
    for key in field.split("."):
        if not isinstance(value, dict) or key not in value:
            return MISSING
        value = value[key]
    return value


def _holds(operators: dict[str, Any], value: Any) -> bool:
    return all([_holds_one(name, operand, value) for name, operand in operators.items()])


def _holds_one(name: str, operand: Any, value: Any) -> bool:
    if name == "$not":
        return not _holds(operand, value)
    if name == "$exists":
        return (value is not MISSING) == operand
    if name in ("$eq", "$ne"):
        return _equal(value, operand) == (name == "$eq")
    if name in ("$in", "$nin"):
        return any(_equal(value, one) for one in operand) == (name == "$in")
    if name == "$contains":
        return _contains(value, operand)
    return _type(value) == _type(operand) and bool(ORDER[name](value, operand))


def _equal(value: Any, operand: Any) -> bool:
    if operand is None:
        return value is None or value is MISSING
    return _type(value) == _type(operand) and bool(value == operand)


def _contains(value: Any, operand: Any) -> bool:
    if isinstance(value, str):
        return isinstance(operand, str) and operand in value
    if not isinstance(value, list):
        return False
    return any(_type(one) == _type(operand) and one == operand for one in value)


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else type(value).__name__

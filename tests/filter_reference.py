"""What a metadata filter means, in plain Python: the second implementation to compare SQL with."""

from __future__ import annotations

import operator
import re
from typing import Any

MISSING = object()
BESIDE = {"$id": "id", "$document": "document"}
ORDER = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}


def matches(
    where: dict[str, Any], metadata: dict[str, Any] | None, item: dict[str, Any] | None = None
) -> bool:
    """Return whether an item is matched; `item` has its id, its document, and whether a vector."""
    document, item = metadata or {}, item or {}
    for key, operand in where.items():
        if key == "$and":
            found = all([matches(part, document, item) for part in operand])
        elif key == "$or":
            found = any([matches(part, document, item) for part in operand])
        elif key == "$not":
            found = not matches(operand, document, item)
        elif key == "$has_vector":
            found = item.get("vector", False) == operand
        elif key in BESIDE:
            beside = item.get(BESIDE[key])
            operators = operand if isinstance(operand, dict) else {"$eq": operand}
            found = _holds(operators, MISSING if beside is None else beside)
        elif isinstance(operand, dict):
            found = _holds(operand, _look_up(document, key))
        else:
            found = _equal(_look_up(document, key), operand)
        if not found:
            return False
    return True


def _look_up(document: dict[str, Any], field: str) -> Any:
    value: Any = document
    for key in re.split(r"(?<!\\)\.", field):
        key = key.replace("\\.", ".")
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
    if name in ("$icontains", "$startswith"):
        return isinstance(value, str) and _has_text(name, value, operand)
    return _type(value) == _type(operand) and bool(ORDER[name](value, operand))


def _equal(value: Any, operand: Any) -> bool:
    if operand is None:
        return value is None or value is MISSING
    if isinstance(operand, list):
        same_size = isinstance(value, list) and len(value) == len(operand)
        return same_size and all(map(_equal_element, value, operand))
    return _type(value) == _type(operand) and bool(value == operand)


def _equal_element(value: Any, operand: Any) -> bool:
    return value is None if operand is None else _equal(value, operand)


def _has_text(name: str, value: str, operand: str) -> bool:
    return value.startswith(operand) if name == "$startswith" else _low(operand) in _low(value)


def _low(text: str) -> str:
    return "".join(one.lower() if one.isascii() else one for one in text)


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

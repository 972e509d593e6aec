"""Conditions in the SQL of SQLite 3.37 and later, with its JSON functions.

`json_type` tells what stands at a path; `json_extract` alone does not, since it returns true as 1
and an array as text. Operands travel as JSON too: SQLite then reads the digits of a float on both
sides with the same routine, which need not be the one that Python uses.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FunctionElement,
    Text,
    and_,
    exists,
    false,
    func,
    literal,
    or_,
    select,
)

from requant.filters.tree import (
    Compare,
    Condition,
    Contains,
    Equals,
    Exists,
    Null,
    OneOf,
    Path,
    Scalar,
)

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def condition(node: Condition, metadata: ColumnElement[str]) -> ColumnElement[bool]:
    """Return one condition as an expression that is true where it holds, else false or NULL."""
    path = literal(_json_path(node.path), Text())
    kind, value = func.json_type(metadata, path), func.json_extract(metadata, path)
    if isinstance(node, Null):
        return func.coalesce(kind, "null") == "null"
    if isinstance(node, Exists):
        return kind.is_not(None)
    if isinstance(node, Equals):
        return _equals(kind, value, node.value)
    if isinstance(node, OneOf):
        return or_(false(), *(_among(kind, value, group) for group in _by_kind(node.values)))
    if isinstance(node, Compare):
        return and_(kind.in_(_kinds(node.value)), COMPARE[node.operator](value, _json(node.value)))
    return _contains(node, kind, value, func.json_each(metadata, path))


def _json_path(path: Path) -> str:
    """Return a path that only follows keys of objects, whatever their names."""
    return "$" + "".join(f'."{key}"' for key in path)


def _json(value: Scalar) -> ColumnElement[Any]:
    return func.json_extract(literal(json.dumps(value, ensure_ascii=False), Text()), "$")


def _kinds(value: Scalar | None) -> tuple[str, ...]:
    """Return what json_type calls values of this type; bools are types of their own."""
    if value is None or isinstance(value, bool):
        return (json.dumps(value),)
    return ("text",) if isinstance(value, str) else ("integer", "real")


def _equals(
    kind: ColumnElement[Any], found: ColumnElement[Any], value: Scalar | None
) -> ColumnElement[bool]:
    same_kind = kind.in_(_kinds(value))
    if value is None or isinstance(value, bool):
        return same_kind
    return and_(same_kind, found == _json(value))


def _by_kind(values: Iterable[Scalar]) -> list[list[Scalar]]:
    groups: dict[tuple[str, ...], list[Scalar]] = {}
    for value in values:
        groups.setdefault(_kinds(value), []).append(value)
    return list(groups.values())


def _among(
    kind: ColumnElement[Any], found: ColumnElement[Any], values: list[Scalar]
) -> ColumnElement[bool]:
    """Return whether `found` is one of `values`, which share a type and travel as one parameter."""
    if isinstance(values[0], bool):
        return _equals(kind, found, values[0])
    listed = func.json_each(literal(json.dumps(values, ensure_ascii=False), Text()))
    listed_values = select(listed.table_valued("value").c.value)
    return and_(kind.in_(_kinds(values[0])), found.in_(listed_values))


def _contains(
    node: Contains,
    kind: ColumnElement[Any],
    found: ColumnElement[Any],
    elements: FunctionElement[Any],
) -> ColumnElement[bool]:
    each = elements.table_valued("value", "type").alias()
    equal = _equals(each.c.type, each.c.value, node.value)
    has_element = and_(kind == "array", exists().select_from(each).where(equal))
    if not isinstance(node.value, str):
        return has_element
    return or_(and_(kind == "text", func.instr(found, node.value) > 0), has_element)

"""Conditions in the SQL of SQLite 3.37 and later, with its JSON functions.

`json_type` tells what stands at a path; `json_extract` alone does not, since it returns true as 1
and an array as text. Operands travel as JSON too: SQLite then reads the digits of a float on both
sides with the same routine, which need not be the one that Python uses.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

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
    Columns,
    Compare,
    Contains,
    Equals,
    EqualsList,
    Exists,
    FieldCondition,
    HasText,
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


class _Found(NamedTuple):
    """What stands at a path: its kind in the words of json_type, its value, and its elements."""

    kind: ColumnElement[Any]
    value: ColumnElement[Any]
    elements: FunctionElement[Any] | None = None


def condition(node: FieldCondition, columns: Columns) -> ColumnElement[bool]:
    """Return one condition as an expression that is true where it holds, else false or NULL."""
    found = _at(node.path, columns)
    if isinstance(node, Null):
        return func.coalesce(found.kind, "null") == "null"
    if isinstance(node, Exists):
        return found.kind.is_not(None)
    if isinstance(node, Equals):
        return _equals(found.kind, found.value, node.value)
    if isinstance(node, EqualsList):
        return _equals_list(node, columns)
    if isinstance(node, OneOf):
        return or_(false(), *(_among(found, group) for group in _by_kind(node.values)))
    if isinstance(node, Compare):
        ordered = COMPARE[node.operator](found.value, _json(node.value))
        return and_(found.kind.in_(_kinds(node.value)), ordered)
    if isinstance(node, HasText):
        return and_(found.kind == "text", _has_text(node, found.value))
    return _contains(node, found)


def _at(path: Path, columns: Columns) -> _Found:
    if isinstance(path, str):
        text = columns.beside[path]
        return _Found(func.nullif(func.typeof(text), "null"), text)
    at, metadata = literal(json_path(path), Text()), columns.metadata
    return _Found(
        func.json_type(metadata, at), func.json_extract(metadata, at), func.json_each(metadata, at)
    )


def json_path(path: tuple[str, ...]) -> str:
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


def _equals_list(node: EqualsList, columns: Columns) -> ColumnElement[bool]:
    metadata, at = columns.metadata, json_path(node.path)
    size = func.json_array_length(metadata, literal(at, Text()))
    same = [func.json_type(metadata, literal(at, Text())) == "array", size == len(node.values)]
    for place, value in enumerate(node.values):
        element = literal(f"{at}[{place}]", Text())
        found = func.json_extract(metadata, element)
        same.append(_equals(func.json_type(metadata, element), found, value))
    return and_(*same)


def _by_kind(values: Iterable[Scalar]) -> list[list[Scalar]]:
    groups: dict[tuple[str, ...], list[Scalar]] = {}
    for value in values:
        groups.setdefault(_kinds(value), []).append(value)
    return list(groups.values())


def _among(found: _Found, values: list[Scalar]) -> ColumnElement[bool]:
    """Return whether what is found is one of `values`, which share a type and travel as one."""
    if isinstance(values[0], bool):
        return _equals(found.kind, found.value, values[0])
    listed = func.json_each(literal(json.dumps(values, ensure_ascii=False), Text()))
    listed_values = select(listed.table_valued("value").c.value)
    return and_(found.kind.in_(_kinds(values[0])), found.value.in_(listed_values))


def _has_text(node: HasText, value: ColumnElement[Any]) -> ColumnElement[bool]:
    if node.operator == "$startswith":
        # Not LIKE, which has wildcards and forgets case.
        return func.substr(value, 1, len(node.value)) == node.value
    return func.instr(func.lower(value), func.lower(literal(node.value, Text()))) > 0


def _contains(node: Contains, found: _Found) -> ColumnElement[bool]:
    ways: list[ColumnElement[bool]] = []
    if found.elements is not None:
        each = found.elements.table_valued("value", "type").alias()
        equal = _equals(each.c.type, each.c.value, node.value)
        ways.append(and_(found.kind == "array", exists().select_from(each).where(equal)))
    if isinstance(node.value, str):
        ways.insert(0, and_(found.kind == "text", func.instr(found.value, node.value) > 0))
    return or_(false(), *ways)

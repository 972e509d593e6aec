"""Conditions in the SQL of PostgreSQL 12 and later, over the text column cast to jsonb.

jsonb compares with strict types and exact numbers, so operands travel as JSON. Two things it does
otherwise: strings order by the locale, hence COLLATE "C", and `#>` counts into arrays, hence `->`
with text keys.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import JSONB

from requant.filters.sqlite import COMPARE
from requant.filters.tree import (
    Compare,
    Condition,
    Contains,
    Equals,
    Exists,
    Null,
    OneOf,
    Path,
)


def condition(node: Condition, metadata: ColumnElement[str]) -> ColumnElement[bool]:
    """Return one condition as an expression that is true where it holds, else false or NULL."""
    found, text = _at(metadata, node.path)
    kind = func.jsonb_typeof(found)
    if isinstance(node, Null):
        return func.coalesce(kind, "null") == "null"
    if isinstance(node, Exists):
        return found.is_not(None)
    if isinstance(node, Equals):
        return found == _json(node.value)
    if isinstance(node, OneOf):
        return found.in_(select(func.jsonb_array_elements(_json(node.values))))
    if isinstance(node, Compare):
        return _compare(node, kind, found, text)
    return _contains(node, kind, found, text)


def _at(metadata: ColumnElement[str], path: Path) -> tuple[ColumnElement[Any], ColumnElement[str]]:
    """Return the value at a path as jsonb, and as text for the case that it is a string."""
    value: ColumnElement[Any] = cast(metadata, JSONB)
    for key in path[:-1]:
        value = value.op("->", return_type=JSONB())(literal(key, Text()))
    last = literal(path[-1], Text())
    text = value.op("->>", return_type=Text())(last)
    return value.op("->", return_type=JSONB())(last), text.collate("C")


def _json(value: Any) -> ColumnElement[Any]:
    return cast(literal(json.dumps(value, ensure_ascii=False), Text()), JSONB)


def _compare(
    node: Compare, kind: ColumnElement[Any], found: ColumnElement[Any], text: ColumnElement[str]
) -> ColumnElement[bool]:
    compare = COMPARE[node.operator]
    if isinstance(node.value, str):
        return and_(kind == "string", compare(text, literal(node.value, Text())))
    return and_(kind == "number", compare(found, _json(node.value)))


def _contains(
    node: Contains, kind: ColumnElement[Any], found: ColumnElement[Any], text: ColumnElement[str]
) -> ColumnElement[bool]:
    has_element = found.op("@>", is_comparison=True)(_json([node.value]))  # false but for arrays
    if not isinstance(node.value, str):
        return has_element
    substring = func.strpos(text, literal(node.value, Text())) > 0
    return or_(and_(kind == "string", substring), has_element)

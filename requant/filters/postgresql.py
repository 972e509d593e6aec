"""Conditions in the SQL of PostgreSQL 12 and later, over the text column cast to jsonb.

jsonb compares with strict types and exact numbers, so operands travel as JSON. Two things it does
otherwise: strings order by the locale, hence COLLATE "C", and `#>` counts into arrays, hence `->`
with text keys.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Text, and_, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import JSONB

from requant.filters.sqlite import COMPARE
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
)


class _Found(NamedTuple):
    """What stands at a path, as jsonb, and as text for the case that it is a string."""

    value: ColumnElement[Any]
    text: ColumnElement[str]

    @property
    def kind(self) -> ColumnElement[str]:
        return func.jsonb_typeof(self.value)


def condition(node: FieldCondition, columns: Columns) -> ColumnElement[bool]:
    """Return one condition as an expression that is true where it holds, else false or NULL."""
    found = _at(node.path, columns)
    if isinstance(node, Null):
        return func.coalesce(found.kind, "null") == "null"
    if isinstance(node, Exists):
        return found.value.is_not(None)
    if isinstance(node, Equals):
        return found.value == _json(node.value)
    if isinstance(node, EqualsList):
        return found.value == _json(node.values)
    if isinstance(node, OneOf):
        return found.value.in_(select(func.jsonb_array_elements(_json(node.values))))
    if isinstance(node, Compare):
        return _compare(node, found)
    if isinstance(node, HasText):
        return and_(found.kind == "string", _has_text(node, found.text))
    return _contains(node, found)


def _at(path: Path, columns: Columns) -> _Found:
    if isinstance(path, str):
        beside = columns.beside[path]
        return _Found(func.to_jsonb(beside, type_=JSONB()), beside.collate("C"))
    value: ColumnElement[Any] = cast(columns.metadata, JSONB)
    for key in path[:-1]:
        value = value.op("->", return_type=JSONB())(literal(key, Text()))
    last = literal(path[-1], Text())
    text = value.op("->>", return_type=Text())(last)
    return _Found(value.op("->", return_type=JSONB())(last), text.collate("C"))


def _json(value: Any) -> ColumnElement[Any]:
    return cast(literal(json.dumps(value, ensure_ascii=False), Text()), JSONB)


def _compare(node: Compare, found: _Found) -> ColumnElement[bool]:
    compare = COMPARE[node.operator]
    if isinstance(node.value, str):
        return and_(found.kind == "string", compare(found.text, literal(node.value, Text())))
    return and_(found.kind == "number", compare(found.value, _json(node.value)))


def _has_text(node: HasText, text: ColumnElement[str]) -> ColumnElement[bool]:
    value = literal(node.value, Text())
    if node.operator == "$startswith":
        return func.starts_with(text, value)
    return func.strpos(func.lower(text), func.lower(value.collate("C"))) > 0


def _contains(node: Contains, found: _Found) -> ColumnElement[bool]:
    # False but for arrays.
    has_element = found.value.op("@>", is_comparison=True)(_json([node.value]))
    if not isinstance(node.value, str):
        return has_element
    substring = func.strpos(found.text, literal(node.value, Text())) > 0
    return or_(and_(found.kind == "string", substring), has_element)

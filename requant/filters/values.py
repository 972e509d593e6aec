"""What stands in one field of the items, as rows of SQL: a value a row, the elements of an array.

Both databases give the same rows. Numbers are handed on as the JSON text that was written, since
neither database reads every one of them as Python does: SQLite has no integers beyond int64, and
jsonb forgets that 1e+16 was a float.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    ColumnElement,
    FromClause,
    Numeric,
    Select,
    Text,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    null,
    select,
    true,
)

from requant.filters.parse import field_path
from requant.filters.sqlite import json_path

# What json_type of SQLite calls them, in the words of JSON, which are those of PostgreSQL.
_SQLITE_KINDS = {
    "null": "null",
    "true": "boolean",
    "false": "boolean",
    "integer": "number",
    "real": "number",
    "text": "string",
    "array": "array",
    "object": "object",
}


def select_kinds(
    field: str, key: ColumnElement[int], metadata: ColumnElement[Any], dialect: str
) -> Select[Any]:
    """Return a row for each item that has the field; an array is not looked into.

    The columns:
        key: of the item.
        kind: what JSON calls that which stands there.
        string, number: a string, a number; else NULL.
        inexact: whether it is a number whose digits the database may not have kept.

    Raises FilterError where `field` is no name of a field.
    """
    path = field_path(field)
    parts = _whole_in_sqlite if dialect == "sqlite" else _whole_in_postgresql
    kind, string, number, inexact = parts(path, metadata)
    columns: list[ColumnElement[Any]] = [
        key.label("key"),
        kind.label("kind"),
        string.label("string"),
        number.label("number"),
        inexact.label("inexact"),
    ]
    return select(*columns).where(kind.is_not(None))


def select_values(
    field: str, key: ColumnElement[int], metadata: ColumnElement[Any], dialect: str
) -> Select[Any]:
    """Return a row for each null, boolean, number and string, of an array for each element.

    Objects, and arrays within arrays, give none. The columns:
        key: of the item.
        kind: "null", "boolean", "number" or "string".
        text: a string itself, of a number and a boolean its JSON.
        number: a number, to order by; else NULL.
        listed: whether it is the element of an array.

    Raises FilterError where `field` is no name of a field.
    """
    path = field_path(field)
    rows = _in_sqlite if dialect == "sqlite" else _in_postgresql
    kind, text, number, listed, source, there = rows(path, metadata)
    columns: list[ColumnElement[Any]] = [
        key.label("key"),
        kind.label("kind"),
        text.label("text"),
        number.label("number"),
        listed.label("listed"),
    ]
    scalar = kind.in_(("null", "boolean", "number", "string"))
    items: FromClause = key.table
    return select(*columns).select_from(items.join(source, true())).where(there, scalar)


def _whole_in_sqlite(path: tuple[str, ...], metadata: ColumnElement[Any]) -> _Whole:
    at = literal(json_path(path), Text())
    kind, value = func.json_type(metadata, at), func.json_extract(metadata, at)
    number = case((kind.in_(("integer", "real")), value))
    return _words(kind), case((kind == "text", value)), number, func.typeof(number) == "real"


def _whole_in_postgresql(path: tuple[str, ...], metadata: ColumnElement[Any]) -> _Whole:
    whole = _at(path, metadata)
    kind = func.json_typeof(whole)
    text = whole.op("#>>", return_type=Text())(cast(literal("{}", Text()), ARRAY(Text)))
    number = case((kind == "number", cast(text, Numeric)), else_=null())
    inexact = and_(kind == "number", text.regexp_match("[.eE]"))
    return kind, case((kind == "string", text.collate("C"))), number, inexact


_Whole = tuple[ColumnElement[str], ColumnElement[str], ColumnElement[Any], ColumnElement[bool]]
_Parts = tuple[
    ColumnElement[str],
    ColumnElement[str],
    ColumnElement[Any],
    ColumnElement[bool],
    FromClause,
    ColumnElement[bool],
]


def _in_sqlite(path: tuple[str, ...], metadata: ColumnElement[Any]) -> _Parts:
    text_path = json_path(path)
    at = literal(text_path, Text())
    whole = func.json_type(metadata, at)
    each = func.json_each(metadata, at).table_valued("key", "value", "type", name="each_value")
    listed = whole == "array"
    element = literal(f"{text_path}[", Text()).concat(each.c.key).concat("]")
    place = case((listed, element), else_=at)
    # Of two paths the answer is an array, as text, in which numbers stand as they were written.
    both = func.json_extract(metadata, place, "$[0]", type_=Text())
    digits = func.substr(func.rtrim(both, ",nul]"), 2)
    is_number = each.c.type.in_(("integer", "real"))
    text = case(
        (each.c.type == "text", each.c.value),
        (each.c.type.in_(("true", "false")), each.c.type),
        (and_(is_number, func.typeof(each.c.value) == "integer"), cast(each.c.value, Text())),
        (is_number, digits),
    )
    number = case((is_number, each.c.value))
    # Of an object json_each would list the members.
    return _words(each.c.type), text, number, listed, each, whole != "object"


def _in_postgresql(path: tuple[str, ...], metadata: ColumnElement[Any]) -> _Parts:
    whole = _at(path, metadata)
    kind = func.json_typeof(whole)
    array = case(
        (kind == "array", whole),
        (kind == "object", cast(literal("[]", Text()), JSON)),
        else_=func.json_build_array(whole),
    )
    each = func.json_array_elements(array).table_valued(column("value", JSON()))
    each = each.render_derived(name="each_value")
    value = each.c.value
    value_kind = func.json_typeof(value)
    text = value.op("#>>", return_type=Text())(cast(literal("{}", Text()), ARRAY(Text)))
    number = case((value_kind == "number", cast(text, Numeric)), else_=null())
    return value_kind, text.collate("C"), number, kind == "array", each, whole.is_not(None)


def _words(kind: ColumnElement[Any]) -> ColumnElement[str]:
    return case(_SQLITE_KINDS, value=kind)


def _at(path: tuple[str, ...], metadata: ColumnElement[Any]) -> ColumnElement[Any]:
    value: ColumnElement[Any] = cast(metadata, JSON)
    for key in path:
        value = value.op("->", return_type=JSON())(literal(key, Text()))
    return value

"""Which values a field has: counted in the database, and read as they were written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from requant.store.reader import Reader

Scalar: TypeAlias = str | int | float | bool
_KINDS = ("null", "boolean", "number", "string", "array", "object")
# What a database may read a number wrong by, as a share of it.
_NEAR = 1e-15


class ValueCount(NamedTuple):
    """A value of a field, and how many items have it."""

    value: Scalar | None
    count: int  # type: ignore[assignment]  # a tuple's method, which nobody needs of a pair


class Extent(NamedTuple):
    """The least and the greatest value of a field, and how many items have what there, by type."""

    least: str | int | float | None
    greatest: str | int | float | None
    types: dict[str, int]


def count_values(reader: Reader, values: sa.Select[Any], limit: int | None) -> list[ValueCount]:
    """Count the items that have each value, the most frequent first.

    `values` has a row a value, with `key`, `kind`, `text`, `number` and `listed`: see
    `requant.filters.select_values`.
    """
    # The offset keeps both databases from computing an expression again wherever it is named.
    rows = values.offset(0).subquery()
    same = sa.select(rows, _canonical(rows.c).label("same")).offset(0).subquery()
    c = same.c
    # Twice in one array is one item; what stands alone is counted without looking at keys.
    alone = sa.func.count(sa.case((sa.not_(c.listed), 1)))
    count = (alone + sa.func.count(sa.distinct(sa.case((c.listed, c.key))))).label("count")
    number = sa.func.min(c.number)
    order = [count.desc(), _rank(c.kind), *_in_order(number, c.same)]
    # Of 1 and 1.0 the integer is the shorter text, and so the lesser.
    statement = sa.select(c.kind, sa.func.min(c.text), count).group_by(c.kind, c.same)
    statement = statement.order_by(*order)
    if limit is not None:
        statement = statement.limit(int(limit))
    return [ValueCount(_read(kind, text), n) for kind, text, n in _rows(reader, statement)]


def extent(reader: Reader, values: sa.Select[Any], kinds: sa.Select[Any]) -> Extent:
    """Return what the field reaches from and to; numbers come before texts.

    `values` is what `count_values` takes, `kinds` of `requant.filters.select_kinds`. One scan,
    another one where there are arrays, and one more where digits have to be read.
    """
    c = kinds.offset(0).subquery().c
    counts = [sa.func.count(sa.case((c.kind == kind, 1))) for kind in _KINDS]
    row = _row(reader, sa.select(*counts, *_ends(c.number, c.string, c.inexact)))
    types = {kind: n for kind, n in zip(_KINDS, row, strict=False) if n}
    found = [_Ends(*row[len(_KINDS) :])]
    if "array" in types:
        c = values.offset(0).subquery().c
        string = sa.case((c.kind == "string", c.text))
        # What text it has is told by `values`, which has read it by then.
        inexact = c.number.is_not(None)
        found.append(_Ends(*_row(reader, sa.select(*_ends(c.number, string, inexact)))))
    numbers = [n for one in found for n in (one.least, one.greatest) if n is not None]
    if numbers and any(one.inexact for one in found):
        numbers = _exactly(reader, values, min(numbers), max(numbers))
    else:
        numbers = [int(n) for n in numbers]
    texts = [text for one in found for text in (one.first, one.last) if text is not None]
    return Extent(*_outermost(numbers, texts), types)


def _outermost(numbers: list[Any], texts: list[str]) -> tuple[Any, Any]:
    """Return the least and the greatest; an integer rather than a float of the same size."""
    least = min(numbers, key=lambda n: (n, isinstance(n, float)), default=None)
    greatest = max(numbers, key=lambda n: (n, isinstance(n, int)), default=None)
    least = min(texts, default=None) if least is None else least
    return least, max(texts, default=greatest)


class _Ends(NamedTuple):
    """The least and the greatest number and text of some rows."""

    least: Any
    greatest: Any
    first: str | None
    last: str | None
    inexact: bool


def _ends(
    number: sa.ColumnElement[Any], string: sa.ColumnElement[str], inexact: sa.ColumnElement[bool]
) -> list[sa.ColumnElement[Any]]:
    return [
        sa.func.min(number),
        sa.func.max(number),
        sa.func.min(string),
        sa.func.max(string),
        sa.func.count(sa.case((inexact, 1))) > 0,
    ]


def _exactly(reader: Reader, values: sa.Select[Any], least: Any, greatest: Any) -> list[Any]:
    """Return the numbers that the database takes for one of these, or nearly so, as written."""
    c = values.offset(0).subquery().c
    # The shortest digits of a float, which PostgreSQL computes with, are not all it has.
    share = Decimal(_NEAR) if isinstance(least, Decimal) else _NEAR
    upto, since = least + abs(least) * share, greatest - abs(greatest) * share
    near = sa.or_(c.number <= upto, c.number >= since)
    statement = sa.select(c.text).where(c.kind == "number", near).distinct()
    return [json.loads(text) for (text,) in _rows(reader, statement)]


def _rows(reader: Reader, statement: Any) -> Sequence[Any]:
    reader.in_bulk()  # every item is looked at
    return reader.rows(statement)


def _row(reader: Reader, statement: Any) -> Any:
    (row,) = _rows(reader, statement)
    return row


def _canonical(c: Any) -> sa.ColumnElement[str]:
    """Return the same text for 1 and 1.0, which are one value."""
    whole = sa.func.substr(c.text, 1, sa.func.length(c.text) - 2)
    is_whole = sa.func.substr(c.text, sa.func.length(c.text) - 1) == ".0"
    return sa.case(
        (c.kind != "number", c.text),
        (c.text == "-0.0", "0"),
        (is_whole, whole),
        else_=c.text,
    )


def _rank(kind: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    return sa.case({name: place for place, name in enumerate(_KINDS)}, value=kind)


def _in_order(
    number: sa.ColumnElement[Any], text: sa.ColumnElement[str]
) -> list[sa.ColumnElement[Any]]:
    """Order numbers by size, and texts; integers that SQLite rounds, beyond int64, by digits."""
    size = sa.func.length(text)
    # Of two negative numbers of one length, the one with the greater digits is the lesser.
    negative = sa.case((number < 0, text))
    return [number, sa.case((number < 0, -size), (number >= 0, size)), negative.desc(), text]


def _read(kind: str, text: str | None) -> Any:
    return text if kind == "string" else None if text is None else json.loads(text)

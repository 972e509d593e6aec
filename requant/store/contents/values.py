"""Which values a field has: counted in the database, and read as they were written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from requant.store.reader import Reader

Scalar: TypeAlias = str | int | float | bool
_ORDERED = ("number", "string")


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
    return [ValueCount(_read(kind, text), n) for kind, text, n in reader.rows(statement)]


def extent(reader: Reader, values: sa.Select[Any], kinds: sa.Select[Any]) -> Extent:
    """Return what the field reaches from and to; numbers come before texts."""
    kind = kinds.subquery().c.kind
    counted = sa.select(kind, sa.func.count()).group_by(kind).order_by(_rank(kind))
    types = {name: n for name, n in reader.rows(counted)}
    if not types.keys() & {*_ORDERED, "array"}:
        return Extent(None, None, types)
    c = values.offset(0).subquery().c
    ordered = sa.select(c.kind, c.text).where(c.kind.in_(_ORDERED)).limit(1)
    up, down = _in_order(c.number, c.text), _in_order(c.number, c.text, falling=True)
    least = reader.rows(ordered.order_by(c.kind, *up))
    greatest = reader.rows(ordered.order_by(c.kind.desc(), *down))
    return Extent(_end(least), _end(greatest), types)


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
    names = ("null", "boolean", "number", "string", "array", "object")
    return sa.case({name: place for place, name in enumerate(names)}, value=kind)


def _in_order(
    number: sa.ColumnElement[Any], text: sa.ColumnElement[str], *, falling: bool = False
) -> list[sa.ColumnElement[Any]]:
    """Order numbers by size, and texts; integers that SQLite rounds, beyond int64, by digits."""
    size = sa.func.length(text)
    rising = [number, sa.case((number < 0, -size), (number >= 0, size))]
    # Of two negative numbers of one length, the one with the greater digits is the lesser.
    negative = sa.case((number < 0, text))
    if falling:
        return [*map(sa.desc, rising), negative, text.desc()]
    return [*rising, negative.desc(), text]


def _end(rows: Sequence[Any]) -> Any:
    return _read(*rows[0]) if rows else None


def _read(kind: str, text: str | None) -> Any:
    return text if kind == "string" else None if text is None else json.loads(text)

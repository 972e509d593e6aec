"""Which values a field has, and how many items have each, told by what is listed alone."""

# ruff: noqa: S608 -- the statements are put together from constants and places for values
from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from requant.store.fields import values as v
from requant.store.fields.definitions import Field
from requant.store.fields.key_lists import BITS

if TYPE_CHECKING:
    from requant.store.statements import HotSql

Value = str | int | float | bool | None
_NAMES = {
    v.NULL: "null",
    v.BOOL: "boolean",
    v.NUMBER: "number",
    v.TEXT: "string",
    v.ARRAY: "array",
    v.OBJECT: "object",
}
_ELEMENTS = (v.ELEMENT + v.NULL, v.ELEMENT + v.ARRAY)
_RANGES = "(({value} >= {mark} AND {value} < {mark}) OR ({value} >= {mark} AND {value} < {mark}))"
_WHERE = {
    "sqlite": f"field_id = ? AND {_RANGES.format(value='value', mark='?')}",
    "postgresql": f"field_id = %s AND {_RANGES.format(value='value', mark='%s')}",
}
_BITS = f"SELECT value, keys FROM requant_values WHERE {{}} AND length(keys) = {BITS}"
_COUNTS = (
    "SELECT value, sum(length(keys)) / 2 FROM requant_values "
    f"WHERE {{}} AND length(keys) <> {BITS} GROUP BY value"
)
# PostgreSQL finds the least of bytes from its version 18 on.
_KINDS = {
    "sqlite": (
        "SELECT substr(value, 1, CASE WHEN value < ? THEN 1 ELSE 2 END), min(hex(value)), "
        f"max(hex(value)), sum(CASE WHEN length(keys) <> {BITS} THEN length(keys) / 2 ELSE 0 END) "
        "FROM requant_values WHERE {} GROUP BY 1"
    ),
    "postgresql": (
        "SELECT substring(value FROM 1 FOR CASE WHEN value < %s THEN 1 ELSE 2 END), "
        "min(encode(value, 'hex') COLLATE \"C\"), max(encode(value, 'hex') COLLATE \"C\"), "
        f"sum(CASE WHEN length(keys) <> {BITS} THEN length(keys) / 2 ELSE 0 END) "
        "FROM requant_values WHERE {} GROUP BY 1"
    ),
}


class Reach(NamedTuple):
    """The least and the greatest value of a field, and how many items have what, by type."""

    least: Value
    greatest: Value
    types: dict[str, int]


class Counting:
    """Counts what a field is listed under, where nothing in it is listed as odd or ambiguous."""

    def __init__(self, cursor: Any, sql: HotSql, field: Field) -> None:
        """Read by `cursor`."""
        self._cursor = cursor
        self._sql = sql
        self._field = field

    def counts(self, limit: int | None) -> list[tuple[Value, int]]:
        """Return values and how many items have each, the most frequent first."""
        ranges = (v.NULL, v.ARRAY, *_ELEMENTS)
        counts: Counter[bytes] = Counter()
        for value, n in self._rows(_COUNTS, ranges):
            counts[_alone(bytes(value))] += int(n)
        for value, n in self._bits(ranges):
            counts[_alone(value)] += n

        def order(one: tuple[bytes, int]) -> tuple[int, bytes]:
            return -one[1], one[0]

        if limit is None:
            some = sorted(counts.items(), key=order)
        else:
            some = heapq.nsmallest(limit, counts.items(), key=order)
        return [(v.plain(value), n) for value, n in some]

    def reach(self) -> Reach:
        """Return from what to what the values go; numbers come before texts."""
        ranges = (v.NULL, v.ELEMENT, *_ELEMENTS)
        types: Counter[bytes] = Counter()
        ends: list[bytes] = []
        for kind, least, greatest, n in self._rows(_KINDS[self._sql.name], ranges, v.ELEMENT):
            types[bytes(kind)] += int(n)
            if bytes(kind)[-1:] in (v.NUMBER, v.TEXT):
                ends += (_alone(bytes.fromhex(one)) for one in (least, greatest))
        for value, n in self._bits(ranges):
            types[value[:1]] += n
        named = {name: types[kind] for kind, name in _NAMES.items() if types[kind]}
        if not ends:
            return Reach(None, None, named)
        return Reach(v.plain(min(ends)), v.plain(max(ends)), named)

    def _bits(self, ranges: tuple[bytes, ...]) -> list[tuple[bytes, int]]:
        rows = self._rows(_BITS, ranges)
        return [(bytes(value), _count(bytes(keys))) for value, keys in rows]

    def _rows(self, statement: str, ranges: tuple[bytes, ...], *more: bytes) -> list[Any]:
        text = self._sql.named(statement).format(_WHERE[self._sql.name])
        rows: list[Any] = self._cursor.execute(text, (*more, self._field.id, *ranges)).fetchall()
        return rows


def _alone(value: bytes) -> bytes:
    """Return the bytes of an element as if it stood alone."""
    return value[1:] if value[:1] == v.ELEMENT else value


def _count(bits: bytes) -> int:
    return int(np.unpackbits(np.frombuffer(bits, np.uint8)).sum())

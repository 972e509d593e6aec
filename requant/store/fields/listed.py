"""Reading which items are listed under which values, for some parts at a time."""

# ruff: noqa: S608 -- the statements are put together from constants and places for values
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from requant.store.fields.key_lists import BITS, PART, Mask, set_bits, set_in, set_places
from requant.store.fields.questions import Inside, Question
from requant.store.fields.values import TEXT, beyond

if TYPE_CHECKING:
    from requant.store.statements import HotSql

# Values that one statement asks for.
_VALUES = 400

_SQLITE = (
    "SELECT v.part, v.keys FROM json_each(?) AS j CROSS JOIN requant_values AS v "
    "ON v.field_id = ? AND v.part = j.value AND "
)
_POSTGRES = (
    "SELECT part, keys FROM requant_values WHERE part = ANY((SELECT %s::text::bigint[])::bigint[]) "
    "AND field_id = %s AND "
)
# Of a field whose values are all different a range has a row an item: each part's lists come as one
# list. SQLite gives one column, whose last byte is 1 where there are bits as well, and would sort
# the rows for a GROUP BY.
_SQLITE_JOINED = (
    f"SELECT j.value, (SELECT CAST(coalesce(group_concat(CASE WHEN length(v.keys) <> {BITS} "
    f"THEN v.keys END, ''), '') || (max(length(v.keys)) = {BITS}) AS BLOB) "
    "FROM requant_values AS v WHERE v.field_id = ?2 AND v.part = j.value AND {}) "
    "FROM json_each(?1) AS j"
)
_POSTGRES_JOINED = (
    f"SELECT part, string_agg(keys, '') FILTER (WHERE length(keys) <> {BITS}), "
    f"string_agg(keys, '') FILTER (WHERE length(keys) = {BITS}) "
    "FROM requant_values WHERE part = ANY((SELECT %s::text::bigint[])::bigint[]) "
    "AND field_id = %s AND {} GROUP BY part"
)
_INSIDE = {
    ("sqlite", "$contains"): "instr(substr(v.value, 2), ?) > 0",
    ("sqlite", "$icontains"): (
        "instr(lower(CAST(substr(v.value, 2) AS TEXT)), lower(CAST(? AS TEXT))) > 0"
    ),
    ("postgresql", "$contains"): "position(%s IN substring(value FROM 2)) > 0",
    ("postgresql", "$icontains"): (
        "strpos(lower(convert_from(substring(value FROM 2), 'UTF8') COLLATE \"C\"), "
        "lower(convert_from(%s, 'UTF8') COLLATE \"C\")) > 0"
    ),
}


class Listed:
    """Reads the lists of fields through a driver's cursor."""

    def __init__(self, cursor: Any, sql: HotSql) -> None:
        """Read by `cursor`."""
        self._cursor = cursor
        self._sql = sql
        self._is_sqlite = sql.name == "sqlite"
        self._mark, self._of = ("?", "v.") if self._is_sqlite else ("%s", "")
        self._within = f"{self._of}value >= {self._mark} AND {self._of}value < {self._mark}"

    def found(self, field: int, asked: Question, first: int, end: int) -> Mask:
        """Return a mark for each key of the parts `first` to `end` that is listed as asked for."""
        mask = np.zeros((end - first) * PART, np.bool_)
        for start in range(0, len(asked.points), _VALUES):
            some = asked.points[start : start + _VALUES]
            marks = ", ".join([self._mark] * len(some))
            self._add(mask, field, f"{self._of}value IN ({marks})", some, first, end)
        for low, high in asked.ranges:
            self._add_many(mask, field, self._within, (low, high), first, end)
        if asked.inside is not None:
            has, text = self._inside(asked.inside)
            parameters = (TEXT, beyond(TEXT), text)
            self._add_many(mask, field, f"{self._within} AND {has}", parameters, first, end)
        return mask

    def _inside(self, inside: Inside) -> tuple[str, bytes]:
        return _INSIDE[self._sql.name, inside.operator], inside.text.encode()

    def _add(
        self,
        mask: Mask,
        field: int,
        condition: str,
        parameters: Sequence[bytes],
        first: int,
        end: int,
    ) -> None:
        begin = self._sql.named(_SQLITE if self._is_sqlite else _POSTGRES)
        rows = self._rows(begin + condition, field, parameters, range(first, end))
        if rows:
            set_in(mask, [row[0] - first for row in rows], [row[1] for row in rows])

    def _add_many(
        self,
        mask: Mask,
        field: int,
        condition: str,
        parameters: Sequence[bytes],
        first: int,
        end: int,
    ) -> None:
        """Set what many values have, without a row for each."""
        joined = self._sql.named(_SQLITE_JOINED if self._is_sqlite else _POSTGRES_JOINED)
        joined = joined.format(condition)
        rows = self._rows(joined, field, parameters, range(first, end))
        if self._is_sqlite:
            found = [(part, keys[:-1], keys[-1:] == b"1") for part, keys in rows if keys]
            places = [(part, keys) for part, keys, _ in found if keys]
            there = [part for part, _, more in found if more]
            long = f"{self._sql.named(_SQLITE)}{condition} AND length(v.keys) = {BITS}"
            bits = self._rows(long, field, parameters, there) if there else []
        else:
            places = [(part, keys) for part, keys, _ in rows if keys]
            bits = [
                (part, keys[at : at + BITS])
                for part, _, keys in rows
                if keys
                for at in range(0, len(keys), BITS)
            ]
        if places:
            set_places(mask, [part - first for part, _ in places], [keys for _, keys in places])
        if bits:
            set_bits(mask, [part - first for part, _ in bits], [keys for _, keys in bits])

    def _rows(
        self, statement: str, field: int, parameters: Sequence[bytes], parts: Sequence[int]
    ) -> list[tuple[Any, ...]]:
        given = (self._sql.keys(list(parts)), field, *parameters)
        rows: list[tuple[Any, ...]] = self._cursor.execute(statement, given).fetchall()
        return rows

"""Reading which items are listed under which values, for some parts at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from requant.store.fields.key_lists import PART, Mask, set_in
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
_POSTGRES = "SELECT part, keys FROM requant_values WHERE part = ANY(%s) AND field_id = %s AND "
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
        self._mark, self._of = ("?", "v.") if sql.name == "sqlite" else ("%s", "")

    def found(self, field: int, asked: Question, first: int, end: int) -> Mask:
        """Return a mark for each key of the parts `first` to `end` that is listed as asked for."""
        mask = np.zeros((end - first) * PART, np.bool_)
        for start in range(0, len(asked.points), _VALUES):
            some = asked.points[start : start + _VALUES]
            marks = ", ".join([self._mark] * len(some))
            self._add(mask, field, f"{self._of}value IN ({marks})", some, first, end)
        within = f"{self._of}value >= {self._mark} AND {self._of}value < {self._mark}"
        for low, high in asked.ranges:
            self._add(mask, field, within, (low, high), first, end)
        if asked.inside is not None:
            has, text = self._inside(asked.inside)
            parameters = (TEXT, beyond(TEXT), text)
            self._add(mask, field, f"{within} AND {has}", parameters, first, end)
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
        begin = _SQLITE if self._sql.name == "sqlite" else _POSTGRES
        parts = self._sql.keys(range(first, end) if begin is _POSTGRES else list(range(first, end)))
        rows = self._cursor.execute(begin + condition, (parts, field, *parameters)).fetchall()
        if rows:
            set_in(mask, [row[0] - first for row in rows], [row[1] for row in rows])

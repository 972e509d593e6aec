"""Keeping the indexed fields in step, within the transaction that writes the items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa

from requant.store.connections import LEAST_COPIED, copies, copy_rows, raw_of
from requant.store.fields.definitions import Field, Finder, parse_metadata
from requant.store.fields.key_lists import PART, Changes, changed, joined, packed_changes
from requant.store.statements import HotSql

# Rows whose changes are in memory at a time.
_ROWS = 8192
# Values that one statement asks for.
_VALUES = 500
_VALUE_TYPES = ["int8", "int8", "bytea", "bytea"]


class Upkeep:
    """Writes down which items have which values; its caller holds the collection's turn."""

    def __init__(
        self,
        connection: sa.Connection,
        sql: HotSql,
        first: int,
        fields: Sequence[Field],
        note: Callable[[bytes], None] | None = None,
    ) -> None:
        """Keep `fields` of the collection whose first key is `first`.

        Who writes beside others holds no turn: `note` takes what changes, to be entered later.
        """
        self._leave_note = note
        self._connection = connection
        self._sql = sql
        self._first = first
        self._finders = [Finder(field) for field in fields]
        self._parts: dict[tuple[int, int], Changes] = {}

    @property
    def kept(self) -> bool:
        """Whether the collection has any indexed field."""
        return bool(self._finders)

    def add(self, keys: Iterable[int], texts: Iterable[str | None]) -> None:
        """New items of these keys, in order, have these metadata."""
        if not self._finders:
            return
        each, kept = iter(texts), 0
        for first, count in _in_parts(keys, self._first):
            part, place = divmod(first - self._first, PART)
            rows = list(map(parse_metadata, islice(each, count)))
            for finder in self._finders:
                known = self._part(finder.field.id, part).add
                for value, places in finder.group(rows, place).items():
                    before = known.get(value)
                    known[value] = places if before is None else before + places
            kept += count
            if kept >= _ROWS:
                self._write()
                kept = 0
        self._write()

    def add_one(self, key: int, text: str | None, keep: Callable[[int, bytes], None]) -> None:
        """A new item has these metadata; `keep` takes what is to be listed of it."""
        if self._finders:
            metadata = parse_metadata(text)
            for finder in self._finders:
                self._note(finder, key, finder.values(metadata), ())
            parts, self._parts = self._parts, {}
            keep(key, packed_changes(parts))

    def replace(self, rows: Iterable[tuple[int, str | None, str | None]]) -> None:
        """Items (key, metadata before, metadata now) have been changed; each key once."""
        if not self._finders:
            return
        for n, (key, old, new) in enumerate(sorted(rows, key=lambda row: row[0]), 1):
            if old != new:
                before, now = parse_metadata(old), parse_metadata(new)
                for finder in self._finders:
                    left, come = set(finder.values(before)), set(finder.values(now))
                    self._note(finder, key, come - left, left - come)
            if not n % _ROWS:
                self._write()
        self._write()

    def remove(self, keys: Sequence[int]) -> None:
        """Items are about to be removed; called while they are still there."""
        if not self._finders:
            return
        for start in range(0, len(keys), _ROWS):
            for key, text in self.stored(keys[start : start + _ROWS]).items():
                metadata = parse_metadata(text)
                for finder in self._finders:
                    self._note(finder, key, (), finder.values(metadata))
            self._write()

    def list_those(self, rows: Iterable[tuple[int, str | None]]) -> None:
        """List stored items (key, metadata), in order, as far as they are not listed yet."""
        for key, text in rows:
            metadata = parse_metadata(text)
            for finder in self._finders:
                if key >= finder.field.built:
                    self._note(finder, key, finder.values(metadata), ())
        self._write()

    def removal(self, rows: Iterable[tuple[int, str | None]]) -> bytes:
        """Return as a note that items (key, metadata) are gone, which somebody has left to us."""
        for key, text in rows:
            metadata = parse_metadata(text)
            for finder in self._finders:
                self._note(finder, key, (), finder.values(metadata))
        parts, self._parts = self._parts, {}
        return packed_changes(parts)

    def take_over(self, notes: Iterable[bytes]) -> None:
        """Enter what others have noted, one after the other; of no field that is gone since."""
        fields = {finder.field.id for finder in self._finders}
        parts = joined(notes)
        self._parts = {at: one for at, one in parts.items() if at[0] in fields}
        self._write()

    def clear(self) -> None:
        """No item is left."""
        for finder in self._finders:
            self._many(self._sql.clear_values, [(finder.field.id,)])

    def stored(self, keys: Sequence[int]) -> dict[int, str | None]:
        """Return the metadata of `keys` as they are stored now; nothing where no field is kept."""
        found: dict[int, str | None] = {}
        if self._finders:
            cursor = raw_of(self._connection).cursor()
            for start in range(0, len(keys), _ROWS):
                parameters = (self._sql.keys(list(keys[start : start + _ROWS])),)
                found.update(cursor.execute(self._sql.metadata, parameters).fetchall())
            cursor.close()
        return found

    def _note(self, finder: Finder, key: int, add: Iterable[bytes], take: Iterable[bytes]) -> None:
        part, place = divmod(key - self._first, PART)
        noted = self._part(finder.field.id, part)
        for value in add:
            noted.add.setdefault(value, []).append(place)
        for value in take:
            noted.take.setdefault(value, []).append(place)

    def _part(self, field: int, part: int) -> Changes:
        noted = self._parts.get((field, part))
        if noted is None:
            noted = self._parts[field, part] = Changes({}, {})
        return noted

    def _write(self) -> None:
        parts, self._parts = self._parts, {}
        if self._leave_note is None:
            self._enter(parts)
        elif parts:
            self._leave_note(packed_changes(parts))

    def _enter(self, parts: dict[tuple[int, int], Changes]) -> None:
        new: list[tuple[Any, ...]] = []
        put: list[tuple[Any, ...]] = []
        drop: list[tuple[Any, ...]] = []
        for (field, part), (add, take) in sorted(parts.items()):
            values = sorted({*add, *take})
            known = self._known(field, part, values)
            for value in values:
                old = known.get(value)
                keys = changed(old, add.get(value, ()), take.get(value, ()))
                if keys is not None:
                    at = (field, part, value)
                    if old is None:
                        new.append((*at, keys))
                    else:
                        put.append((keys, *at))
                elif value in known:
                    drop.append((field, part, value))
        if drop:
            self._many(self._sql.drop_values, drop)
        if len(new) >= LEAST_COPIED and copies(self._connection):
            cursor = raw_of(self._connection).cursor()
            copy_rows(cursor, self._sql.copy_values, _VALUE_TYPES, new)
        elif new:
            self._many(self._sql.add_values, new)
        if put:
            self._many(self._sql.put_values, put)

    def _known(self, field: int, part: int, values: list[bytes]) -> dict[bytes, bytes]:
        """Return the lists of these values, as far as there are any."""
        cursor = raw_of(self._connection).cursor()
        try:
            if self._sql.name != "sqlite":
                rows = cursor.execute(self._sql.lists_of, (field, part, values)).fetchall()
                return {bytes(value): bytes(keys) for value, keys in rows}
            found: dict[bytes, bytes] = {}
            for start in range(0, len(values), _VALUES):
                some = values[start : start + _VALUES]
                marks = ", ".join("?" * len(some))
                rows = cursor.execute(f"{self._sql.lists_of} ({marks})", (field, part, *some))
                found.update(rows)
            return found
        finally:
            cursor.close()

    def _many(self, statement: str, parameters: list[tuple[Any, ...]]) -> None:
        cursor = raw_of(self._connection).cursor()
        try:
            cursor.executemany(statement, parameters)
        finally:
            cursor.close()


def _in_parts(keys: Iterable[int], first: int) -> Iterator[tuple[int, int]]:
    """Yield runs of keys that follow one another within a part: the first of each, and how many.

    No run is longer than `_ROWS`.
    """
    begin = count = 0
    for key in keys:
        goes_on = count and key == begin + count and (key - first) % PART and count < _ROWS
        if goes_on:
            count += 1
            continue
        if count:
            yield begin, count
        begin, count = key, 1
    if count:
        yield begin, count

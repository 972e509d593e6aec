"""Numbers for what PostgreSQL's writers have committed, given by whoever reads next.

Whoever gives them holds the row of the collection for a moment, so that there is one order. What it
sees is committed, so that no number is ever given to what is rolled back, and none before one that
is seen earlier.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from requant.store.connections import plain_cursor
from requant.store.fields import Memory, Upkeep, one_of
from requant.store.history.change_log import ChangeLog
from requant.store.history.fresh import Fresh, fresh_of
from requant.store.history.turns import begin_run
from requant.store.schema import Tables, key_range
from requant.store.statements import HotSql

# Rows that are numbered at a time.
_ROWS = 1000


class Row(NamedTuple):
    """The row of a collection, which is ours until the transaction ends."""

    next_key: int
    seq: int
    logging: bool
    run: str | None
    fields: int | None
    fields_at: int | None


class Note(NamedTuple):
    """What a writer has left."""

    id: int
    fields: int | None
    added: bytes
    changed: bytes
    lists: bytes | None
    gone: str | None


class Numbering:
    """Gives numbers in one database, for all threads of a process."""

    def __init__(self, sql: HotSql, tables: Tables, memory: Memory) -> None:
        """Have given none yet."""
        self._sql = sql
        self._tables = tables
        self._memory = memory
        self._pid = os.getpid()
        self._mine: dict[int, tuple[str, int]] = {}  # of each collection our run, and its last
        self._begun: dict[int, int] = {}
        self._logs: dict[int, ChangeLog] = {}

    def some(self, connection: sa.Connection, collection: int) -> tuple[int, bool] | None:
        """Number what is committed; return the latest number, and whether that was all.

        None where somebody else has the row of the collection, or it is gone.
        """
        cursor = plain_cursor(connection)
        found = cursor.execute(self._sql.take_row, (collection,)).fetchone()
        if found is None:
            return None
        return self.go_on(connection, collection, Row(*found[:-1]))

    def all(self, connection: sa.Connection, collection: int) -> None:
        """Number all that is committed, in a transaction that has the row already."""
        c = self._tables.collections.c
        columns = (c.next_key, c.seq, c.logging, c.run, c.fields, c.fields_at)
        statement = sa.select(*columns).where(c.id == collection)
        more = True
        while more:
            row = connection.execute(statement).one_or_none()
            more = row is not None and not self.go_on(connection, collection, Row(*row))[1]

    def go_on(self, connection: sa.Connection, collection: int, row: Row) -> tuple[int, bool]:
        """Number some more, with the row of the collection at hand."""
        cursor = plain_cursor(connection)
        rows = cursor.execute(self._sql.unnumbered, (collection, _ROWS)).fetchall()
        notes = [Note(*row) for row in rows]
        if not notes:
            return row.seq, True
        fresh = fresh_of(
            [0], b"".join(bytes(n.added) for n in notes), b"".join(bytes(n.changed) for n in notes)
        )
        in_step = row.fields_at == row.seq and all(n.fields == row.fields for n in notes)
        if in_step and row.fields is not None:
            fields = self._memory.fields(connection, collection, row.fields)
            first, _ = key_range(collection)
            upkeep = Upkeep(connection, self._sql, first, fields)
            upkeep.take_over(_lists(notes, upkeep))
        seq = self._count(connection, collection, row, fresh, in_step, writes=len(notes))
        writes = self._tables.writes
        # Not all up to the last one: others with lower numbers may have been committed since.
        ids = np.array([n.id for n in notes], np.int64)
        connection.execute(sa.delete(writes).where(one_of(writes.c.id, ids, self._sql)))
        return seq, len(notes) < _ROWS

    def start_over(self, connection: sa.Connection, collection: int) -> None:
        """Begin the history anew where all items were removed; the row is ours alone."""
        self.all(connection, collection)
        t = self._tables
        connection.execute(sa.delete(t.changes).where(t.changes.c.collection_id == collection))
        at = t.collections.c.id == collection
        c = t.collections.c
        row = connection.execute(
            sa.select(c.next_key, c.seq, c.logging, c.run, c.fields, c.fields_at).where(at)
        ).one()
        found = Row(*row)
        seq = self._count(connection, collection, found, Fresh(), found.fields_at == found.seq)
        connection.execute(sa.update(t.collections).where(at).values(log_floor=seq))

    def _count(
        self,
        connection: sa.Connection,
        collection: int,
        row: Row,
        fresh: Fresh,
        in_step: bool,
        *,
        writes: int = 1,
    ) -> int:
        """Give the next number to these writes, and log what followers have to look at again."""
        cursor = plain_cursor(connection)
        seq, first = row.seq + 1, key_range(collection)[0]
        next_key = max(row.next_key, fresh.end)
        # A key that comes after higher ones is looked at as a change: followers have passed it.
        keys = np.union1d(fresh.changed, fresh.added(first, row.next_key)).tolist()
        c = self._tables.collections
        if row.logging and keys:
            logged = (collection, seq, self._sql.keys(keys))
            cursor.execute(self._sql.log_changes, logged)
        values: dict[str, Any] = {"seq": seq, "next_key": next_key}
        values["run"] = run = self._run(collection, row)
        if not row.logging:
            # A later follower must not take the missing log for no changes.
            values["log_floor"] = seq
        if in_step:
            values["fields_at"] = seq
        connection.execute(sa.update(c).where(c.c.id == collection).values(values))
        if run != row.run:
            begun = self._begun.get(collection, 0)
            begin_run(cursor, self._sql, collection, seq, run, begun)
            self._begun[collection] = begun + 1
        if row.logging and keys:
            log = self._logs.setdefault(collection, ChangeLog(self._tables, collection))
            log.bound(connection, seq, next_key, writes=writes)
        # Though it may be rolled back: the next one of ours is then the first of another run.
        self._mine[collection] = (run, seq)
        return seq

    def _run(self, collection: int, row: Row) -> str:
        """Return the name of the run that the next number belongs to; see `turns`."""
        if os.getpid() != self._pid:  # two processes are two writers
            self._pid, self._mine, self._begun, self._logs = os.getpid(), {}, {}, {}
        name, known = self._mine.get(collection, ("", 0))
        return name if row.run == name and name and row.seq >= known else secrets.token_hex(8)


def _lists(notes: Sequence[Note], upkeep: Upkeep) -> Iterator[bytes]:
    """Yield what changes in the lists of fields, in the order in which it was noted."""
    for note in notes:
        if note.lists is not None:
            yield bytes(note.lists)
        if note.gone is not None:
            yield upkeep.removal(json.loads(note.gone))

"""Turns at a collection: taken by whoever writes, and noted so that a lost one is noticed.

A database may be set back (a backup restored, a point in time recovered) under processes that stay
open, and written to until its numbers are where they were. So writes are noted by runs: those that
one writer has made one after the other, with nothing lost in between, have one random name. Who
stood at a number under one name, and finds it under another, has seen what the database has lost.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from requant.errors import UnknownCollectionError
from requant.store.connections import check_transaction
from requant.store.schema import CollectionRow
from requant.store.statements import HotSql

# So many writes back runs are remembered. Who stands further behind is taken for lost, in silence.
REMEMBERED = 10_000
# Old ones are looked for at the first run that is begun, and once in so many.
_LOOK_EVERY = 64


@dataclass(frozen=True)
class Turn:
    """A write transaction's turn at a collection: its number, and the first free key.

    So many keys from there on are reserved: whoever uses more or fewer says so.
    """

    seq: int
    next_key: int
    reserved: int
    logging: bool
    fields: int | None  # the number of the indexed fields as they are


class Turns:
    """Takes turns at one collection, for all threads of a process."""

    def __init__(self, sql: HotSql, owner: CollectionRow) -> None:
        """Have written nothing yet."""
        self._sql = sql
        self._owner = owner
        self._pid = os.getpid()
        self._mine = ("", 0)  # the name of our run, and the last number of it that we know of
        self._begun = 0

    def take(self, connection: sa.Connection, cursor: Any, reserve: int = 0) -> Turn:
        """Wait until no other transaction writes to the collection; raises if it is gone.

        The row lock makes the order of keys and of sequence numbers the order of commits, which is
        what an index that follows the store relies on.
        """
        asked = self.asked()
        row = cursor.execute(self._sql.take_turn, (reserve, *asked, reserve)).fetchone()
        return self.taken(connection, cursor, asked, row, reserve)

    def asked(self) -> tuple[Any, ...]:
        """Return the parameters of a statement that takes a turn, but for the keys to reserve."""
        if os.getpid() != self._pid:  # two processes are two writers
            self._pid, self._mine = os.getpid(), ("", 0)
        return (*self._mine, secrets.token_hex(8), self._owner.id, self._owner.name)

    def taken(
        self,
        connection: sa.Connection,
        cursor: Any,
        asked: Sequence[Any],
        row: Sequence[Any] | None,
        reserved: int,
    ) -> Turn:
        """Return the turn that such a statement has taken; raises if it found no collection."""
        if not row:
            raise UnknownCollectionError.gone(self._owner.name)
        check_transaction(connection)
        seq, first, logging, run, fields = row
        if run != asked[0]:
            self._begin(cursor, seq, run)
        # Though it may be rolled back: the next one of ours is then the first of another run.
        self._mine = (run, seq)
        return Turn(seq, first, reserved, bool(logging), fields)

    def _begin(self, cursor: Any, seq: int, run: str) -> None:
        begin_run(cursor, self._sql, self._owner.id, seq, run, self._begun)
        self._begun += 1


def begin_run(cursor: Any, sql: HotSql, collection: int, seq: int, run: str, begun: int) -> None:
    """Note that a run begins with the write `seq`; `begun` others have been begun here before."""
    cursor.execute(sql.begin_run, (collection, seq, run))
    if begun % _LOOK_EVERY == 0:
        cursor.execute(sql.forget_runs, (collection, collection, seq - REMEMBERED))

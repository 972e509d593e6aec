"""Turns at a collection: taken by whoever writes, and noted so that a lost one is noticed.

A database may be set back (a backup restored, a point in time recovered) under processes that stay
open, and written to until its numbers are where they were. So writes are noted by runs: those that
one writer has made one after the other, with nothing lost in between, have one random name. Who
stood at a number under one name, and finds it under another, has seen what the database has lost.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from requant.errors import UnknownCollectionError
from requant.store.connections import check_transaction, worded
from requant.store.schema import CollectionRow
from requant.store.statements import HotSql

# So many writes back runs are remembered. Who stands further behind is taken for lost, in silence.
REMEMBERED = 10_000
# Old ones are looked for at the first run that is begun, and once in so many.
_LOOK_EVERY = 64


@dataclass(frozen=True)
class Turn:
    """A write transaction's turn at a collection: its number, and the first free key."""

    seq: int
    next_key: int
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

    def take(self, connection: sa.Connection) -> Turn:
        """Wait until no other transaction writes to the collection; raises if it is gone.

        The row lock makes the order of keys and of sequence numbers the order of commits, which is
        what an index that follows the store relies on.
        """
        if os.getpid() != self._pid:  # two processes are two writers
            self._pid, self._mine = os.getpid(), ("", 0)
        name, known = self._mine
        parameters = (name, known, secrets.token_hex(8), self._owner.id)
        statement = worded(self._sql.take_turn, connection)
        row = connection.exec_driver_sql(statement, parameters).one_or_none()
        if row is None:
            raise UnknownCollectionError(f"collection {self._owner.name!r} has been dropped")
        check_transaction(connection)
        seq, next_key, logging, run, fields = row
        if run != name:
            self._begin(connection, seq, run)
        # Though it may be rolled back: the next one of ours is then the first of another run.
        self._mine = (run, seq)
        return Turn(seq, next_key, bool(logging), fields)

    def _begin(self, connection: sa.Connection, seq: int, run: str) -> None:
        number = self._owner.id
        connection.exec_driver_sql(worded(self._sql.begin_run, connection), (number, seq, run))
        if self._begun % _LOOK_EVERY == 0:
            old = (number, number, seq - REMEMBERED)
            connection.exec_driver_sql(worded(self._sql.forget_runs, connection), old)
        self._begun += 1

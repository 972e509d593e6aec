"""One call at a time on a lent connection, and none beside the end of its transaction.

Tasks that share a session may end it while calls of others go on, as where `asyncio.gather` raises
at the first error. What is half done must not be committed, and no connection go back to its pool
while it is worked by. So a rollback, as a session that is closed makes one, waits for the call at
work; a commit waits as well, and is then refused: whoever commits was to wait for all that belongs
to it. Calls that have not begun by then are refused in either case.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.util.concurrency import await_only, in_greenlet

from requant.errors import InputError, StoreError
from requant.store import BUSY, end_readings

_KEY = "requant_turns"


class Turns:
    """The calls on one connection of the driver."""

    def __init__(self) -> None:
        """Nobody is at work yet."""
        # Savepoints of two calls that interleave would be mixed up.
        self._lock = asyncio.Lock()
        self._calls = 0
        self._ended = 0  # how often a transaction was ended while there were calls

    def busy(self) -> bool:
        """Whether there are calls, at work or waiting."""
        return self._calls > 0

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for a turn; raises InputError if the transaction has ended meanwhile."""
        ended = self._ended
        self._calls += 1
        try:
            async with self._lock:
                if self._ended != ended:
                    raise InputError(
                        "connection=: another task has ended its transaction while this call "
                        "waited for its turn: let all tasks that share a session end first"
                    )
                yield
        finally:
            self._calls -= 1

    async def settle(self) -> None:
        """Wait until nobody is at work, and let nobody begin who is waiting."""
        self._ended += 1
        async with self._lock:
            pass


def turns_on(connection: sa.Connection) -> Turns:
    """Return the turns on a connection, which its commits and rollbacks respect from now on."""
    _watch(connection.dialect)
    info = connection.info
    found: Turns = info.setdefault(_KEY, Turns())
    info[BUSY] = found.busy
    return found


def _watch(dialect: Any) -> None:
    # No listeners: who waits in the midst of those of an event has others changed under its feet.
    if getattr(dialect, _KEY, False):
        return
    setattr(dialect, _KEY, True)
    commit, roll_back = dialect.do_commit, dialect.do_rollback

    def checked_commit(connection: Any) -> None:
        if _settled(connection):
            raise StoreError(
                "another task's call was still at work by this session or connection, and may not "
                "be committed half done: await all calls that belong to a transaction before its "
                "commit. Nothing was committed"
            )
        commit(connection)

    def patient_roll_back(connection: Any) -> None:
        _settled(connection)
        if connection.dbapi_connection is not None:  # else a call that was cancelled has ended it
            roll_back(connection)

    dialect.do_commit, dialect.do_rollback = checked_commit, patient_roll_back


def _settled(connection: Any) -> bool:
    """Wait for the call that is at work by a connection of the driver, and say if there was one."""
    turns: Turns | None = connection.info.get(_KEY)
    if turns is None or not turns.busy():
        return False
    if in_greenlet():
        await_only(turns.settle())
    end_readings(connection.info)
    return True

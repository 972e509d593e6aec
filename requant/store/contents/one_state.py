"""A read by several statements in a caller's transaction: all of them see one state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa

from requant.errors import StoreError
from requant.store.connections import raw_of
from requant.store.reader import Reader
from requant.store.schema import CollectionRow
from requant.store.states import CollectionState

# Each time another write has to come between two statements of a read.
_TRIES = 3
# Then nobody may begin to write for a moment: what may still overtake it is what had begun before.
_PATIENCE = 2.0
_PAUSE = 0.001
T = TypeVar("T")


def settled(
    reader: Reader,
    owner: CollectionRow,
    read: Callable[[CollectionState], T],
    *,
    lasting: bool = False,
) -> T:
    """Return what `read` finds in one state of the collection, which it is given.

    In PostgreSQL each statement may see what others have committed meanwhile: it is read again
    then, and at last while no other transaction may begin to write to the collection. Not so where
    what is returned is `lasting`, as a cursor is: a savepoint would take it back.

    Raises:
        UnknownCollectionError: the collection is gone.
        StoreError: others wrote all the time, and may not be held up by a transaction that only
            reads.
    """
    connection, cursor = reader.source()
    if connection.dialect.name == "sqlite":
        with _in_one_transaction(connection, cursor):
            return read(reader.state_of(owner))
    patience = _PATIENCE if lasting else 0.0
    outcome = _undisturbed(reader, owner, read, patience)
    if outcome is None and not lasting:
        with _nobody_begins(reader, owner):
            outcome = _undisturbed(reader, owner, read, _PATIENCE)
    if outcome is None:
        raise _overtaken()
    return outcome()


def _undisturbed(
    reader: Reader, owner: CollectionRow, read: Callable[[CollectionState], T], patience: float
) -> Callable[[], T] | None:
    """Read until nothing was written meanwhile, so many seconds long; None if that was in vain."""
    state = reader.state_of(owner)
    tries, deadline = 0, time.monotonic() + patience
    while tries < _TRIES or time.monotonic() < deadline:
        tries += 1
        outcome = _tried(reader, read, state)
        before, state = state, reader.state_of(owner)
        if state == before:
            return outcome
    return None


def _tried(
    reader: Reader, read: Callable[[CollectionState], T], state: CollectionState
) -> Callable[[], T]:
    """Return what returns what was read, or raises as that did: there may be no telling yet."""
    driver: Any = reader.source()[0].dialect.loaded_dbapi
    failures = (sa.exc.SQLAlchemyError, driver.Error)
    try:
        found = read(state)
    except failures:
        raise  # nothing more can be read in this transaction
    except Exception as error:
        failure = error  # what was there a moment ago, and is not now, fails in many ways

        def fail() -> T:
            raise failure

        return fail
    return lambda: found


@contextmanager
def _in_one_transaction(connection: sa.Connection, cursor: Any) -> Iterator[None]:
    """Begin where the driver does so only at a write; what we have begun has written nothing."""
    raw = raw_of(connection)
    if raw.in_transaction:
        yield
        return
    cursor.execute("BEGIN")
    try:
        yield
    finally:
        cursor.execute("COMMIT")


@contextmanager
def _nobody_begins(reader: Reader, owner: CollectionRow) -> Iterator[None]:
    """Let nobody begin to write to the collection until the end of the block.

    We never wait for one who writes, who might be waiting for this transaction; a savepoint gives
    the lock back.
    """
    deadline = time.monotonic() + _PATIENCE
    connection, _ = reader.source()
    driver: Any = connection.dialect.loaded_dbapi
    point = connection.begin_nested()
    try:
        try:
            while not reader.hold_still(owner.id):
                point.rollback()
                if time.monotonic() > deadline:
                    raise _overtaken()
                time.sleep(_PAUSE)
                point = connection.begin_nested()
        except (
            driver.InternalError, driver.ProgrammingError,
            sa.exc.InternalError, sa.exc.ProgrammingError,  # by an asynchronous driver
        ) as error:  # fmt: skip
            raise _overtaken() from error  # who may only read, may not hold up others
        yield
    finally:
        if point.is_active:
            point.rollback()


def _overtaken() -> StoreError:
    return StoreError(
        "a read in a transaction of your own was overtaken by other writes again and again: begin "
        "one that sees a single snapshot, in PostgreSQL with isolation_level='REPEATABLE READ'"
    )

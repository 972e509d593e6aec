"""What each thread holds of the store's connections, so that it never waits for itself.

An application's pool may be small. A thread that holds one of its connections and waits for another
would stand for ever beside others that do the same. So that one comes from an engine beside the
application's (`sibling`), which has no limit and is used by what happens in the midst of a reading:
an index that is caught up or published, which one thread an index does at a time.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import sqlalchemy as sa

from requant.errors import StoreError

# On a caller's connection: by store, the transaction in which it wrote last, and to what.
_WROTE = "_requant_wrote"
# What a task of asyncio has lent, while a thread works for it; the thread itself has lent nothing.
_OF_TASK: ContextVar[tuple[sa.Connection, ...] | None] = ContextVar("requant_task", default=None)


@contextmanager
def working_for(lent: Iterable[sa.Connection]) -> Iterator[None]:
    """Let what this thread does count as done by a task that has lent these connections before."""
    token = _OF_TASK.set(tuple(lent))
    try:
        yield
    finally:
        _OF_TASK.reset(token)


class Held:
    """The readers and connections that each thread has taken, and those that were lent to it."""

    def __init__(self) -> None:
        """Nothing is held yet."""
        self._local = threading.local()

    def here(self) -> list[Any]:
        """Return what this thread holds, the latest last; whoever takes or gives changes it."""
        try:
            held: list[Any] = self._local.held
        except AttributeError:
            held = self._local.held = []
        return held

    @contextmanager
    def holding(self, one: Any) -> Iterator[None]:
        """Count a reader or connection among what this thread holds."""
        here = self.here()
        here.append(one)
        try:
            yield
        finally:
            here.remove(one)

    def note_write(self, connection: sa.Connection, collection: int | None) -> None:
        """Remember that this thread has written in the open transaction of a lent connection."""
        written = getattr(connection, _WROTE, None)
        if written is None:
            written = weakref.WeakKeyDictionary[Held, Any]()
            setattr(connection, _WROTE, written)
        transaction = connection.get_transaction()
        known, collections = written.get(self, (None, set[int | None]()))
        if known is not transaction:
            collections = set[int | None]()
            written[self] = (transaction, collections)
            if _OF_TASK.get() is None:
                self._lent().add(connection)
        collections.add(collection)

    def refuse_to_wait_for_itself(self, collection: int | None) -> None:
        """Raise StoreError where a write would wait for one that only this thread can end.

        That is, one to `collection`, or to any if it is None: SQLite has one turn for all.
        """
        for connection in self._lent_before():
            transaction, collections = getattr(connection, _WROTE, {}).get(self, (None, ()))
            open_one = None if connection.closed else connection.get_transaction()
            still = open_one is not None and open_one is transaction
            if still and (collection is None or collection in collections):
                raise self.itself()

    @staticmethod
    def itself() -> StoreError:
        """Return the error of a thread that would wait for a transaction of its own."""
        return StoreError(
            "this thread or task has written in a transaction of its own that is still open, and "
            "would wait for itself: pass its connection as connection= here as well, or commit "
            "first"
        )

    def _lent_before(self) -> list[sa.Connection]:
        of_task = _OF_TASK.get()
        if of_task is not None:
            return list(of_task)
        return list(self._lent()) if hasattr(self._local, "lent") else []

    def _lent(self) -> weakref.WeakSet[sa.Connection]:
        try:
            lent: weakref.WeakSet[sa.Connection] = self._local.lent
        except AttributeError:
            lent = self._local.lent = weakref.WeakSet()
        return lent


def sibling(engine: sa.Engine) -> sa.Engine:
    """Return an engine that connects as an application's does, outside of its pool."""

    def connect() -> Any:
        fairy = engine.pool.recreate().connect()
        fairy.detach()
        raw: Any = fairy.dbapi_connection
        if engine.dialect.name == "sqlite" and raw.isolation_level is None:
            raw.isolation_level = ""  # its listeners to "begin" are the other engine's
        return raw

    return sa.create_engine(
        engine.url, creator=connect, pool_size=1, max_overflow=-1, pool_pre_ping=True
    )

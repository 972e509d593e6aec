"""A database whose verbs are awaited."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import NoReturn, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from requant.collection import Collection
from requant.database import Database
from requant.errors import InputError, UnsupportedError
from requant.integration.sqlalchemy.aio.caller import Caller
from requant.integration.sqlalchemy.aio.calls import Call
from requant.integration.sqlalchemy.aio.collection import NOT_PICKLED, AsyncCollection
from requant.integration.sqlalchemy.aio.database_verbs import DatabaseVerbs
from requant.integration.sqlalchemy.aio.lent import AsyncLent
from requant.integration.sqlalchemy.aio.threads import Lane, whole

T = TypeVar("T")


class AsyncDatabase(DatabaseVerbs):
    """Collections in one store. Made by `aio.open`; an asynchronous context manager.

    Its verbs are those of `requant.Database`, with the same arguments. It is bound to no event
    loop, and works in a forked child as far as the sync database does.
    """

    def __init__(self, database: Database, engine: AsyncEngine | None) -> None:
        """Stand for a sync database, which it closes; see `aio.open`."""
        self._sync = database
        self._engine = engine
        self._caller = Caller(repr(database))

    @property
    def sync_database(self) -> Database:
        """The synchronous database beneath, for use within run_sync or in a thread."""
        return self._sync

    @property
    def read_only(self) -> bool:
        """Whether it was opened with `read_only=True`, so that writes raise ReadOnlyError."""
        return self._sync.read_only

    @property
    def engine(self) -> AsyncEngine:
        """The asynchronous engine that it was opened with; raises InputError if by another way."""
        if self._engine is None:
            raise InputError(
                f"{self!r} was opened without an AsyncEngine: make one with create_async_engine "
                "and give it to aio.open, for transactions of your own"
            )
        return self._engine

    async def close(self) -> None:
        """Close it when the calls that run have ended; new ones and iterators raise StoreError.

        Again is harmless. Cancelled, it raises CancelledError when all is closed.
        """
        self._caller.threads.shut()
        await whole(self._close())

    async def __aenter__(self) -> AsyncDatabase:
        """Return the database itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()

    def __reduce__(self) -> NoReturn:
        """Raise UnsupportedError: what is open here is not open in another process."""
        raise UnsupportedError(NOT_PICKLED)

    def __repr__(self) -> str:
        """Show where the store is."""
        return repr(self._sync).replace("<Database", "<AsyncDatabase", 1)

    # Within

    async def sees(self, lent: AsyncLent) -> bool:
        """Whether a connection of another engine sees this database."""

        def look(call: Call) -> bool:
            return call.connection is not None and self._sync.is_at(call.connection)

        return await self._call("reads", lent, look)

    def _stand_for(self, collection: Collection) -> AsyncCollection:
        return AsyncCollection(collection, self._caller)

    async def _call(self, lane: Lane, lent: AsyncLent | None, work: Callable[[Call], T]) -> T:
        return await self._caller.call(lane, lent, work)

    async def _close(self) -> None:
        await self._caller.streams.close()
        await self._caller.threads.close(self._sync.close)

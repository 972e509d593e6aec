"""A collection whose verbs are awaited."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import sqlalchemy as sa

from requant.collection import Collection
from requant.errors import UnsupportedError
from requant.integration.sqlalchemy.aio.caller import Caller
from requant.integration.sqlalchemy.aio.calls import Call
from requant.integration.sqlalchemy.aio.collection_verbs import CollectionVerbs
from requant.integration.sqlalchemy.aio.lent import AsyncLent
from requant.integration.sqlalchemy.aio.sources import Alone, Within
from requant.integration.sqlalchemy.aio.streams import Stream
from requant.integration.sqlalchemy.aio.threads import Lane
from requant.scores import Metric
from requant.store import Item

T = TypeVar("T")


class AsyncCollection(CollectionVerbs):
    """Items of one dimension and one metric. Made by `AsyncDatabase.create_collection`.

    Its verbs are those of `requant.Collection`, with the same arguments. Without `connection=` they
    run in threads of the database's own; with it, in the transaction of an AsyncSession, an
    async_scoped_session or an AsyncConnection. Safe to share between tasks and event loops.
    """

    def __init__(self, collection: Collection, caller: Caller) -> None:
        """Stand for a sync collection; see `AsyncDatabase.collection`."""
        self._sync = collection
        self._caller = caller

    @property
    def sync_collection(self) -> Collection:
        """The synchronous collection beneath, for use within run_sync or in a thread."""
        return self._sync

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._sync.name

    @property
    def dim(self) -> int:
        """Dimensions of its vectors."""
        return self._sync.dim

    @property
    def metric(self) -> Metric:
        """`cosine`, `ip` (inner product) or `l2` (Euclidean distance)."""
        return self._sync.metric

    @property
    def closed(self) -> bool:
        """Whether it was closed, by itself or with its database; every other call then fails."""
        return self._sync.closed

    def iter(
        self,
        batch: int = 1024,
        *,
        where: Mapping[str, Any] | None = None,
        vectors: bool = True,
        connection: AsyncLent | None = None,
    ) -> Stream[Item]:
        """Yield every item with its vector, in the order of insertion, from one snapshot.

        As `Collection.iter`, for `async for`. It holds a thread and a snapshot, or a cursor of the
        connection, until it is at its end or closed: what is left before its end is left by way of
        `async with notes.iter() as items:`.
        """
        # What is no number of items is refused at the first of them.
        size = max(1, batch) if isinstance(batch, int) else 1

        def begin(lent: sa.Connection | None = None) -> Iterator[Item]:
            return self._sync.iter(batch, where=where, vectors=vectors, connection=lent)

        streams = self._caller.streams
        if connection is None:
            return Stream(streams, Alone(self._caller.threads, begin, size))
        within = Within(self._caller, connection, lambda call: begin(call.connection), size)
        return Stream(streams, within)

    async def _call(self, lane: Lane, lent: AsyncLent | None, work: Callable[[Call], T]) -> T:
        return await self._caller.call(lane, lent, work)

    def __reduce__(self) -> NoReturn:
        """Raise UnsupportedError: what is open here is not open in another process."""
        raise UnsupportedError(NOT_PICKLED)

    def __repr__(self) -> str:
        """Show name, dimension and metric."""
        return f"<AsyncCollection {self.name!r}: {self.dim} dimensions, {self.metric}>"


NOT_PICKLED = (
    "asynchronous databases and collections are not pickled: let each process that is started by "
    "spawn or forkserver open its own with aio.open"
)

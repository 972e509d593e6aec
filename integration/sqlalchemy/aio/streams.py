"""What a sync iterator yields, for `async for`."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

from requant.errors import StoreError
from requant.integration.sqlalchemy.aio.threads import Threads

T = TypeVar("T")
MOST = 64


class Source(Protocol[T]):
    """Where the items come from, some at a time."""

    async def next(self) -> list[T]:
        """Return the next ones, none after the last."""

    async def close(self) -> None:
        """End it; again is harmless."""


class Streams:
    """Those that are open in one database, at most so many."""

    def __init__(self, threads: Threads) -> None:
        """Count those of one database, which works with these threads."""
        self.threads: Threads = threads
        self._open: WeakSet[Stream[Any]] = WeakSet()

    def admit(self, stream: Stream[Any]) -> None:
        """Count one that begins; raises StoreError if there are too many, or all is closed."""
        self.threads.check()
        if len(self._open) >= MOST:
            raise StoreError(
                f"{MOST} iterators are open: each holds a thread and a snapshot until it is at its "
                "end or closed, `async with notes.iter() as items:`"
            )
        self._open.add(stream)

    async def close(self) -> None:
        """Close all of them."""
        for stream in list(self._open):
            await stream.aclose()

    def forget(self, stream: Stream[Any]) -> None:
        """Do not count one any more."""
        self._open.discard(stream)


class Stream(AsyncIterator[T], Generic[T]):
    """An asynchronous iterator, and a context manager that closes it; its last item does, too."""

    def __init__(self, streams: Streams, source: Source[T]) -> None:
        """Begin nothing before the first item is asked for."""
        self._streams = streams
        self._source = source
        self._items: deque[T] = deque()
        self._begun = self._at_end = self._closed = False

    def __aiter__(self) -> Stream[T]:
        """Return itself."""
        return self

    async def __anext__(self) -> T:
        """Return the next item; raises StoreError once it was closed."""
        if not self._items and not self._at_end:
            await self._fetch()
        if not self._items:
            raise StopAsyncIteration
        return self._items.popleft()

    async def aclose(self) -> None:
        """End it, with its snapshot; again is harmless."""
        self._items.clear()
        self._closed = True
        self._streams.forget(self)
        await self._source.close()

    async def __aenter__(self) -> Stream[T]:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()

    async def _fetch(self) -> None:
        if self._closed:  # not the end, which would look as if that were all
            raise StoreError("this iterator was closed, by itself or with its database")
        if not self._begun:
            self._streams.admit(self)
            self._begun = True
        try:
            some = await self._source.next()
        except BaseException:
            await self.aclose()
            raise
        self._items.extend(some)
        if not some:
            await self.aclose()
            self._at_end = True

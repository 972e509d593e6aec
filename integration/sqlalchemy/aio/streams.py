"""What a sync iterator yields, for `async for`: it runs in a thread of its own.

Of its own, since it holds a snapshot as long as it is open, which is bound to its thread.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Any, Generic, TypeVar

from requant.errors import ForkedError, StoreError
from requant.integration.sqlalchemy.aio.calls import Call
from requant.integration.sqlalchemy.aio.threads import Threads, ended

T = TypeVar("T")
MOST = 64


class Streams:
    """Those that are open in one database, at most so many."""

    def __init__(self, threads: Threads) -> None:
        """Work with these threads, and with those that the streams start."""
        self.threads = threads
        self._open: weakref.WeakSet[Stream[Any]] = weakref.WeakSet()

    def open(self, make: Callable[[], Iterator[T]], size: int) -> Stream[T]:
        """Return what `make()` yields, in a thread that ends with it; `size` items a time."""
        return Stream(self, make, size)

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

    def __init__(self, streams: Streams, make: Callable[[], Iterator[T]], size: int) -> None:
        """Begin nothing before the first item is asked for."""
        self._streams = streams
        self._source = _Source(make, size)
        self._items: deque[T] = deque()
        self._thread: ThreadPoolExecutor | None = None
        self._pid = 0
        self._at_end = self._closed = False

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
        end = self._end()
        if end is not None:
            await ended(asyncio.wrap_future(end))

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
        if self._thread is None:
            self._begin()
        assert self._thread is not None
        if self._pid != os.getpid():
            raise ForkedError("this iterator was begun by the parent of this process: make another")
        call = Call(asyncio.get_running_loop())
        try:
            some = await self._streams.threads.run(self._thread, self._source.next, call)
        except BaseException:
            await self.aclose()
            raise
        self._items.extend(some)
        if not some:
            await self.aclose()
            self._at_end = True

    def _begin(self) -> None:
        self._streams.admit(self)
        self._pid = os.getpid()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="requant iter")
        self._finish = weakref.finalize(self, _finish, self._thread, self._source)
        self._finish.atexit = False

    def _end(self) -> Future[None] | None:
        """Let the thread close the iterator, after what it does just now, and end."""
        self._closed = True
        self._streams.forget(self)
        if self._thread is None or self._pid != os.getpid():
            return None
        end: Future[None] | None = self._finish()  # once
        return end


class _Source(Generic[T]):
    """The sync iterator, used by one thread alone."""

    def __init__(self, make: Callable[[], Iterator[T]], size: int) -> None:
        self._make = make
        self._size = size
        self._iterator: Any = None

    def next(self) -> list[T]:
        if self._iterator is None:
            self._iterator = self._make()
        return list(islice(self._iterator, self._size))

    def close(self) -> None:
        if self._iterator is not None:
            self._iterator.close()


def _finish(thread: ThreadPoolExecutor, source: _Source[Any]) -> Future[None]:
    end = thread.submit(source.close)
    thread.shutdown(wait=False)
    return end

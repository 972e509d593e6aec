"""Sync iterators that coroutines read: in a thread of their own, or in the caller's transaction."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Generic, TypeVar

from requant.errors import ForkedError
from requant.integration.sqlalchemy.aio.caller import Caller
from requant.integration.sqlalchemy.aio.calls import Call
from requant.integration.sqlalchemy.aio.lent import AsyncLent
from requant.integration.sqlalchemy.aio.threads import Threads, ended

T = TypeVar("T")


class Alone(Generic[T]):
    """In a thread of its own, since it holds a snapshot, which is bound to its thread."""

    def __init__(self, threads: Threads, make: Callable[[], Iterator[T]], size: int) -> None:
        """Read what `make()` yields, `size` items a time."""
        self._threads = threads
        self._steps = _Steps(make, size)
        self._thread: ThreadPoolExecutor | None = None
        self._pid = 0

    async def next(self) -> list[T]:
        """Return the next items; raises ForkedError in a child of who has begun."""
        if self._thread is None:
            self._pid = os.getpid()
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="requant iter")
            self._finish = weakref.finalize(self, _finish, self._thread, self._steps)
            self._finish.atexit = False
        if self._pid != os.getpid():
            raise ForkedError("this iterator was begun by the parent of this process: make another")
        call = Call(asyncio.get_running_loop())
        return await self._threads.run(self._thread, self._steps.next, call)

    async def close(self) -> None:
        """Close the iterator, after what it does just now, and end the thread."""
        if self._thread is None or self._pid != os.getpid():
            return
        end: Future[None] | None = self._finish()  # once
        if end is not None:
            await ended(asyncio.wrap_future(end))


class Within(Generic[T]):
    """In the caller's transaction, by what it lends."""

    def __init__(
        self, caller: Caller, lent: AsyncLent, make: Callable[[Call], Iterator[T]], size: int
    ) -> None:
        """Read what `make(call)` yields, `size` items a time."""
        self._caller = caller
        self._lent = lent
        self._make = make
        self._size = size
        self._pid = os.getpid()
        self._steps: _Steps[T] | None = None

    async def next(self) -> list[T]:
        """Return the next items."""

        def step(call: Call) -> list[T]:
            if self._steps is None:
                self._steps = _Steps(lambda: self._make(call), self._size)
            return self._steps.next()

        return await self._caller.call("lent", self._lent, step)

    async def close(self) -> None:
        """Close the iterator, and what it reads by."""
        steps, self._steps = self._steps, None
        if steps is not None and not steps.done and self._pid == os.getpid():
            await self._caller.call("lent", self._lent, lambda call: steps.close())


class _Steps(Generic[T]):
    """The sync iterator, used by one thread at a time."""

    def __init__(self, make: Callable[[], Iterator[T]], size: int) -> None:
        self._make = make
        self._size = size
        self._iterator: Any = None
        self.done = False

    def next(self) -> list[T]:
        try:
            if self._iterator is None:
                self._iterator = self._make()
            some = list(islice(self._iterator, self._size))
        except BaseException:
            self.done = True
            raise
        self.done = not some
        return some

    def close(self) -> None:
        if self._iterator is not None:
            self._iterator.close()


def _finish(thread: ThreadPoolExecutor, steps: _Steps[Any]) -> Future[None]:
    end = thread.submit(steps.close)
    thread.shutdown(wait=False)
    return end

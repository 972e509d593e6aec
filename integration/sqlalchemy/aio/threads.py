"""The threads that work for an AsyncDatabase: few, and by what they do.

Who searches does not wait behind those who write, nor these behind a build of an hour. Calls with a
connection of their own have a thread each: they may wait for a lock that another of them holds, so
they must not wait for a thread, too. They are as many as the application's pool has connections.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, TypeVar

from requant.errors import StoreError
from requant.integration.sqlalchemy.aio.calls import Call

T = TypeVar("T")
Lane = Literal["reads", "writes", "builds", "lent"]
SIZES: dict[Lane, int] = {"reads": 4, "writes": 2, "builds": 2, "lent": 1024}


class Threads:
    """Works for coroutines; in a forked child with threads of the child's own."""

    def __init__(self, name: str) -> None:
        """Start no thread yet; `name` is what errors call the database."""
        self._name = name
        self._pid = os.getpid()
        self._lanes: dict[Lane, ThreadPoolExecutor] = {}
        self._running: set[Future[Any]] = set()
        self._closed = False

    async def run(self, lane: Lane | ThreadPoolExecutor, work: Callable[[], T], call: Call) -> T:
        """Return what `work()` returns in a thread.

        Cancelled before it has begun, it is not done at all. What only reads goes on unseen; for
        anything else CancelledError is raised when it has ended, whole or taken back.
        """
        future = self._submit(lane, work)
        waiting = asyncio.wrap_future(future)
        try:
            await asyncio.wait([waiting])
        except asyncio.CancelledError:
            if not future.cancel():
                call.cancel()
                if lane == "reads":
                    waiting.cancel()
                else:
                    await ended(waiting)
            raise
        return waiting.result()

    def check(self) -> None:
        """Raise StoreError once it is closed."""
        if self._closed:
            raise StoreError(f"{self._name} is closed: open it again")

    def shut(self) -> None:
        """Let nobody in any more."""
        self._closed = True

    async def close(self, last: Callable[[], None]) -> None:
        """Let nobody in any more, wait for those that are in, and do the `last` in a thread."""
        self.shut()
        self._own()
        for future in list(self._running):
            await ended(asyncio.wrap_future(future))
        try:
            await asyncio.wrap_future(self._lane("writes").submit(last))
        finally:
            lanes, self._lanes = self._lanes, {}
            for lane in lanes.values():
                lane.shutdown(wait=False)

    def _submit(self, lane: Lane | ThreadPoolExecutor, work: Callable[[], T]) -> Future[T]:
        self.check()
        self._own()
        executor = lane if isinstance(lane, ThreadPoolExecutor) else self._lane(lane)
        future = executor.submit(work)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def _own(self) -> None:
        """Forget in a child what its parent's threads were doing: they do not survive a fork."""
        if self._pid != os.getpid():
            self._pid, self._lanes, self._running = os.getpid(), {}, set()

    def _lane(self, lane: Lane) -> ThreadPoolExecutor:
        self._own()
        if lane not in self._lanes:
            name = f"requant {lane}"
            self._lanes[lane] = ThreadPoolExecutor(SIZES[lane], thread_name_prefix=name)
        return self._lanes[lane]


async def whole(work: Coroutine[Any, Any, None]) -> None:
    """Do all of it, and raise CancelledError only then."""
    task = asyncio.ensure_future(work)
    await ended(task)
    task.result()


async def ended(waiting: asyncio.Future[Any]) -> None:
    """Wait until it has ended, in whatever way, however often the waiting task is cancelled."""
    cancelled = False
    while not waiting.done():
        try:
            await asyncio.wait([waiting])
        except asyncio.CancelledError:
            cancelled = True
    if not waiting.cancelled():
        waiting.exception()  # seen by nobody else
    if cancelled:
        raise asyncio.CancelledError

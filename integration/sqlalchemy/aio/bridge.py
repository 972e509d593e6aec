"""Sync code in a thread that uses a connection of asyncio: what it awaits runs on the event loop.

SQLAlchemy lets sync code wait for a driver of asyncio by switching greenlets, on the thread of the
event loop: what the code computes meanwhile holds the loop up. Here the greenlet lives in a thread
of its own, and only what it awaits is sent to the loop. So vectors are checked, packed and compared
beside the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy.util import greenlet_spawn

from requant.errors import PackageMissingError
from requant.integration.sqlalchemy.aio.calls import Call

try:
    from greenlet import getcurrent
except ImportError:
    raise PackageMissingError(
        "requant.integration.sqlalchemy.aio needs greenlet: pip install 'requant[async]'"
    ) from None

T = TypeVar("T")


class LoopFromThread:
    """Stands for a running event loop in another thread, where tasks are made for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stand for `loop`."""
        self._loop = loop

    def create_task(self, work: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        """Return a task that was made on the loop's own thread."""

        async def make() -> asyncio.Task[T]:
            return self._loop.create_task(work, **options)

        return asyncio.run_coroutine_threadsafe(make(), self._loop).result()

    def __getattr__(self, name: str) -> Any:
        """Return what the loop has."""
        return getattr(self._loop, name)


@contextmanager
def _running(loop: Any) -> Iterator[None]:
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(None)


async def greenlet_kind() -> type[Any]:
    """Return the class of the greenlets in which SQLAlchemy's drivers of asyncio can be used."""
    return type(await greenlet_spawn(getcurrent))


def drive(kind: type[Any], work: Callable[[Call], T], call: Call) -> T:
    """Return what `work(call)` returns, in this thread; what it awaits is awaited on the loop."""
    greenlet: Any = kind(work, getcurrent())
    result = greenlet.switch(call)
    while not greenlet.dead:
        try:
            value = call.wait(result)
        except BaseException as error:
            # SQLAlchemy may begin to close a connection that is broken, as a task of its own.
            with _running(LoopFromThread(call.loop)):
                result = greenlet.throw(type(error), error, error.__traceback__)
        else:
            result = greenlet.switch(value)
    found: T = result
    return found

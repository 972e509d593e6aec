"""Sync code in a thread that uses a connection of asyncio: what it awaits runs on the event loop.

SQLAlchemy lets sync code wait for a driver of asyncio by switching greenlets, on the thread of the
event loop: what the code computes meanwhile holds the loop up. Here the greenlet lives in a thread
of its own, and only what it awaits is sent to the loop. So vectors are checked, packed and compared
beside the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from greenlet import getcurrent
from sqlalchemy.util import greenlet_spawn

from requant.integration.sqlalchemy.aio.calls import Call

T = TypeVar("T")


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
            result = greenlet.throw(type(error), error, error.__traceback__)
        else:
            result = greenlet.switch(value)
    found: T = result
    return found

"""How an asynchronous verb is done: by a thread, or in the caller's transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import sqlalchemy as sa

from requant.integration.sqlalchemy.aio.bridge import drive, greenlet_kind
from requant.integration.sqlalchemy.aio.calls import Call
from requant.integration.sqlalchemy.aio.lent import AsyncLent, connection_of, turn_of
from requant.integration.sqlalchemy.aio.streams import Streams
from requant.integration.sqlalchemy.aio.threads import Lane, Threads
from requant.store import checked, working_for

T = TypeVar("T")


class Caller:
    """Calls the sync verbs of one database, for all its collections."""

    def __init__(self, name: str) -> None:
        """Call in threads of its own; `name` is what errors call the database."""
        self.threads = Threads(name)
        self.streams = Streams(self.threads)
        self._lent: WeakKeyDictionary[asyncio.Task[Any], WeakSet[sa.Connection]]
        self._lent = WeakKeyDictionary()

    async def call(self, lane: Lane, lent: AsyncLent | None, work: Callable[[Call], T]) -> T:
        """Return what `work(call)` returns in a thread of `lane`, or by what the caller lends."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        before = self._lent.setdefault(task, WeakSet()) if task is not None else WeakSet()
        context = copy_context()

        def alone() -> T:
            with working_for(before):
                return work(call)

        if lent is None:
            call = Call(loop)
            return await self.threads.run(lane, lambda: context.run(alone), call)
        self.threads.check()
        connection = await connection_of(lent)
        kind = await greenlet_kind()
        async with turn_of(connection):
            call = Call(loop, connection)
            before.add(connection)

            def within() -> T:
                with working_for(before), checked(call.may_go_on):
                    return drive(kind, work, call)

            return await self.threads.run("lent", lambda: context.run(within), call)

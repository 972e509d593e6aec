"""How an asynchronous verb is done: by a thread, or in the caller's transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from requant.integration.sqlalchemy.aio.bridge import drive, greenlet_kind
from requant.integration.sqlalchemy.aio.calls import Call
from requant.integration.sqlalchemy.aio.lenders import Lenders
from requant.integration.sqlalchemy.aio.lent import AsyncLent, connection_of
from requant.integration.sqlalchemy.aio.streams import Streams
from requant.integration.sqlalchemy.aio.threads import Lane, Threads
from requant.integration.sqlalchemy.aio.turns import turns_on
from requant.store import checked, working_for

T = TypeVar("T")


class Caller:
    """Calls the sync verbs of one database, for all its collections."""

    def __init__(self, name: str) -> None:
        """Call in threads of its own; `name` is what errors call the database."""
        self.threads: Threads = Threads(name)
        self.streams: Streams = Streams(self.threads)
        self._lenders: Lenders = Lenders()

    async def run(self, lane: Lane, work: Callable[[], T]) -> T:
        """Return what `work()` returns in a thread of `lane`; one that writes is done whole.

        Cancelled before it has begun, it is not done; after that, CancelledError is raised when it
        has ended.
        """
        return await self.call(lane, None, lambda _: work())

    async def call(self, lane: Lane, lent: AsyncLent | None, work: Callable[[Call], T]) -> T:
        """Return what `work(call)` returns in a thread of `lane`, or by what the caller lends."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if lent is None:
            before = self._lenders.lent_before(task)

            def alone() -> T:
                with working_for(before):
                    return work(call)

            call = Call(loop)
            return await self.threads.run(lane, partial(copy_context().run, alone), call)
        self.threads.check()
        connection = await connection_of(lent)
        kind = await greenlet_kind()
        async with turns_on(connection).taken():
            self._lenders.note(task, connection)

            def within() -> T:
                with working_for((connection,)), checked(call.may_go_on):
                    return drive(kind, work, call)

            call = Call(loop, connection)
            return await self.threads.run("lent", partial(copy_context().run, within), call)

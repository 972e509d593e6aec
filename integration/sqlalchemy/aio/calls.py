"""One call that a coroutine waits for, as the thread sees it that works for it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

import sqlalchemy as sa

from requant.errors import StoreError
from requant.indexes import Progress

if TYPE_CHECKING:
    from requant.integration.sqlalchemy.aio.search_options import AsyncSearchOptions
    from requant.search import SearchOptions

T = TypeVar("T")
# Rows of an asynchronous iterator that are fetched by one trip to the event loop.
_ROWS = 256
_PATIENCE = 10.0


class InterruptedCallError(Exception):
    """Ends a call that was cancelled, between two statements: only the call is taken back."""


class Call:
    """A coroutine on `loop` waits for it, and may lend a connection, which is used on that loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connection: sa.Connection | None = None
    ) -> None:
        """Work for a coroutine on `loop`."""
        self.loop: asyncio.AbstractEventLoop = loop
        self.connection: sa.Connection | None = connection
        # A statement of SQLite runs to its end in a thread of aiosqlite's, whoever gives it up.
        self._gives_up = connection is not None and connection.dialect.name != "sqlite"
        self._cancelled = threading.Event()
        self._waiting: asyncio.Task[Any] | None = None  # known on the loop alone
        self._told = False

    def cancel(self) -> None:
        """Let the thread end soon: at its next step, or where it waits for the loop now or next.

        It is told once: what it awaits after that takes back what was done. Called on the loop.
        """
        self._cancelled.set()
        if self._waiting is not None and not self._told:
            self._told = True
            self._waiting.cancel()

    def wait(self, statement: Awaitable[T]) -> T:
        """Return in a thread what is awaited on the loop; raises CancelledError if given up."""
        return self._wait(statement, self._gives_up)

    def may_go_on(self) -> None:
        """Raise InterruptedCallError, once, if the call was cancelled: asked between statements."""
        if self._cancelled.is_set() and not self._told:
            self._told = True
            raise InterruptedCallError

    def _wait(self, awaited: Awaitable[T], gives_up: bool) -> T:
        awaiting = self._awaiting(awaited, gives_up)
        future = asyncio.run_coroutine_threadsafe(awaiting, self.loop)
        try:
            while not concurrent.futures.wait([future], _PATIENCE).done:
                if not self.loop.is_running():  # nobody would ever wake this thread
                    raise StoreError("the event loop was stopped in the midst of a call")
            return future.result()
        except concurrent.futures.CancelledError:
            # As where there is no thread: an error of asyncio, which drivers and SQLAlchemy know.
            raise asyncio.CancelledError from None

    async def _awaiting(self, awaited: Awaitable[T], gives_up: bool) -> T:
        if not gives_up:
            return await awaited
        if self._cancelled.is_set() and not self._told:
            self._told = True
            if asyncio.iscoroutine(awaited):
                awaited.close()
            raise asyncio.CancelledError
        self._waiting = asyncio.current_task()
        try:
            return await awaited
        finally:
            self._waiting = None

    def lending(self, options: AsyncSearchOptions) -> SearchOptions:
        """Return options of a search for the sync collection."""
        given: dict[str, Any] = {**options}
        if "connection" in given:
            given["connection"] = self.connection
        return cast("SearchOptions", given)

    def watch(self, progress: Progress | None) -> Progress:
        """Return what is called with (done, total), and ends a call that was cancelled."""

        def told(done: int, total: int) -> None:
            self._check()
            if progress is not None:
                progress(done, total)

        return told

    def rows(self, rows: Iterable[T] | AsyncIterable[T]) -> Iterator[T]:
        """Yield rows, those of an asynchronous iterator as well, until the call is cancelled."""
        each = self._fetched(aiter(rows)) if isinstance(rows, AsyncIterable) else rows
        for row in each:
            self._check()
            yield row

    def _fetched(self, rows: AsyncIterator[T]) -> Iterator[T]:
        error: BaseException | None = None
        while error is None:
            some, error = self._wait(_some(rows), gives_up=True)
            yield from some
        if not isinstance(error, StopAsyncIteration):
            raise error

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise asyncio.CancelledError


async def _some(rows: AsyncIterator[T]) -> tuple[list[T], BaseException | None]:
    """Return the next rows, and what ended them: those before an error count."""
    some: list[T] = []
    try:
        while len(some) < _ROWS:
            some.append(await anext(rows))
    except asyncio.CancelledError:
        raise
    except (Exception, StopAsyncIteration) as error:
        return some, error
    return some, None

"""Opening a database for coroutines: by an engine of asyncio, beside which a sync one stands."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine

import requant
from requant.database import Database
from requant.errors import InputError, PackageMissingError, StoreError, UnsupportedError
from requant.integration.sqlalchemy.aio.calls import Call
from requant.integration.sqlalchemy.aio.database import AsyncDatabase
from requant.integration.sqlalchemy.aio.threads import Threads, whole
from requant.store import Tables

# What stands in a URL for asyncpg or for SQLAlchemy's adaption of it, and means nothing to psycopg.
_OF_ASYNCPG = (
    "prepared_statement_cache_size",
    "prepared_statement_name_func",
    "async_fallback",
    "statement_cache_size",
    "max_cached_statement_lifetime",
    "max_cacheable_statement_size",
    "command_timeout",
)
_RENAMED = {"ssl": "sslmode", "timeout": "connect_timeout"}


async def open(
    target: AsyncEngine | str | Path | sa.Engine,
    *,
    sync_engine: sa.Engine | None = None,
    folder: str | Path | None = None,
    secrets: Mapping[str, Mapping[str, Any]] | None = None,
    durable: bool = False,
    trust: Sequence[str] = (),
    read_only: bool = False,
    tables: Tables | None = None,
    create: bool = True,
) -> AsyncDatabase:
    """Open a database for coroutines, and create it if it is not there.

    Args:
        target: an AsyncEngine or a URL of aiosqlite, asyncpg or psycopg; or what `requant.open`
            takes.
        sync_engine: an engine of the same database, of sqlite3 or psycopg, for what is done in
            threads; by default one is made of the URL, without the `connect_args` and listeners of
            yours, and disposed of at the end.
        folder: as for `requant.open`, and so are the rest.

    Raises:
        PackageMissingError: PostgreSQL is read in threads through psycopg, which is not installed.
        InputError: the two engines are connected to different databases, or see other tables.
        UnsupportedError: another asynchronous driver; else as `requant.open`.
    """
    engine = target if isinstance(target, AsyncEngine) else None
    if sync_engine is not None and not _is_async(target):
        raise InputError("sync_engine goes with an AsyncEngine or a URL of an asynchronous driver")
    beside: Any = sync_target(target) if sync_engine is None else sync_engine

    def begin() -> Database:
        return requant.open(
            beside,
            folder=folder,
            secrets=secrets,
            durable=durable,
            trust=trust,
            read_only=read_only,
            tables=tables,
            create=create,
        )

    database = await _opened(begin, made=beside is not target and sync_engine is None)
    opened = AsyncDatabase(database, engine)
    try:
        if engine is not None:
            await _check_same(engine, opened)
    except BaseException:
        await opened.close()
        raise
    return opened


async def _opened(begin: Callable[[], Database], made: bool) -> Database:
    """Open in a thread; whoever is cancelled meanwhile leaves nothing open."""
    threads, done = Threads("this database"), list[Database]()
    call = Call(asyncio.get_running_loop())
    try:
        await threads.run("writes", lambda: done.append(begin()), call)
    except asyncio.CancelledError:
        await whole(threads.close(lambda: done[0].close() if done else None))
        raise
    except StoreError as error:
        if not made:
            raise
        raise StoreError(
            f"{error}. For what is done in threads, requant connects by the same URL: where that "
            "is not enough (connect_args, listeners), pass sync_engine=create_engine(...)"
        ) from error
    await threads.close(lambda: None)
    return done[0]


def _is_async(target: object) -> bool:
    if isinstance(target, AsyncEngine):
        return True
    return isinstance(target, str) and "://" in target and sync_target(target) != target


def sync_target(target: AsyncEngine | str | Path | sa.Engine) -> str | Path | sa.Engine:
    """Return what `requant.open` takes for it: a URL of a synchronous driver, or the same."""
    if isinstance(target, AsyncEngine):
        url = target.url
    elif isinstance(target, str) and "://" in target:
        try:
            url = sa.make_url(target)
        except (ArgumentError, ValueError):
            return target  # which says what is wrong with it
    else:
        return target
    driver = _driver_of(url)
    if (url.get_backend_name(), driver) == ("sqlite", "aiosqlite"):
        return url.set(drivername="sqlite").render_as_string(hide_password=False)
    if url.get_backend_name() != "postgresql" or driver not in ("asyncpg", "psycopg"):
        if isinstance(target, AsyncEngine):
            raise UnsupportedError(
                f"of the asynchronous drivers requant knows aiosqlite, asyncpg and psycopg, not "
                f"{driver}"
            )
        return target
    if importlib.util.find_spec("psycopg") is None:
        raise PackageMissingError(
            f"beside {driver}, what is done in threads needs psycopg: "
            "pip install 'requant[postgres]'"
        )
    return _of_psycopg(url).render_as_string(hide_password=False)


def _driver_of(url: sa.URL) -> str:
    """Return a driver's name: that of psycopg, whether it is used synchronously or not."""
    return url.get_driver_name().removesuffix("_async")


def _of_psycopg(url: sa.URL) -> sa.URL:
    if _driver_of(url) == "psycopg":
        return url.set(drivername="postgresql+psycopg")
    query = {
        _RENAMED.get(key, key): value for key, value in url.query.items() if key not in _OF_ASYNCPG
    }
    return url.set(drivername="postgresql+psycopg", query=query)


async def _check_same(engine: AsyncEngine, opened: AsyncDatabase) -> None:
    """Refuse two engines that see different tables: what one writes, the other would not find."""
    database = opened.sync_database
    async with engine.connect() as connection:
        if await opened.sees(connection):
            return
    raise InputError(
        f"the AsyncEngine of {engine.url!r} does not see the tables that requant has opened at "
        f"{database.engine.url!r}: another database, file, schema or search_path; pass "
        "sync_engine=create_engine(...) that is connected as your AsyncEngine is"
    )

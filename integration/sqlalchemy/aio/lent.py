"""What `connection=` takes, and the connection below it."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias, Union
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
)

from requant.errors import InputError

# As texts, since pyright knows no alias of imported names that are evaluated.
AsyncLent: TypeAlias = Union["AsyncConnection", "AsyncSession", "async_scoped_session[Any]"]

# A session that several tasks are the first to use begins once: SQLAlchemy would refuse the others.
_beginning: WeakKeyDictionary[AsyncSession, asyncio.Lock] = WeakKeyDictionary()


async def connection_of(given: AsyncLent) -> sa.Connection:
    """Return the sync connection below what a caller lends; a session begins if it has not.

    Raises InputError: none of these, or one that is closed or whose transaction has failed.
    """
    lent: Any = given() if isinstance(given, async_scoped_session) else given
    try:
        if isinstance(lent, AsyncSession):
            async with _beginning.setdefault(lent, asyncio.Lock()):
                lent = await lent.connection()
        if not isinstance(lent, AsyncConnection):
            raise InputError(
                "connection= takes an AsyncSession, an async_scoped_session or an AsyncConnection "
                f"here, {_cure(lent)}"
            )
        found = lent.sync_connection
    except InvalidRequestError as error:
        raise InputError(
            f"connection=: this {type(given).__name__} is not open, or its transaction has ended "
            f"or failed: {error}"
        ) from error
    if found is None or found.closed:
        raise InputError("connection= is not open: `async with engine.begin() as connection:`")
    if found.invalidated:
        raise InputError("connection=: its transaction has ended or failed: roll it back first")
    return found


def _cure(given: object) -> str:
    if isinstance(given, AsyncEngine):
        return "not an engine: `async with engine.begin() as connection:` gives one"
    if isinstance(given, async_sessionmaker):
        return "not a sessionmaker: `async with sessions() as session:` gives one"
    return (
        f"not {type(given).__name__}: what is synchronous is lent to the synchronous collection, "
        "`.sync_collection`, within run_sync"
    )

"""What tests of `requant.integration.sqlalchemy.aio` share: its drivers, and the gaps of a loop."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
from sqlalchemy.ext.asyncio import create_async_engine

from requant.integration.sqlalchemy import aio

DRIVERS = ["aiosqlite", "asyncpg", "psycopg"]


def async_url(driver, tmp_path, request):
    """The URL of an empty database for one of the drivers of asyncio."""
    if driver == "aiosqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'application.db'}"
    sync = request.getfixturevalue("empty_postgres")
    return sync.replace("+psycopg", f"+{driver}")


@contextlib.asynccontextmanager
async def opened(url, tmp_path, dim=8, **options):
    """Open it by an engine of its own, with a collection."""
    engine = create_async_engine(url, **options)
    async with await aio.open(engine, folder=tmp_path / "indexes") as db:
        yield engine, db, await db.create_collection("notes", dim, exist_ok=True)
    await engine.dispose()


def vectors(n, dim=8):
    return np.random.default_rng(n).standard_normal((n, dim)).astype(np.float32)


class Ticks:
    """A task that ticks: how often it did while the loop had something else to do as well."""

    async def __aenter__(self):
        self.ticks = 0
        self._task = asyncio.ensure_future(self._tick())
        await asyncio.sleep(0.02)
        self.ticks = 0
        return self

    async def __aexit__(self, *error):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _tick(self):
        while True:
            await asyncio.sleep(0.001)
            self.ticks += 1

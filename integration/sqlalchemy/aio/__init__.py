"""Requant for coroutines: every verb of a database and its collections, awaited.

>>> import asyncio
>>> from requant.integration.sqlalchemy import aio
>>> async def main():
...     async with await aio.open(":memory:") as db:
...         notes = await db.create_collection("notes", dim=2)
...         await notes.upsert(["north", "east"], [[0.0, 1.0], [1.0, 0.0]])
...         return [hit.id for hit in await notes.search([0.1, 0.9], k=1)]
>>> asyncio.run(main())
['north']

For asyncio; other event loops (trio) are not known. See docs/async.md.
"""

from __future__ import annotations

from requant.integration.sqlalchemy.aio.collection import AsyncCollection
from requant.integration.sqlalchemy.aio.database import AsyncDatabase
from requant.integration.sqlalchemy.aio.lent import AsyncLent
from requant.integration.sqlalchemy.aio.opening import open
from requant.integration.sqlalchemy.aio.streams import Stream

__all__ = ["AsyncCollection", "AsyncDatabase", "AsyncLent", "Stream", "open"]

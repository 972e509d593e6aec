"""The engine, sessions, and requant on the same database, for as long as a worker lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from articles.embedding import embed
from articles.models import TABLES, Base
from articles.settings import DATABASE_URL, INDEXES
from requant.integration.sqlalchemy import aio, bind
from requant.integration.sqlalchemy.aio import AsyncDatabase

engine = create_async_engine(DATABASE_URL)
# Objects are read again after a commit only if somebody asks: outside of a session nobody can.
sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def opened() -> AsyncIterator[AsyncDatabase]:
    """Open requant where the application's tables are, and have it follow the sessions."""
    # Alembic makes and upgrades the tables: with create=False, an old schema is refused by name.
    async with await aio.open(engine, folder=INDEXES, tables=TABLES, create=False) as db:
        # It asks the database whether the collection is there, so not in the event loop.
        binding = await asyncio.to_thread(bind, db.sync_database, Base, sessions)
        try:
            articles = await db.collection("articles")
            # However many workers begin at once, one builds it. Up to 1,000 articles are searched
            # exactly all the same.
            await articles.add_index("main", engine="faiss", precision="int8", exist_ok=True)
            # The model is there before the first request.
            await asyncio.to_thread(embed, ["article"])
            # A thread brings the index up to date, so that no search has to.
            await db.keep_up()
            yield db
        finally:
            binding.unbind()
    await engine.dispose()

"""What Alembic runs: our tables and requant's, by the application's own engine."""

from __future__ import annotations

import asyncio
from logging.config import fileConfig

from alembic import context
from articles.models import Base
from articles.settings import DATABASE_URL
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from requant.integration.sqlalchemy import include_object

if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=include_object(),
        render_as_batch=True,  # SQLite cannot alter most of a table
    )
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    engine = create_async_engine(DATABASE_URL)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
        await connection.commit()
    await engine.dispose()


asyncio.run(main())

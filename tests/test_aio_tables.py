"""Tables by prefix, migrations and collections made in a transaction, for coroutines."""

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from requant.errors import InputError, RequantError, StoreError
from requant.integration.sqlalchemy import add_tables, aio, upgrade
from tests.aio import DRIVERS, async_url, opened, vectors


@pytest.fixture(params=DRIVERS)
def url(request, tmp_path):
    return async_url(request.param, tmp_path, request)


def test_a_migration_of_an_asynchronous_engine_makes_the_tables(url, tmp_path):
    tables = add_tables(sa.MetaData(), prefix="app_")
    options = {"folder": tmp_path / "indexes", "tables": tables, "create": False}

    async def main():
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.exec_driver_sql("CREATE TABLE mine (id integer)")
        with pytest.raises(StoreError, match="requant upgrade"):
            await aio.open(engine, **options)
        async with engine.connect() as connection:
            await connection.run_sync(lambda sync: upgrade(sync, tables=tables))
            await connection.rollback()
        async with engine.begin() as connection:
            assert await connection.run_sync(lambda c: sa.inspect(c).get_table_names()) == ["mine"]
            await connection.run_sync(lambda sync: upgrade(sync, tables=tables))
        async with await aio.open(engine, **options) as db:
            notes = await db.create_collection("notes", 8)
            async with AsyncSession(engine) as session, session.begin():
                assert await notes.upsert(["a"], vectors(1), connection=session) == 1
                assert await notes.count(connection=session) == 1
            assert [hit.id for hit in await notes.search(vectors(1)[0], k=1)] == ["a"]
        await engine.dispose()

    asyncio.run(main())


def test_a_collection_is_made_in_a_transaction(url, tmp_path):
    async def main():
        async with opened(url, tmp_path) as (engine, db, _):
            async with AsyncSession(engine) as session:
                gone = await db.create_collection("more", 8, connection=session)
                await gone.upsert(["a"], vectors(1), connection=session)
                await session.rollback()
            assert await db.collections() == ["notes"]
            with pytest.raises(RequantError, match="dropped"):
                await gone.upsert(["a"], vectors(1))
            async with AsyncSession(engine) as session, session.begin():
                more = await db.create_collection("more", 8, connection=session)
                await more.upsert(["b"], vectors(1), connection=session)
            assert await (await db.collection("more")).ids() == ["b"]
            with pytest.raises(InputError, match="engine"):
                await db.create_collection("other", 8, connection=engine)

    asyncio.run(main())

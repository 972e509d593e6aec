"""`connection=` of a coroutine: in its own transaction, by whichever of the three drivers."""

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session

import requant
from requant.errors import DuplicateIdError, InputError, StoreError, UnknownIdError
from requant.store.gate import SHUT
from requant.store.reader import Reader
from tests import inside
from tests.aio import DRIVERS, async_url, opened, vectors


@pytest.fixture(params=DRIVERS)
def url(request, tmp_path):
    return async_url(request.param, tmp_path, request)


def run(work, url, tmp_path, **options):
    async def main():
        async with opened(url, tmp_path, **options) as (engine, db, notes):
            await work(engine, db, notes)

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["connection", "session", "scoped"])
def test_writes_and_reads_are_of_the_callers_transaction(kind, url, tmp_path):
    async def in_one(notes, lent):
        assert (
            await notes.upsert(["a", "b", "c"], vectors(3), ["x", "y", "z"], connection=lent) == 3
        )
        assert await notes.update(["a"], metadata={"n": 1}, connection=lent) == 1
        assert await notes.delete(["c"], connection=lent) == 1
        assert [item.id for item in await notes.get(connection=lent)] == ["a", "b"]
        assert await notes.ids({"n": 1}, connection=lent) == ["a"]
        assert await notes.count(connection=lent) == 2
        assert await notes.count() == 0  # others see nothing of it
        with pytest.raises(DuplicateIdError):
            await notes.add(["d", "a"], vectors(2), connection=lent)
        with pytest.raises(UnknownIdError):
            await notes.update(["d"], documents=["x"], connection=lent)
        rows = ({"id": n, "vector": vectors(1)[0]} for n in range(100))
        assert await notes.upsert_many(rows, batch=30, connection=lent) == 100
        assert await notes.count(connection=lent) == 102  # of what failed nothing, the rest stands

    async def work(engine, db, notes):
        for keep in (False, True):
            if kind == "connection":
                async with engine.connect() as connection:
                    await in_one(notes, connection)
                    await (connection.commit() if keep else connection.rollback())
            else:
                sessions = async_sessionmaker(engine)
                scoped = async_scoped_session(sessions, scopefunc=asyncio.current_task)
                session = sessions() if kind == "session" else scoped
                await in_one(notes, session)
                await (session.commit() if keep else session.rollback())
                await (session.close() if kind == "session" else scoped.remove())
            assert await notes.count() == (102 if keep else 0)
        assert (await notes.verify(deep=True)).ok
        hits = await notes.search(vectors(3)[0], k=1)
        assert hits[0].score == pytest.approx(1)

    run(work, url, tmp_path)


def test_beside_the_applications_own_rows(url, tmp_path):
    async def work(engine, db, notes):
        metadata = sa.MetaData()
        articles = sa.Table("articles", metadata, sa.Column("id", sa.Integer, primary_key=True))
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        async with AsyncSession(engine) as session:

            async def fails():
                async with session.begin():
                    await session.execute(sa.insert(articles).values(id=1))
                    await notes.upsert([1], vectors(1), connection=session)
                    await session.execute(sa.insert(articles).values(id=1))

            with pytest.raises(sa.exc.IntegrityError):
                await fails()
            assert await notes.count() == 0
            async with session.begin():
                await session.execute(sa.insert(articles).values(id=1))
                await notes.upsert([1], vectors(1), connection=session)
                async with session.begin_nested() as point:
                    await notes.upsert([2], vectors(1), connection=session)
                    await point.rollback()
            assert await notes.ids() == [1]
            found = (await session.execute(sa.select(articles.c.id))).scalars().all()
            assert found == [1]

    run(work, url, tmp_path)


def test_a_pool_of_one_connection_is_enough(url, tmp_path):
    async def work(engine, db, notes):
        async with AsyncSession(engine) as session, session.begin():
            await notes.upsert(["a"], vectors(1), connection=session)
            await notes.upsert(["b"], vectors(1), connection=session)
            assert await notes.ids(connection=session) == ["a", "b"]
        assert await notes.count() == 2

    run(work, url, tmp_path, pool_size=1, max_overflow=0)


def test_tasks_that_share_a_connection_take_turns(url, tmp_path):
    async def work(engine, db, notes):
        async with engine.begin() as connection:
            calls = [
                notes.upsert(range(n, n + 20), vectors(20), connection=connection)
                for n in range(0, 200, 20)
            ]
            bad = [notes.add([n, "new", n], vectors(3), connection=connection) for n in range(5)]
            found = await asyncio.gather(*calls, *bad, return_exceptions=True)
            assert found[:10] == [20] * 10
            assert all(isinstance(one, DuplicateIdError) for one in found[10:])
        assert await notes.ids() == list(range(200))

    run(work, url, tmp_path)


def test_within_run_sync_the_sync_collection_works(url, tmp_path):
    async def work(engine, db, notes):
        sync = notes.sync_collection
        async with AsyncSession(engine) as session, session.begin():
            await session.run_sync(lambda s: sync.upsert(["a"], vectors(1), connection=s))
            found = await session.run_sync(lambda s: sync.get(connection=s.connection()))
            assert [item.id for item in found] == ["a"]
        assert await notes.ids() == ["a"]

    run(work, url, tmp_path)


def test_a_task_does_not_wait_for_itself(url, tmp_path):
    async def work(engine, db, notes):
        async with AsyncSession(engine) as session:
            await notes.upsert(["a"], vectors(1), connection=session)
            for write in (
                lambda: notes.upsert(["b"], vectors(1)),
                lambda: notes.delete(["a"]),
            ):
                with pytest.raises(StoreError, match="pass its connection as connection="):
                    await write()
            assert await notes.count() == 0  # to read is no waiting
            with pytest.raises(StoreError, match="pass its connection as connection="):
                await asyncio.create_task(notes.upsert(["b"], vectors(1)))  # which this one awaits
            # Another task waits where there is one turn, and gets it when this one has committed;
            # in PostgreSQL it waits for nothing but the same item.
            beside = engine.dialect.name == "postgresql"
            if beside:
                free = asyncio.create_task(notes.upsert(["b"], vectors(1)))
                for _ in range(1000):  # this one goes on meanwhile
                    if not free.done():
                        await asyncio.sleep(0.01)
                assert free.done()
                assert free.result() == 1
            other = asyncio.create_task(notes.upsert(["a" if beside else "b"], vectors(1)))
            await asyncio.sleep(0.2)
            assert not other.done()
            await session.commit()
            assert await other == (0 if beside else 1)
            await notes.upsert(["c"], vectors(1))
        assert sorted(await notes.ids()) == ["a", "b", "c"]

    run(work, url, tmp_path)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_read_that_is_overtaken_waits_for_another_such_read(
    driver, tmp_path, request, monkeypatch
):
    """Both would let nobody begin to write for a moment, and one of them comes second."""
    url = async_url(driver, tmp_path, request)
    theirs = sa.create_engine(request.getfixturevalue("empty_postgres"), pool_size=10)
    matching, hold_still = Reader.matching, Reader.hold_still
    begun, held, answers = [], [], []

    def overtaken(self, *asked):
        keys = matching(self, *asked)
        if begun:
            with begun.pop() as other:
                other.commit()
        return keys

    def seen(self, collection):
        answers.append(hold_still(self, collection))
        if held:
            held.pop().close()
        return answers[-1]

    monkeypatch.setattr(inside.MATCHING, overtaken)
    monkeypatch.setattr(Reader, "hold_still", seen)

    async def work(engine, db, notes):
        await notes.upsert(["a"], vectors(1), metadata=[{"n": 1}])
        with requant.open(theirs, folder=tmp_path / "theirs") as other:
            for n in range(4):
                begun.append(theirs.connect())
                other.collection("notes").upsert([n], vectors(1), connection=begun[-1])
            held.append(theirs.connect())
            which = held[0].scalar(sa.text("SELECT id FROM requant_collections"))
            held[0].exec_driver_sql(SHUT, (which,))
            async with AsyncSession(engine) as session:
                found = await notes.get(["a"], where={"n": 1}, connection=session)
                assert [item.id for item in found] == ["a"]
                assert answers == [False, True]
                assert await notes.count(connection=session) == 5

    try:
        run(work, url, tmp_path)
    finally:
        for one in [*begun, *held]:
            one.close()
        theirs.dispose()


def test_what_is_no_open_asynchronous_connection_is_refused_by_name(url, tmp_path):
    async def work(engine, db, notes):
        closed = AsyncSession(engine, close_resets_only=False)
        await closed.connection()
        await closed.close()
        async with engine.connect() as gone:
            pass
        wrong = {
            "engine.begin": [engine],
            "sessionmaker": [async_sessionmaker(engine)],
            "run_sync": [Session(), sa.create_engine("sqlite://").connect(), "a URL"],
            "not open": [engine.connect(), closed, gone],
        }
        for text, those in wrong.items():
            for one in those:
                with pytest.raises(InputError, match=text):
                    await notes.upsert(["a"], vectors(1), connection=one)
                with pytest.raises(InputError, match=text):
                    await notes.get(connection=one)
        assert await notes.count() == 0

    run(work, url, tmp_path)


def test_a_session_whose_transaction_has_failed_is_refused_by_name(url, tmp_path):
    async def work(engine, db, notes):
        async with AsyncSession(engine) as session:
            await session.execute(sa.text("SELECT 1"))
            await notes.upsert(["a"], vectors(1), connection=session)
            if engine.dialect.name == "postgresql":
                with pytest.raises(sa.exc.DBAPIError):
                    await session.execute(sa.text("SELECT nonsense"))
                with pytest.raises((InputError, sa.exc.DBAPIError), match=r"aborted|failed before"):
                    await notes.upsert(["b"], vectors(1), connection=session)
            await session.rollback()
            await notes.upsert(["c"], vectors(1), connection=session)
            await session.commit()
        assert await notes.ids() == ["c"]

    run(work, url, tmp_path)


def test_a_connection_to_another_database_is_refused(tmp_path):
    async def work(engine, db, notes):
        other = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'other.db'}")
        async with other.connect() as connection:
            with pytest.raises(InputError, match="this database is"):
                await notes.upsert(["a"], vectors(1), connection=connection)
        await other.dispose()

    run(work, f"sqlite+aiosqlite:///{tmp_path / 'application.db'}", tmp_path)


def test_searches_and_iterators_see_the_transactions_own_rows(url, tmp_path):
    async def work(engine, db, notes):
        await notes.upsert(["old"], vectors(1))
        await notes.add_index("main", engine="faiss")
        async with AsyncSession(engine) as session:
            floats = vectors(300)
            await notes.upsert(range(300), floats, documents=["new"] * 300, connection=session)
            hits = await notes.search(floats[7], k=2, connection=session)
            assert (hits[0].id, hits[0].document) == (7, "new")
            (many,) = await notes.search_many(floats[9:10], k=1, connection=session)
            assert many[0].id == 9
            found = [item.id async for item in notes.iter(batch=50, connection=session)]
            assert found == ["old", *range(300)]
            assert (await notes.vectors([5], connection=session)).tobytes() == floats[5].tobytes()
            async with notes.iter(batch=10, vectors=False, connection=session) as items:
                assert (await anext(items)).id == "old"
            items = notes.iter(batch=10, connection=session)
            await anext(items)
            await items.aclose()
            await notes.delete(["old"], connection=session)
            assert await notes.ids(limit=1, connection=session) == [0]
            assert [hit.id for hit in await notes.search(floats[7], k=5)] == ["old"]
            await session.rollback()
        assert await notes.ids() == ["old"]

    run(work, url, tmp_path, **({"pool_size": 1, "max_overflow": 0}))


@pytest.mark.parametrize("commits", [False, True])
def test_an_iterator_that_is_left_does_not_harm_the_pool(url, commits, tmp_path):
    """Its cursor would keep an old snapshot of SQLite, by which nobody can write."""

    async def work(engine, db, notes):
        await notes.upsert(range(3000), vectors(3000), documents=["x" * 100] * 3000)
        left = []
        for n in range(3):
            async with AsyncSession(engine) as session:
                await notes.upsert([f"in {n}"], vectors(1), connection=session)
                items = notes.iter(batch=2, connection=session)
                left.append(items)  # as a task that is cancelled keeps it, in its traceback
                await anext(items)
                await (session.commit() if commits else session.rollback())
            await notes.upsert([f"beside {n}"], vectors(1))
        found = await notes.count()
        assert found == (3006 if commits else 3003)
        assert not engine.pool.checkedout()

    run(work, url, tmp_path, **({"pool_size": 1, "max_overflow": 0}))

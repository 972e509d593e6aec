"""The event loop goes on while a call runs; loops, closing, and processes."""

import asyncio
import os
import signal
import threading
import time

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from requant.errors import ForkedError, StoreError
from requant.integration.sqlalchemy import aio
from requant.integration.sqlalchemy.aio.streams import MOST
from requant.integration.sqlalchemy.aio.threads import SIZES
from tests import inside
from tests.aio import DRIVERS, Ticks, async_url, opened, vectors

DIM = 384


@pytest.fixture(params=DRIVERS)
def url(request, tmp_path):
    return async_url(request.param, tmp_path, request)


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite+aiosqlite:///{tmp_path / 'application.db'}"


def test_no_call_holds_up_the_loop(url, tmp_path):
    """One that did would let nothing else run until it has ended."""
    floats = vectors(8000, DIM)
    ticks = {}

    async def timed(name, call):
        async with Ticks() as others:
            await call
            ticks[name] = others.ticks

    async def every(items):
        return [item async for item in items]

    async def main():
        async with opened(url, tmp_path, DIM) as (engine, _, notes):
            await timed("upsert", notes.upsert(range(8000), floats))
            await notes.upsert(range(8000), floats.tolist()[:1] * 8000)
            await timed("lists", notes.upsert(range(1000), floats[:1000].tolist()))
            await timed("build", notes.add_index("main", engine="faiss"))
            await timed("search", notes.search_many(floats[:400], exact=True))
            await timed("iter", every(notes.iter()))
            async with AsyncSession(engine) as session:
                await timed("lent", notes.upsert(range(8000), floats, connection=session))
                await timed("lent get", notes.get(vectors=True, connection=session))

    asyncio.run(main())
    assert min(ticks.values()) > 3, ticks


def test_searches_do_not_wait_behind_writes_nor_builds(sqlite, tmp_path):
    async def main():
        async with opened(sqlite, tmp_path) as (engine, _, notes):
            await notes.upsert(["a"], vectors(1))
            release = threading.Event()
            stuck = [
                asyncio.ensure_future(notes.upsert_many(_waiting(release, n)))
                for n in range(SIZES["builds"] + 2)
            ]
            async with AsyncSession(engine) as session:
                await notes.upsert(["b"], vectors(1), connection=session)
                writes = [
                    asyncio.ensure_future(notes.upsert([n], vectors(1)))
                    for n in range(SIZES["writes"] + 2)
                ]
                await asyncio.sleep(0.1)
                assert [hit.id for hit in await notes.search(vectors(1)[0])] == ["a"]
                assert len([item async for item in notes.iter()]) == 1
                assert await notes.count(connection=session) == 2
                assert not any(task.done() for task in [*stuck, *writes])
                await session.commit()
            await asyncio.gather(*writes)
            release.set()
            await asyncio.gather(*stuck)
            assert await notes.count() == 2 + len(writes) + len(stuck)

    asyncio.run(main())


def _waiting(release, number):
    release.wait()
    yield {"id": f"row {number}", "vector": vectors(1)[0]}


def test_threads_are_bounded(sqlite, tmp_path):
    async def main():
        async with opened(sqlite, tmp_path) as (_, _, notes):
            await notes.upsert(range(100), vectors(100))
            before = threading.active_count()
            await asyncio.gather(*(notes.search(vectors(1)[0]) for _ in range(200)))
            assert threading.active_count() <= before + SIZES["reads"]
            items = [notes.iter() for _ in range(MOST + 1)]
            for one in items[:-1]:
                await anext(one)
            with pytest.raises(StoreError, match="iterators are open"):
                await anext(items[-1])
            await items[0].aclose()
            await anext(items[-1])
            del one, items
            assert len([item async for item in notes.iter()]) == 100

    asyncio.run(main())


def test_an_iterator_that_is_left_lets_go_of_its_snapshot(sqlite, tmp_path):
    async def main():
        async with opened(sqlite, tmp_path) as (_, db, notes):
            await notes.upsert(range(100), vectors(100))
            async for _ in notes.iter(batch=10):
                break
            async with notes.iter(batch=10) as items:
                await anext(items)
            deadline = time.monotonic() + 30
            while any(t.name.startswith("requant iter") for t in threading.enumerate()):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            assert not inside.is_read(db.sync_database)

    asyncio.run(main())


def test_closing_waits_for_calls_and_ends_iterators(sqlite, tmp_path):
    async def main():
        engine = create_async_engine(sqlite)
        db = await aio.open(engine, folder=tmp_path / "indexes")
        notes = await db.create_collection("notes", DIM)
        await notes.upsert(range(3000), vectors(3000, DIM))
        items = notes.iter(batch=10)
        await anext(items)
        running = [
            asyncio.ensure_future(notes.upsert(range(3000), vectors(3000, DIM))),
            asyncio.ensure_future(notes.search_many(vectors(100, DIM))),
            asyncio.ensure_future(notes.add_index("main", engine="faiss")),
        ]
        await asyncio.sleep(0.05)
        closing = asyncio.ensure_future(db.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match=r"closed: open it again"):
            await notes.count()
        await closing
        assert all(task.done() for task in running)
        assert running[0].result() == 0
        running[2].result()
        with pytest.raises(StoreError, match="iterator was closed"):
            async for _ in items:
                pass
        for call in (notes.search(vectors(1, DIM)[0]), db.collections(), anext(notes.iter())):
            with pytest.raises(StoreError, match="closed"):
                await call
        async with AsyncSession(engine) as session:
            with pytest.raises(StoreError, match="closed"):
                await notes.upsert(["a"], vectors(1, DIM), connection=session)
        await db.close()
        await engine.dispose()
        async with await aio.open(sqlite, folder=tmp_path / "indexes") as again:
            notes = await again.collection("notes")
            assert (await notes.count(), (await notes.verify()).ok) == (3000, True)

    asyncio.run(main())


def test_several_loops_one_after_the_other_and_at_once(url, tmp_path):
    async def begin():
        return await aio.open(url, folder=tmp_path / "indexes")

    db = asyncio.run(begin())  # that loop is closed from here on
    notes = asyncio.run(db.create_collection("notes", 8))

    async def write(number):
        engine = create_async_engine(url, connect_args=_patient(url))
        for n in range(10):
            await notes.upsert([f"own {number} {n}"], vectors(1))
            async with AsyncSession(engine) as session:
                await notes.upsert([f"lent {number} {n}"], vectors(1), connection=session)
                await session.commit()
            await notes.search(vectors(1)[0])
        await engine.dispose()

    threads = [threading.Thread(target=lambda n=n: asyncio.run(write(n))) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asyncio.run(notes.count()) == 60
    asyncio.run(db.close())


def _patient(url):
    return {"timeout": 60} if "sqlite" in url else {}


def test_a_loop_that_ends_in_the_midst_of_a_write_leaves_it_whole(sqlite, tmp_path):
    found = {}

    async def begin():
        found["db"] = db = await aio.open(sqlite, folder=tmp_path / "indexes")
        found["notes"] = notes = await db.create_collection("notes", DIM)
        found["task"] = asyncio.ensure_future(notes.upsert(range(3000), vectors(3000, DIM)))
        found["search"] = asyncio.ensure_future(notes.search(vectors(1, DIM)[0]))
        await asyncio.sleep(0.02)  # and asyncio.run cancels both

    asyncio.run(begin())
    assert found["task"].done()
    assert asyncio.run(found["notes"].count()) in (0, 3000)
    asyncio.run(found["db"].close())


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_goes_on_with_threads_of_its_own(sqlite, tmp_path):
    async def begin():
        db = await aio.open(sqlite, folder=tmp_path / "indexes")
        notes = await db.create_collection("notes", 8)
        await notes.upsert(["a"], vectors(1))
        await notes.search(vectors(1)[0])
        return db, notes

    db, notes = asyncio.run(begin())
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(asyncio.wait_for(notes.upsert(["b"], vectors(1)), 60))
            asyncio.run(asyncio.wait_for(notes.search(vectors(1)[0]), 60))
            asyncio.run(asyncio.wait_for(db.close(), 60))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    asyncio.run(notes.upsert(["c"], vectors(1)))
    assert asyncio.run(notes.ids()) == ["a", "b", "c"]
    asyncio.run(db.close())


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_is_refused_where_its_parent_has_connections_or_iterators(sqlite, tmp_path):
    async def main():
        async with opened(sqlite, tmp_path) as (engine, _, notes):
            await notes.upsert(range(20), vectors(20))
            items = notes.iter(batch=2)
            await anext(items)
            async with AsyncSession(engine) as session:
                await notes.count(connection=session)
            child = os.fork()  # aiosqlite's connection is in the pool
            if child == 0:
                asyncio._set_running_loop(None)
                code = 1
                try:
                    asyncio.run(_refused(sqlite, notes, items))
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            assert len([item async for item in items]) == 19
            assert await notes.upsert(["b"], vectors(1)) == 1

    asyncio.run(main())


async def _refused(url, notes, items):
    engine = create_async_engine(url)
    async with AsyncSession(engine) as session:
        for call in (
            lambda: notes.upsert(["a"], vectors(1)),
            lambda: notes.upsert(["a"], vectors(1), connection=session),
            lambda: notes.search(vectors(1)[0]),
            lambda: _to_the_end(items),
        ):
            with pytest.raises(ForkedError):
                await asyncio.wait_for(call(), 60)


async def _to_the_end(items):
    async for _ in items:
        pass


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_closes_what_its_parent_was_using(sqlite, tmp_path):
    """Nobody in the child ends the calls and iterators that it has inherited."""

    async def main():
        async with opened(sqlite, tmp_path) as (engine, db, notes):
            await notes.upsert(range(20), vectors(20))
            release = threading.Event()
            stuck = asyncio.ensure_future(notes.upsert_many(_waiting(release, 1)))
            items = notes.iter(batch=2)
            await anext(items)
            async with AsyncSession(engine) as session:
                lent = notes.iter(batch=2, connection=session)
                await anext(lent)
                await asyncio.sleep(0.05)
                child = os.fork()
                if child == 0:
                    asyncio._set_running_loop(None)
                    signal.alarm(60)  # closing is not to be cancelled
                    code = 1
                    try:
                        asyncio.run(db.close())
                        code = 0
                    finally:
                        os._exit(code)
                status = os.waitpid(child, 0)[1]
                release.set()
                assert status == 0
                assert len([item async for item in lent]) == 19
            assert await stuck == 1
            assert len([item async for item in items]) == 19

    asyncio.run(main())

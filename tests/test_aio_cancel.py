"""A call that is cancelled: what it writes is whole or absent, and nothing goes on unseen."""

import asyncio
import contextlib
import random
import threading
import time

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from requant.integration.sqlalchemy.aio.threads import SIZES
from tests.aio import DRIVERS, async_url, opened, vectors


@pytest.fixture(params=DRIVERS)
def url(request, tmp_path):
    return async_url(request.param, tmp_path, request)


def run(work, url, tmp_path, **options):
    async def main():
        async with opened(url, tmp_path, **options) as (engine, db, notes):
            await work(engine, db, notes)

    asyncio.run(main())


async def cancelled_after(seconds, call):
    """Whether a call was cancelled so many seconds after it began; False where it was done."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(seconds)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


def test_a_write_is_whole_or_absent_whenever_it_is_cancelled(url, tmp_path):
    async def work(engine, db, notes):
        moments, floats = random.Random(7), vectors(300)
        begun = time.perf_counter()
        await notes.upsert(range(300), floats)
        longest = time.perf_counter() - begun
        seen = set()
        for number in range(16):
            await notes.clear()
            call = notes.upsert(range(300), floats, documents=[str(number)] * 300)
            was = await cancelled_after(moments.random() * longest, call)
            # When the caller goes on, the thread is done: what is there now is there for good.
            found = await notes.count()
            assert found in ((0, 300) if was else (300,))
            seen.add((was, found))
            await asyncio.sleep(0.01)
            assert await notes.count() == found
            assert len(await notes.vectors(range(300))) == 300 if found else True
        assert any(was for was, _ in seen)
        assert (await notes.verify(deep=True)).ok

    run(work, url, tmp_path)


def test_a_write_in_a_transaction_is_taken_back_or_whole(url, tmp_path):
    """And the transaction goes on, or says that it cannot: it is never torn in silence."""

    async def work(engine, db, notes):
        moments, floats = random.Random(8), vectors(300)
        begun = time.perf_counter()
        async with AsyncSession(engine) as session:
            await notes.upsert(range(300), floats, connection=session)
            await session.rollback()
        longest = time.perf_counter() - begun
        went_on = 0
        for number in range(16):
            await notes.clear()
            with contextlib.suppress(Exception):  # a driver may give the connection up
                async with AsyncSession(engine) as session:
                    await notes.upsert(["first"], vectors(1), connection=session)
                    call = notes.upsert(range(300), floats, connection=session)
                    was = await cancelled_after(moments.random() * longest, call)
                    await notes.upsert(["last"], vectors(1), connection=session)
                    await session.commit()
                    went_on += was
            found = await notes.ids()
            every = [n for n in found if isinstance(n, int)]
            assert len(every) in (0, 300), number
            if found:
                assert {"first", "last"} <= set(found)
        assert (await notes.verify(deep=True)).ok
        await notes.clear()
        async with AsyncSession(engine) as session:  # the pool has not been harmed
            await notes.upsert(range(300), floats, connection=session)
            await session.commit()
        assert await notes.count() == 300

    run(work, url, tmp_path)


def test_a_timeout_ends_a_wait_for_a_lock(url, tmp_path):
    async def work(engine, db, notes):
        async with AsyncSession(engine) as first, AsyncSession(engine) as second:
            await notes.upsert(["a"], vectors(1), connection=first)
            # In PostgreSQL who writes waits for nobody but those that have written the same item.
            some = ["b", "a"] if engine.dialect.name == "postgresql" else ["b"]
            waiting = notes.upsert(some, vectors(len(some)), connection=second)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(waiting, 0.2)
            await first.commit()
            with contextlib.suppress(Exception):
                await second.rollback()
        await notes.upsert(["c"], vectors(1))
        assert await notes.ids() == ["a", "c"]

    run(work, url, tmp_path, connect_args={"timeout": 1} if "sqlite" in url else {})


def test_who_is_cancelled_before_a_thread_was_free_has_done_nothing(tmp_path):
    async def work(engine, db, notes):
        async with AsyncSession(engine) as session:
            await notes.upsert(["first"], vectors(1), connection=session)
            others = [
                asyncio.ensure_future(notes.upsert([n], vectors(1)))
                for n in range(SIZES["writes"] + 3)
            ]
            await asyncio.sleep(0.05)
            for other in others[-3:]:
                other.cancel()
            done = await asyncio.gather(*others[-3:], return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in done)
            await session.commit()
            assert await asyncio.gather(*others[:-3]) == [1] * SIZES["writes"]
        assert sorted(await notes.ids(), key=str) == [*range(SIZES["writes"]), "first"]

    run(work, f"sqlite+aiosqlite:///{tmp_path / 'application.db'}", tmp_path)


def test_a_build_ends_at_its_next_step(tmp_path):
    async def work(engine, db, notes):
        await notes.upsert(range(30_000), vectors(30_000))
        for verb in (
            lambda **told: notes.add_index("main", engine="faiss", **told),
            lambda **told: db.backup(tmp_path / "all.backup", **told),
            lambda **told: notes.export(tmp_path / "out", format="parquet", **told),
        ):
            begun = asyncio.Event()
            loop = asyncio.get_running_loop()
            told = []

            def tell(done, total, begun=begun, told=told, loop=loop):
                told.append(done)
                loop.call_soon_threadsafe(begun.set)
                time.sleep(0.05)

            task = asyncio.ensure_future(verb(progress=tell))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert told[-1] < 30_000
        assert await notes.indexes() == []
        assert not (tmp_path / "all.backup").exists()
        assert not (tmp_path / "out").exists()
        await notes.add_index("main", engine="faiss")
        assert (await notes.verify()).ok

    run(work, f"sqlite+aiosqlite:///{tmp_path / 'application.db'}", tmp_path)


def test_rows_of_a_slow_source_can_be_cancelled(tmp_path):
    async def slow():
        for number in range(10):
            yield {"id": number, "vector": [1.0] * 8}
        await asyncio.sleep(3600)

    async def work(engine, db, notes):
        for rows, kept in ((slow(), [0, 1, 2, 3, 4, 5, 6, 7]), (slow(), [])):
            lent = None
            async with AsyncSession(engine) as session:
                lent = None if kept else session
                call = notes.upsert_many(rows, batch=4, connection=lent)
                assert await cancelled_after(0.2, call)
            assert await notes.ids() in (kept, [])
            await notes.clear()

    run(work, f"sqlite+aiosqlite:///{tmp_path / 'application.db'}", tmp_path)


def test_a_search_is_left_alone_and_closing_waits_for_it(tmp_path):
    async def work(engine, db, notes):
        await notes.upsert(["a"], vectors(1))
        done, release = [], threading.Event()

        def slow(query, hits):
            release.wait()
            done.append(len(hits))
            return [1.0] * len(hits)

        assert await cancelled_after(0.1, notes.search(vectors(1)[0], rerank=slow))
        assert not done
        release.set()
        await db.close()
        assert done == [1]

    run(work, f"sqlite+aiosqlite:///{tmp_path / 'application.db'}", tmp_path)


def test_who_is_cancelled_twice_waits_all_the_same(tmp_path):
    async def work(engine, db, notes):
        async with AsyncSession(engine) as session:
            await notes.upsert(["first"], vectors(1), connection=session)
            task = asyncio.ensure_future(notes.upsert(["second"], vectors(1)))
            await asyncio.sleep(0.1)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0.05)
                assert not task.done()  # its thread waits for the turn
            await session.commit()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await notes.ids() == ["first", "second"]

    run(work, f"sqlite+aiosqlite:///{tmp_path / 'application.db'}", tmp_path)

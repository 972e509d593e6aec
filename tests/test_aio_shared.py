"""Tasks that share a session: they take turns, and none of them ends it beneath another's call."""

import asyncio
import random

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from requant.errors import InputError, StoreError
from tests.aio import DRIVERS, async_url, opened, vectors

# Longer than any of it takes, so that what is stuck fails.
PATIENCE = 60


@pytest.fixture(params=DRIVERS)
def url(request, tmp_path):
    return async_url(request.param, tmp_path, request)


def run(work, url, tmp_path, **options):
    async def main():
        async with opened(url, tmp_path, **options) as (engine, db, notes):
            await asyncio.wait_for(work(engine, db, notes), PATIENCE)

    asyncio.run(main())


def held_up(notes):
    """Return a call that is at work until it is released, as others wait for their turn."""
    begun, released = asyncio.Event(), asyncio.Event()

    async def rows():
        yield {"id": "slow 1", "vector": [1.0] * 8}
        yield {"id": "slow 2", "vector": [1.0] * 8}
        begun.set()
        await released.wait()
        yield {"id": "slow 3", "vector": [1.0] * 8}

    def call(session):
        return asyncio.ensure_future(notes.upsert_many(rows(), batch=2, connection=session))

    return call, begun, released


def test_a_session_that_nobody_has_used_yet_is_begun_once(url, tmp_path):
    async def work(engine, db, notes):
        for _ in range(5):
            async with AsyncSession(engine) as session:
                calls = [notes.upsert([n], vectors(1), connection=session) for n in range(8)]
                assert await asyncio.gather(*calls) == [1] * 8
        assert await notes.count() == 0

    run(work, url, tmp_path)


def test_what_is_half_done_is_not_committed(url, tmp_path):
    async def work(engine, db, notes):
        call, begun, released = held_up(notes)
        async with AsyncSession(engine) as session:
            slow = call(session)
            await begun.wait()
            waiting = asyncio.ensure_future(notes.upsert(["next"], vectors(1), connection=session))
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.1, released.set)
            with pytest.raises(StoreError, match="Nothing was committed"):
                await session.commit()
            assert await slow == 3  # the commit has waited for it
            with pytest.raises(InputError, match="another task has ended its transaction"):
                await waiting
            await session.rollback()
        assert await notes.count() == 0
        async with AsyncSession(engine) as session:
            await notes.upsert(["a"], vectors(1), connection=session)
            await session.commit()
        assert await notes.ids() == ["a"]

    run(work, url, tmp_path, pool_size=1, max_overflow=0)


def test_a_session_is_closed_after_the_call_at_work(url, tmp_path):
    async def work(engine, db, notes):
        call, begun, released = held_up(notes)
        async with AsyncSession(engine) as session:
            slow = call(session)
            await begun.wait()
            waiting = asyncio.ensure_future(notes.count(connection=session))
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.1, released.set)
        assert await slow == 3
        with pytest.raises(InputError, match="another task has ended its transaction"):
            await waiting
        assert await notes.count() == 0

    run(work, url, tmp_path, pool_size=1, max_overflow=0)


@pytest.mark.parametrize("ends", ["waits", "commits", "leaves"])
def test_gather_that_is_cancelled_at_any_moment(url, tmp_path, ends):
    """Whatever becomes of the session, no call is stuck, and each is stored whole or not at all."""

    async def one(engine, notes, chance):
        async with AsyncSession(engine) as session:
            calls = [
                notes.upsert(range(n * 20, n * 20 + 20), vectors(20), connection=session)
                if chance.random() < 0.6
                else notes.search(vectors(1)[0], connection=session)
                for n in range(6)
            ]
            tasks = [asyncio.ensure_future(call) for call in calls]
            together = asyncio.gather(*tasks)
            asyncio.get_running_loop().call_later(chance.random() * 0.03, together.cancel)
            await asyncio.wait([together])
            if ends == "waits":
                await asyncio.wait(tasks)
            if ends != "leaves":
                try:
                    await session.commit()
                except Exception:  # refused, or a driver has given the connection up
                    await session.rollback()
        return tasks

    async def work(engine, db, notes):
        chance, every = random.Random(ends), []
        for _ in range(12):
            await notes.clear()
            every += await one(engine, notes, chance)
            if ends != "waits":
                await asyncio.wait(every)
            found = await notes.ids()
            assert len(found) % 20 == 0
            assert not found or ends != "leaves"
        assert all(task.done() for task in every)
        assert (await notes.verify(deep=True)).ok
        async with AsyncSession(engine) as session:  # the pool has not been harmed
            await notes.upsert(["last"], vectors(1), connection=session)
            await session.commit()
        assert "last" in await notes.ids()

    run(work, url, tmp_path, pool_size=1, max_overflow=0)


@pytest.mark.parametrize("way", ["wait_for", "gather", "nested", "task"])
def test_a_task_does_not_wait_for_itself_by_way_of_another(url, tmp_path, way):
    async def work(engine, db, notes):
        def by(call):
            if way == "wait_for":
                return asyncio.wait_for(call, 50)
            if way == "gather":
                return asyncio.gather(call)
            if way == "nested":
                return asyncio.wait_for(asyncio.wait_for(call, 50), 50)
            return asyncio.ensure_future(call)

        async with AsyncSession(engine) as session:
            await notes.upsert(["a"], vectors(1), connection=session)
            with pytest.raises(StoreError, match="pass its connection as connection="):
                await by(notes.upsert(["b"], vectors(1)))
            await by(notes.upsert(["b"], vectors(1), connection=session))
            await session.commit()
        await by(notes.upsert(["c"], vectors(1)))
        assert await notes.ids() == ["a", "b", "c"]

    run(work, url, tmp_path)


def test_a_task_beside_one_that_goes_on_waits_for_its_commit(url, tmp_path):
    async def work(engine, db, notes):
        async with AsyncSession(engine) as session:
            await notes.upsert(["a"], vectors(1), connection=session)
            beside = asyncio.ensure_future(notes.upsert(["b"], vectors(1)))
            await asyncio.sleep(0.1)
            await session.commit()
            assert await beside == 1
        assert sorted(await notes.ids()) == ["a", "b"]

    run(work, url, tmp_path)

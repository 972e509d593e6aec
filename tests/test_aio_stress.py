"""Many tasks write, search and delete, some cancelled at random; then all that was acknowledged."""

import asyncio
import contextlib
import random

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from tests.aio import DRIVERS, async_url, opened

TASKS, ROUNDS, DIM = 8, 25, 12


class Worker:
    """One task with ids of its own, which knows what must be stored of them."""

    def __init__(self, number, engine, notes):
        self.chance = random.Random(number)
        self.ids = [f"{number}/{n}" for n in range(40)]
        self.engine = engine
        self.notes = notes
        self.known = {}
        self.seen = set()

    async def run(self):
        for _ in range(ROUNDS):
            some = self.chance.sample(self.ids, self.chance.randint(1, 20))
            if self.chance.random() < 0.3:
                after = {one: old for one, old in self.known.items() if one not in some}
                verb, arguments = "delete", (some,)
            else:
                floats = np.random.default_rng(self.chance.randrange(2**31))
                floats = floats.standard_normal((len(some), DIM)).astype(np.float32)
                after = {**self.known, **dict(zip(some, floats, strict=True))}
                verb, arguments = "upsert", (some, floats)
            way = self.chance.choice([self.alone, self.committed, self.rolled_back, self.caught])
            self.seen.add(await way(verb, arguments, after))
            await self.search()

    async def alone(self, verb, arguments, after):
        done = await self.perhaps_cancelled(getattr(self.notes, verb)(*arguments))
        return await self.settle(after, done)

    async def committed(self, verb, arguments, after):
        return await self.in_transaction(verb, arguments, after, commit=True)

    async def rolled_back(self, verb, arguments, after):
        return await self.in_transaction(verb, arguments, self.known, commit=False)

    async def in_transaction(self, verb, arguments, after, commit):
        async def whole():
            async with AsyncSession(self.engine) as session:
                await getattr(self.notes, verb)(*arguments, connection=session)
                found = await self.notes.get(self.ids, connection=session)
                if commit:
                    assert {item.id for item in found} == set(after)
                    await session.commit()

        done = await self.perhaps_cancelled(whole())
        return await self.settle(after, done)

    async def caught(self, verb, arguments, after):
        """The call is cancelled, and its transaction goes on to commit all the same."""
        with contextlib.suppress(Exception):
            async with AsyncSession(self.engine) as session:
                await self.notes.count(connection=session)
                call = getattr(self.notes, verb)(*arguments, connection=session)
                await self.perhaps_cancelled(call)
                await session.commit()
        return await self.settle(after, False)

    async def perhaps_cancelled(self, call):
        """Whether it was done."""
        task = asyncio.ensure_future(call)
        if self.chance.random() < 0.5:
            await asyncio.sleep(self.chance.random() ** 3 * 0.2)
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return False
        return True

    async def settle(self, after, done):
        """Take what is stored, which is wholly what was before or wholly what comes after."""
        found = {item.id: item.vector for item in await self.notes.get(self.ids, vectors=True)}
        if same(found, after):
            self.known = after
            return done, True
        assert not done
        assert same(found, self.known)
        return done, False

    async def search(self):
        if not self.known:
            return
        one = self.chance.choice(list(self.known))
        call = self.notes.search(self.known[one], k=1)
        if self.chance.random() < 0.3:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(call, self.chance.random() * 0.02)
        else:
            assert [hit.id for hit in await call] == [one]


def same(one, other):
    return one.keys() == other.keys() and all(
        one[key].tobytes() == other[key].tobytes() for key in one
    )


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_was_acknowledged_is_there_and_nothing_else(driver, tmp_path, request):
    url = async_url(driver, tmp_path, request)
    options = {"connect_args": {"timeout": 60}} if driver == "aiosqlite" else {}

    async def main():
        async with opened(url, tmp_path, DIM, **options) as (engine, db, notes):
            await notes.upsert(["fixed"], np.ones((1, DIM), np.float32))
            await notes.add_index("main", engine="faiss", precision="int8")
            await db.keep_up()
            workers = [Worker(number, engine, notes) for number in range(TASKS)]
            await asyncio.gather(*(worker.run() for worker in workers))
            known = {"fixed": np.ones(DIM, np.float32)}
            for worker in workers:
                known.update(worker.known)
            found = {item.id: item.vector async for item in notes.iter()}
            assert same(found, known)
            report = await notes.verify(deep=True)
            assert report.ok, report.problems
            # Whole, absent, done and undone: all of it has happened.
            assert set().union(*(worker.seen for worker in workers)) >= {
                (True, True), (False, True), (False, False),
            }  # fmt: skip
        async with opened(url, tmp_path, DIM) as (_, _, notes):
            assert same({item.id: item.vector async for item in notes.iter()}, known)

    asyncio.run(main())

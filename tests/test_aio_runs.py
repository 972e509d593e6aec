"""A write that is stopped in a transaction that goes on leaves nothing that looks like a loss."""

import asyncio
import contextlib

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

import requant
from requant.store import checked
from tests import inside
from tests.aio import DRIVERS, async_url, opened, vectors

MANY = 2000  # which are searched by an index


class StoppedError(Exception):
    pass


class StopAt:
    """Stops before the statement of a number, once, as a call that is cancelled is stopped."""

    def __init__(self, number, times=1):
        self.left = number
        self.times = times

    def __call__(self):
        self.left -= 1
        if -self.times < self.left <= 0:
            raise StoppedError


def stopped_write(session, notes, items, at):
    """Whether a write has come to its end."""
    stop = StopAt(at)
    try:
        with checked(stop):
            notes.upsert(range(items), vectors(items), connection=session)
    except StoppedError:
        return False
    assert stop.left > 0
    return True


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("items", [1, 3])
def test_the_index_goes_on(driver, items, tmp_path, request):
    """Warnings are errors: one that the database has gone back in time would end this."""
    url = async_url(driver, tmp_path, request)

    async def main():
        async with opened(url, tmp_path) as (engine, _, notes):
            await notes.upsert([f"old {n}" for n in range(MANY)], vectors(MANY))
            await notes.add_index("main", engine="faiss")
            at, whole = 0, False
            while not whole:
                at += 1
                async with AsyncSession(engine) as session:  # the next write begins a new run
                    await notes.upsert(["no"], vectors(1), connection=session)
                    await session.rollback()
                async with AsyncSession(engine) as session:
                    whole = await session.run_sync(stopped_write, notes.sync_collection, items, at)
                    await session.commit()
                # Whole as well where it is the end of the savepoint that was stopped.
                found = await notes.count()
                assert found in ((MANY + items,) if whole else (MANY, MANY + items))
                await notes.flush()  # the index stands at what was written just now
                await notes.search(vectors(1)[0])
                await notes.delete(range(items))
                hits = await notes.search(vectors(MANY)[7], k=1)
                assert [hit.id for hit in hits] == ["old 7"]
            assert at > 3
            assert (await notes.verify(deep=True)).ok

    asyncio.run(main())


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_fails_is_taken_back_although_it_is_cancelled_then(driver, tmp_path, request):
    url = async_url(driver, tmp_path, request)

    def write(session, notes, at):
        with contextlib.suppress(StoppedError), checked(StopAt(at, times=2)):
            notes.upsert(["a", "b"], vectors(2), connection=session)

    async def main():
        async with opened(url, tmp_path) as (engine, _, notes):
            for at in range(1, 9):
                async with AsyncSession(engine) as session:
                    await notes.upsert(["first"], vectors(1), connection=session)
                    await session.run_sync(write, notes.sync_collection, at)
                    await session.commit()
                found = await notes.get(vectors=True)
                assert [one.id for one in found] in (["first"], ["first", "a", "b"])
                assert all(one.vector is not None for one in found)
                assert (await notes.verify(deep=True)).ok
                assert await notes.clear() in (1, 3)

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_so_does_that_of_a_synchronous_write_which_ctrl_c_stops(
    kind, tmp_path, request, monkeypatch
):
    url = f"sqlite:///{tmp_path / 'application.db'}"
    if kind == "postgresql":
        url = request.getfixturevalue("empty_postgres")
    engine = sa.create_engine(url)
    with requant.open(engine, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", 8)
        notes.upsert([f"old {n}" for n in range(MANY)], vectors(MANY))
        notes.add_index("main", engine="faiss")
        with engine.connect() as connection:
            notes.upsert(["no"], vectors(1), connection=connection)
        inside.interrupt_a_turn(monkeypatch, KeyboardInterrupt)
        with engine.begin() as connection:
            with pytest.raises(KeyboardInterrupt):
                notes.upsert(["a"], vectors(1), connection=connection)
            notes.count(connection=connection)
        notes.flush()
        notes.search(vectors(1)[0])
        notes.upsert(["b"], vectors(1))
        assert notes.search(vectors(MANY)[7], k=1)[0].id == "old 7"
        assert len(notes) == MANY + 1
    engine.dispose()

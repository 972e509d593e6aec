"""Within run_sync, a collection works on the connection of an asynchronous driver as on any."""

import asyncio
import contextlib

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

import requant
from requant.errors import InputError, UnknownIdError, UnsupportedError
from requant.store.connections.drivers import numbered


@pytest.fixture(params=["aiosqlite", "asyncpg", "psycopg"])
def place(request, tmp_path):
    """The URL of an asynchronous driver, and that of a synchronous one for the same database."""
    if request.param == "aiosqlite":
        path = tmp_path / "application.db"
        return f"sqlite+aiosqlite:///{path}", f"sqlite:///{path}"
    sync = request.getfixturevalue("empty_postgres")
    return sync.replace("+psycopg", f"+{request.param}"), sync


@pytest.fixture
def notes(place, tmp_path):
    with requant.open(place[1], folder=tmp_path / "indexes") as db:
        yield db.create_collection("notes", 8, index_fields=["lang", "n"])


def vectors(n):
    return np.random.default_rng(n).standard_normal((n, 8)).astype(np.float32)


def within(place, call, commit):
    """Run `call(connection)` in a transaction of the asynchronous driver."""

    async def run():
        engine = create_async_engine(place[0])
        async with AsyncSession(engine) as session:
            with contextlib.suppress(ZeroDivisionError):
                await session.run_sync(lambda inner: call(inner.connection()))
            await (session.commit() if commit else session.rollback())
        await engine.dispose()

    asyncio.run(run())


def every_verb(notes, connection):
    lent = {"connection": connection}
    floats = vectors(3)
    languages = [{"lang": "en", "n": 1}, {"lang": "de", "n": 2.5}]
    assert notes.upsert(["a", "b"], floats[:2], ["x", None], languages, **lent) == 2
    assert notes.add([7], floats[2:], metadata=[{"lang": "fr"}], **lent) == 1
    assert notes.upsert(["b"], floats[:1], **lent) == 0
    assert notes.update(where={"lang": "fr"}, metadata={"tags": [1, "k"], "n": 4}, **lent) == 1
    assert notes.update(["a"], metadata={"tags": "k"}, documents=["y"], **lent) == 1
    assert notes.ids(**lent) == ["a", "b", 7]
    assert [item.id for item in notes.get(where={"n": {"$gte": 2}}, **lent)] == ["b", 7]
    (found,) = notes.get(["b"], vectors=True, **lent)
    assert found.vector.tobytes() == floats[0].tobytes()
    assert (found.document, found.metadata) == (None, {"lang": "de", "n": 2.5})
    assert notes.count({"lang": {"$contains": "e"}}, **lent) == 2
    assert notes.count({"lang": {"$gt": "dz"}}, **lent) == 2
    assert notes.distinct("tags", **lent)[0] == ("k", 2)
    assert notes.distinct("lang", **lent) == [("de", 1), ("en", 1), ("fr", 1)]
    assert notes.extent("n", **lent) == (1, 4, {"number": 3})
    assert notes.delete(where={"lang": "fr"}, **lent) == 1
    assert notes.delete(["a", "unknown"], **lent) == 1
    many = [{"lang": "xyz"[n % 3], "n": n} for n in range(1000)]
    assert notes.upsert(range(1000), vectors(1000), metadata=many, **lent) == 1000
    assert len(notes.get(vectors=True, **lent)) == 1001
    assert notes.count({"lang": "y"}, **lent) == 333


@pytest.mark.parametrize("commit", [False, True])
def test_every_verb_joins_the_transaction(place, notes, commit):
    notes.upsert(["old"], vectors(1))
    notes.delete(["old"])
    within(place, lambda connection: every_verb(notes, connection), commit)
    assert len(notes) == (1001 if commit else 0)
    if commit:
        assert notes.count({"lang": "y"}) == 333
        assert notes.verify(deep=True).ok
        stored = notes.vectors(range(1000))
        assert stored.tobytes() == vectors(1000).tobytes()
        assert notes.clear() == 1001


def test_a_call_that_fails_is_taken_back_alone(place, notes):
    def some(connection):
        notes.upsert(["a"], vectors(1), connection=connection)
        with pytest.raises(UnknownIdError):
            notes.update(["a", "b"], vectors=vectors(2), connection=connection)

        def broken(n):
            if n == 200:
                raise ZeroDivisionError
            return {"id": n, "vector": vectors(1)[0]}

        rows = map(broken, range(300))
        with pytest.raises(ZeroDivisionError):
            notes.upsert_many(rows, batch=50, connection=connection)

    within(place, some, commit=True)
    assert notes.ids() == ["a", *range(200)]  # the whole batches before it, as everywhere
    assert notes.vectors(["a"]).tobytes() == vectors(1).tobytes()


def test_what_is_no_transaction_is_refused(place, notes):
    async def run():
        options = {"isolation_level": "AUTOCOMMIT"}
        engine = create_async_engine(place[0], execution_options=options)
        async with engine.connect() as connection:
            refused = pytest.raises(InputError, match="AUTOCOMMIT")
            with refused:
                await connection.run_sync(lambda c: notes.upsert(["a"], vectors(1), connection=c))
            # Which may be read by.
            assert await connection.run_sync(lambda c: notes.get(connection=c)) == []
        await engine.dispose()

    asyncio.run(run())
    assert len(notes) == 0


def test_outside_of_run_sync_it_is_refused_by_name(place, notes):
    async def run():
        engine = create_async_engine(place[0])
        async with engine.connect() as connection:
            session = AsyncSession(connection)
            for lent in (
                connection,
                connection.sync_connection,
                session,
                session.sync_session,
            ):
                with pytest.raises(UnsupportedError, match=r"integration\.sqlalchemy\.aio"):
                    notes.upsert(["a"], vectors(1), connection=lent)
                with pytest.raises(UnsupportedError, match=r"integration\.sqlalchemy\.aio"):
                    await asyncio.to_thread(notes.get, connection=lent)
            assert (await connection.execute(sa.text("SELECT 1"))).scalar() == 1
        await engine.dispose()

    asyncio.run(run())
    assert len(notes) == 0


def test_parameters_are_numbered():
    assert numbered("a = %s AND b LIKE '%%x' AND c = %s") == "a = $1 AND b LIKE '%x' AND c = $2"

"""PostgreSQL behind a real pgbouncer that hands out connections by the transaction."""

from __future__ import annotations

import asyncio
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import requant
from requant.errors import InputError, StoreError
from requant.integration.sqlalchemy import aio
from tests.databases import expected, held, vectors
from tests.pgbouncer import pooled

FILE = {"engine": "faiss", "precision": "int8"}
LIVE = {"engine": "lancedb", "precision": "int8"}
ROUNDS = 8  # psycopg prepares what it has executed five times


@pytest.fixture
def url(empty_postgres):
    """A pool of as many connections as two threads take that write to a live index."""
    with pooled(empty_postgres, connections=6) as url:
        yield url


def work(notes, name, connection=None):
    """Execute many statements often, each client others first."""
    lent = {"connection": connection} if connection is not None else {}
    for number in range(ROUNDS):
        first = f"{name} {number}"
        notes.upsert([first], vectors(1, 8, number), metadata=[{"n": number}], **lent)
        notes.upsert([f"{first} {more}" for more in range(20)], vectors(20, 8, number), **lent)
        notes.update([first], documents=["text"], **lent)
        assert notes.get([first], **lent)[0].document == "text"
        assert first in [hit.id for hit in notes.search_documents("text", 100, **lent)]
        notes.delete([f"{first} 0"], **lent)
        found = notes.search(vectors(1)[0], k=1, where={"n": number}, **lent)
        assert [hit.metadata for hit in found] == [{"n": number}]


def check(notes, names):
    wanted = {f"{name} {n}" for name in names for n in range(ROUNDS)}
    wanted |= {f"{first} {more}" for first in wanted for more in range(1, 20)}
    assert set(notes.ids()) == wanted
    assert notes.verify(deep=True).ok
    assert held(notes) == expected(notes)


def test_two_clients_share_the_connections(url, tmp_path):
    """Neither executes what the other has prepared."""
    with (
        requant.open(url, folder=tmp_path) as one,
        requant.open(url, folder=tmp_path) as two,
    ):
        notes = one.create_collection("notes", 8, full_text=True)
        notes.add_index("file", **FILE)
        work(notes, "one")
        work(two.collection("notes"), "two")
        work(notes, "three")
        check(notes, ["one", "two", "three"])
        check(two.collection("notes"), ["one", "two", "three"])


def test_a_live_index_is_written_to_by_threads(url, tmp_path):
    with requant.open(url, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", 8, full_text=True)
        notes.add_index("live", **LIVE)
        failed = []

        def write(name):
            try:
                work(notes, name)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=write, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        notes.flush()
        assert failed == []
        check(notes, ["one", "two"])


def test_an_application_lends_what_it_had_before(url, tmp_path):
    """Its own engine, and a session that has prepared statements already."""
    engine, other = sa.create_engine(url), sa.create_engine(url)
    with Session(engine) as session:
        for _ in range(ROUNDS):
            session.execute(sa.text("SELECT CAST(:n AS integer)"), {"n": 1})
        with requant.open(engine, folder=tmp_path / "indexes") as db:
            notes = db.create_collection("notes", 8, full_text=True)
            work(notes, "own")
            work(notes, "lent", session)
            session.commit()
            with other.begin() as connection:
                work(notes, "another engine", connection)
            check(notes, ["own", "lent", "another engine"])
    engine.dispose()
    other.dispose()


def test_coroutines(url, tmp_path):
    async def run():
        async with await aio.open(url, folder=tmp_path / "indexes") as db:
            notes = await db.create_collection("notes", 8)
            for number in range(ROUNDS):
                await notes.upsert([f"one {number}"], vectors(1, 8, number))
                await notes.upsert([f"two {number}"], vectors(1, 8, number))
                assert (await notes.search(vectors(1, 8, number)[0], k=1))[0].score > 0.99
            assert await notes.count() == 2 * ROUNDS

    asyncio.run(run())


def test_who_gets_no_connection_hears_of_it(empty_postgres, tmp_path):
    with pooled(empty_postgres, connections=1, patience=1) as url:
        with requant.open(url, folder=tmp_path / "indexes") as db:
            notes = db.create_collection("notes", 8)
            notes.upsert(range(50), vectors(50))
            with pytest.raises(StoreError, match="default_pool_size"):
                notes.add_index("live", **LIVE)
        with requant.open(empty_postgres, folder=tmp_path / "indexes") as db:
            assert db.collection("notes").verify(deep=True).ok


def test_what_cannot_be_made_durable_is_refused(empty_postgres, tmp_path):
    engine = sa.create_engine(empty_postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        with pooled(empty_postgres) as url:
            requant.open(url, folder=tmp_path, durable=True).close()
        connection.exec_driver_sql("ALTER DATABASE postgres SET synchronous_commit = off")
        try:
            with pooled(empty_postgres) as url, pytest.raises(InputError, match="pooler"):
                requant.open(url, folder=tmp_path, durable=True)
        finally:
            connection.exec_driver_sql("ALTER DATABASE postgres RESET synchronous_commit")
    engine.dispose()

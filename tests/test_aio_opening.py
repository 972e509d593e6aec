"""What `aio.open` takes, the sync engine that it makes of it, and what it refuses."""

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from requant.errors import InputError, PackageMissingError, StoreError, UnsupportedError
from requant.integration.sqlalchemy import aio
from requant.integration.sqlalchemy.aio.opening import sync_target
from tests.aio import DRIVERS, async_url, opened, vectors

URLS = {
    "sqlite+aiosqlite:///a.db": "sqlite:///a.db",
    "postgresql+asyncpg://ada:s%40crt@h:1/b?ssl=require&prepared_statement_cache_size=0": (
        "postgresql+psycopg://ada:s%40crt@h:1/b?sslmode=require"
    ),
    "postgresql+psycopg_async://h/b?sslmode=require": "postgresql+psycopg://h/b?sslmode=require",
    "postgresql+psycopg://h/b": "postgresql+psycopg://h/b",
    "a/path.requant": "a/path.requant",
    "sqlite:///a.db": "sqlite:///a.db",
}


@pytest.mark.parametrize("given", URLS)
def test_the_url_of_the_sync_engine(given):
    assert sync_target(given) == URLS[given]
    if "+" in given:
        assert sync_target(create_async_engine(given)) == URLS[given]


class OtherDialect(PGDialect_asyncpg):
    driver = "otherpg"
    supports_statement_cache = True


def run(work):
    return asyncio.run(work())


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_engine_and_its_url_open_the_same(driver, tmp_path, request):
    url = async_url(driver, tmp_path, request)

    async def work():
        async with opened(url, tmp_path) as (engine, db, notes):
            assert db.engine is engine
            await notes.upsert(["a"], vectors(1))
            assert "s3cret" not in repr(db)
        async with await aio.open(url, folder=tmp_path / "indexes") as db:
            assert await (await db.collection("notes")).ids() == ["a"]
            with pytest.raises(InputError, match="create_async_engine"):
                _ = db.engine
            engine = create_async_engine(url)
            async with AsyncSession(engine) as session:  # any engine of it will do
                notes = await db.collection("notes")
                await notes.upsert(["b"], vectors(1), connection=session)
                await session.commit()
            await engine.dispose()
            assert await notes.ids() == ["a", "b"]
        async with await aio.open(url, folder=tmp_path / "indexes", read_only=True) as db:
            assert db.read_only
            assert await (await db.collection("notes")).count() == 2

    run(work)


def test_what_cannot_be_opened_is_refused_by_name(tmp_path, monkeypatch):
    async def work():
        memory = create_async_engine("sqlite+aiosqlite://")
        with pytest.raises(InputError, match="in memory"):
            await aio.open(memory)
        registry.register("postgresql.otherpg", __name__, "OtherDialect")
        other = create_async_engine("postgresql+otherpg://h/b")
        with pytest.raises(UnsupportedError, match="not otherpg"):
            await aio.open(other, folder=tmp_path)
        with pytest.raises(InputError, match="folder"):
            await aio.open("postgresql+asyncpg://h/b")
        with pytest.raises(InputError, match="sync_engine goes with"):
            await aio.open(tmp_path / "x", sync_engine=sa.create_engine("sqlite:///y"))
        with pytest.raises(StoreError, match="pass sync_engine="):
            await aio.open("postgresql+asyncpg://h.invalid/b", folder=tmp_path)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(PackageMissingError, match=r"requant\[postgres\]"):
            await aio.open("postgresql+asyncpg://h/b", folder=tmp_path)

    run(work)


@pytest.mark.parametrize("driver", DRIVERS)
def test_engines_of_different_databases_are_refused(driver, tmp_path, request):
    url = async_url(driver, tmp_path, request)
    if driver == "aiosqlite":
        other = f"sqlite:///{tmp_path / 'other.db'}"
    else:
        sync = url.replace(f"+{driver}", "+psycopg")
        _execute(sync, "CREATE DATABASE other")
        other = sync.replace("/postgres?", "/other?")

    async def work():
        engine, beside = create_async_engine(url), sa.create_engine(other)
        with pytest.raises(InputError, match="pass sync_engine="):
            await aio.open(engine, sync_engine=beside, folder=tmp_path / "indexes")
        beside.dispose()
        await engine.dispose()

    run(work)
    if driver != "aiosqlite":
        _execute(sync, "DROP DATABASE other")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_search_path_of_the_asynchronous_engine_leads_nowhere_else(driver, tmp_path, request):
    url = async_url(driver, tmp_path, request)
    _execute(url.replace(f"+{driver}", "+psycopg"), "CREATE SCHEMA tenant")
    where = {
        "asyncpg": {"server_settings": {"search_path": "tenant"}},
        "psycopg": {"options": "-c search_path=tenant"},
    }

    async def work():
        engine = create_async_engine(url, connect_args=where[driver])
        async with await aio.open(engine, folder=tmp_path / "indexes") as db:
            notes = await db.create_collection("notes", 8)
            async with AsyncSession(engine) as session:
                await notes.upsert(["a"], vectors(1), connection=session)
                await session.commit()
            assert await notes.ids() == ["a"]
        options = {"options": "-c search_path=tenant"}
        beside = sa.create_engine(url.replace(f"+{driver}", "+psycopg"), connect_args=options)
        async with await aio.open(engine, sync_engine=beside, folder=tmp_path / "mine") as db:
            notes = await db.create_collection("notes", 8, exist_ok=True)
            async with AsyncSession(engine) as session:
                await notes.upsert(["b"], vectors(1), connection=session)
                await session.commit()
            assert await notes.ids() == ["b"]
        beside.dispose()
        await engine.dispose()

    run(work)
    _execute(url.replace(f"+{driver}", "+psycopg"), "DROP SCHEMA tenant CASCADE")


def _execute(url, statement):
    engine = sa.create_engine(url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def test_who_is_cancelled_while_it_opens_leaves_nothing_open(tmp_path):
    async def work():
        for wait in (0, 0.001, 0.01, 0.05):
            task = asyncio.ensure_future(aio.open(tmp_path / "notes.requant"))
            await asyncio.sleep(wait)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await task).close()
        async with await aio.open(tmp_path / "notes.requant") as db:
            await db.create_collection("notes", 8)

    run(work)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_server_that_hangs_up_is_an_error_of_the_driver(driver, tmp_path, request):
    url = async_url(driver, tmp_path, request)

    async def work():
        async with opened(url, tmp_path) as (engine, db, notes):
            async with AsyncSession(engine) as session:
                await notes.upsert(["a"], vectors(1), connection=session)
                with db.sync_database.engine.begin() as other:
                    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    other.execute(sa.text(cut + "WHERE pid <> pg_backend_pid()"))
                with pytest.raises(sa.exc.DBAPIError):
                    await notes.upsert(["b"], vectors(1), connection=session)
                with pytest.raises((InputError, sa.exc.SQLAlchemyError)):
                    await notes.upsert(["c"], vectors(1), connection=session)
            async with AsyncSession(engine) as session:
                await notes.upsert(["d"], vectors(1), connection=session)
                await session.commit()
            assert await notes.ids() == ["d"]

    run(work)


APPLICATION = """
import os
from contextlib import asynccontextmanager
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from requant.integration.sqlalchemy import aio

engine = create_async_engine(os.environ["APP_URL"], connect_args={"timeout": 60})
state = {}

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                state["db"] = await aio.open(engine, folder=os.environ["APP_FOLDER"])
                state["notes"] = await state["db"].create_collection("notes", 8, exist_ok=True)
            else:
                await state["db"].close()
                await engine.dispose()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    number = scope["path"].strip("/")
    async with AsyncSession(engine) as session, session.begin():
        await state["notes"].upsert([number], [[1.0] * 8], connection=session)
    hits = await state["notes"].search([1.0] * 8, k=1000)
    there = str(number in {hit.id for hit in hits}) + " " + str(os.getpid())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": there.encode()})
"""


def test_uvicorn_with_several_workers(tmp_path):
    """Whose workers are started anew (spawn), each with an engine and a database of its own."""
    pytest.importorskip("uvicorn")
    (tmp_path / "application.py").write_text(APPLICATION)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"sqlite+aiosqlite:///{tmp_path / 'application.db'}"
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = {**os.environ, "APP_URL": url, "APP_FOLDER": str(tmp_path / "indexes")}
    command = [sys.executable, "-m", "uvicorn", "application:app", "--workers", "2"]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--log-level", "warning"],
        env={**environment, "PYTHONPATH": paths},
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        found = [_ask(port, number) for number in range(60)]
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
    assert all(text.startswith("True ") for text in found)

    async def work():
        async with await aio.open(url, folder=tmp_path / "indexes") as db:
            notes = await db.collection("notes")
            assert sorted(await notes.ids()) == sorted(str(number) for number in range(60))
            assert (await notes.verify(deep=True)).ok

    run(work)


def _ask(port, number):
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}", timeout=60) as answer:
                return answer.read().decode()
        except (ConnectionError, urllib.error.URLError):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_requant_itself_imports_neither_asyncio_drivers_nor_this(tmp_path):
    code = (
        "import sys, requant\n"
        f"requant.open({str(Path(tmp_path) / 'x')!r}).close()\n"
        "few = {'aiosqlite', 'asyncpg', 'psycopg', 'sqlalchemy.ext.asyncio', 'greenlet'}\n"
        "assert not few & set(sys.modules), few & set(sys.modules)\n"
        "assert not [m for m in sys.modules if m.startswith('requant.integration')]\n"
        "from requant.integration.sqlalchemy import aio\n"
        "assert not {'aiosqlite', 'asyncpg', 'psycopg'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

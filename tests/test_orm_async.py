"""Under an AsyncSession: vectors follow its flushes, models are asked beside the loop."""

from __future__ import annotations

import asyncio
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import requant
from requant.errors import InputError
from requant.integration.sqlalchemy import Vector, aio, bind, follow_deletes
from requant.integration.sqlalchemy.orm import EmbedError
from tests.orm_app import DIM, embedded, stored, vector_of


@pytest.fixture(params=["sqlite", "postgresql+psycopg", "postgresql+asyncpg"])
def urls(request, tmp_path):
    """The URL of the database for what is synchronous, and for what is not."""
    if request.param == "sqlite":
        path = tmp_path / "application.db"
        return f"sqlite:///{path}", f"sqlite+aiosqlite:///{path}"
    url = request.getfixturevalue("empty_postgres")
    return url, url.replace("postgresql+psycopg", request.param)


def test_a_session_of_coroutines(urls, tmp_path):
    threads = []

    def model(texts):
        threads.append(threading.current_thread())
        if "fail" in texts:
            raise RuntimeError("no")
        return [vector_of(text) for text in texts]

    class Base(DeclarativeBase):
        pass

    class Article(Base):
        __tablename__ = "articles"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]
        embedding = Vector(DIM, document="body", embed=model)

    plain, asynchronous = urls
    engine = sa.create_engine(plain)
    Base.metadata.create_all(engine)

    class Own(sa.orm.Session):
        pass

    async def work(db):
        other = create_async_engine(asynchronous)
        sessions = async_sessionmaker(other, sync_session_class=Own)
        binding = bind(db, Base, sessions)
        collection = Article.embedding.collection
        async with sessions() as session:
            session.add_all([Article(id=n, body=f"t{n}") for n in range(5)])
            await session.flush()
            (found,) = await Article.embedding.asearch(session, "t3", 1, where=Article.id > 1)
            assert (found.object.id, found.score) == (3, 1.0)
            assert await asyncio.to_thread(len, collection) == 0
            await session.commit()
        assert threads
        assert threading.main_thread() not in threads
        async with sessions.begin() as session:
            await session.execute(sa.update(Article).where(Article.id == 1).values(body="new"))
            await session.execute(sa.delete(Article).where(Article.id == 2))
            await session.execute(sa.insert(Article), [{"id": 9, "body": "nine"}])
            some = (await session.scalars(sa.select(Article))).all()
            await session.run_sync(lambda inner: Article.embedding.load(inner, some))
            assert some[0].embedding.tolist() == vector_of("t0").tolist()
            near = await session.run_sync(lambda s: Article.embedding.nearest(s, "nine", 1))
            statement = sa.select(Article).join(near, near.c.id == Article.id)
            assert (await session.scalars(statement)).one().id == 9
            assert await session.run_sync(lambda s: Article.embedding.sync(s)) == (0, 0)
        async with other.begin() as connection:
            await connection.run_sync(follow_deletes, Article.embedding)
            await connection.execute(sa.text("DELETE FROM articles WHERE id = 4"))
        with pytest.raises(EmbedError, match=r"Article\(7\)"):
            async with sessions.begin() as session:
                session.add_all([Article(id=7, body="fail"), Article(id=8, body="x")])
        async with sessions.begin() as session:  # a statement is taken back, the rest stands
            await session.execute(sa.insert(Article).values(id=10, body="ten"))
            with pytest.raises(EmbedError, match=r"Article\(0\)"):
                await session.execute(sa.update(Article).values(body="fail"))
        async with AsyncSession(other) as session:  # one that is not followed
            session.add(Article(id=20, body="x"))
            await session.commit()
        binding.unbind()
        await other.dispose()
        return await asyncio.to_thread(stored, collection)

    with requant.open(engine, folder=tmp_path / "indexes") as db:
        rows = asyncio.run(work(db))
    assert rows == {
        0: embedded("t0"), 1: embedded("new"), 3: embedded("t3"), 9: embedded("nine"),
        10: embedded("ten"),
    }  # fmt: skip
    engine.dispose()


def test_an_asynchronous_database(urls, tmp_path):
    class Base(DeclarativeBase):
        pass

    class Article(Base):
        __tablename__ = "articles"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]
        embedding = Vector(DIM, document="body", embed=lambda texts: list(map(vector_of, texts)))

    async def work():
        engine = create_async_engine(urls[1])
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with await aio.open(engine, folder=tmp_path / "indexes") as db:
            with pytest.raises(InputError, match="bind takes"):
                bind(engine, Base)
            sessions = async_sessionmaker(engine)
            binding = bind(db, Base, sessions)
            async with sessions.begin() as session:
                session.add_all(Article(id=n, body=f"t{n}") for n in range(5))
            articles = await db.collection("articles_embedding")
            async with sessions() as session:
                (found,) = await Article.embedding.asearch(session, "t3", 1)
                hits = await articles.search(vector_of("t3"), 1, connection=session)
                assert (found.object.id, found.score) == (hits[0].id, hits[0].score)
            binding.unbind()
        await engine.dispose()

    asyncio.run(work())

"""Searches that answer with objects: in the session's transaction, filtered by its own columns."""

# ruff: noqa: N803 (a fixture that is a class)
from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    mapped_column,
    relationship,
    selectinload,
    sessionmaker,
)

from requant.errors import DimensionError, InputError, NonFiniteError
from requant.integration.sqlalchemy import Vector
from tests.orm_app import DIM, Embedder, nearest, vector_of

N = 60
QUERY = np.array([1, -1, 0.5, 2], np.float32)


@pytest.fixture
def Article(app):  # noqa: N802
    class Base(DeclarativeBase):
        pass

    class Author(Base):
        __tablename__ = "authors"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    class Article(Base):
        __tablename__ = "articles"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]
        year: Mapped[int]
        author_id: Mapped[int] = mapped_column(sa.ForeignKey("authors.id"))
        author: Mapped[Author] = relationship()
        embedding = Vector(DIM, document="body", metadata=("year",), embed=Embedder())

    Base.registry.configure()
    Article.Author = Author
    app.bind(Base)
    with app.sessions.begin() as session:
        session.add_all(Author(id=n, name=f"author {n}") for n in range(3))
        session.add_all(
            Article(id=n, body=f"t{n}", year=2000 + n % 10, author_id=n % 3) for n in range(N)
        )
    return Article


def expected(session, Article, k, *criteria, query=QUERY):
    rows = session.execute(sa.select(Article.id, Article.body).where(*criteria)).all()
    return nearest(query, {key: vector_of(body) for key, body in rows}, k)


def keys(matches):
    return [(match.object.id, match.score) for match in matches]


def test_the_nearest_as_objects(app, Article):
    with app.sessions() as session:
        found = Article.embedding.search(session, QUERY, 5)
        assert keys(found) == expected(session, Article, 5)
        assert all(match.object is session.get(Article, match.object.id) for match in found)
        assert keys(Article.embedding.search(session, "t7", 1)) == [(7, 1.0)]
        assert len(Article.embedding.search(session, QUERY, 1000)) == N
        near = Article.embedding.search(session, QUERY, min_score=0.5)
        assert keys(near) == [one for one in expected(session, Article, 10) if one[1] >= 0.5]


def test_filters_on_own_columns(app, Article):
    Author, later = Article.Author, aliased(Article)  # noqa: N806
    with app.sessions() as session:
        for where, criteria in [
            (Article.year > 2006, [Article.year > 2006]),
            (
                sa.and_(Article.year == 2001, Article.id > 20),
                [Article.year == 2001, Article.id > 20],
            ),
            (Article.author.has(name="author 1"), [Article.author_id == 1]),
            (
                sa.select(Article.id).join(Author).where(Author.name == "author 2"),
                [Article.author_id == 2],
            ),
            ({"year": {"$lt": 2002}}, [Article.year < 2002]),
            (Article.year == 1, [Article.year == 1]),
            (sa.select(aliased(Article).id).subquery(), []),
            (
                (Author.id == Article.author_id) & (Author.name == "author 1"),
                [Article.author_id == 1],
            ),
            (
                sa.exists().where(
                    later.author_id == Article.author_id, later.id == Article.id + 58
                ),
                [Article.id < 0],
            ),
            (sa.select(Article.id).join(Author, sa.true()), []),  # each row three times
        ]:
            found = Article.embedding.search(session, QUERY, 4, where=where)
            assert keys(found) == expected(session, Article, 4, *criteria)
        with pytest.raises(InputError, match="where= is an SQL expression on Article"):
            Article.embedding.search(session, QUERY, where=object())


def test_loading_options(app, Article):
    with app.sessions() as session:
        options = [selectinload(Article.author)]
        (found,) = Article.embedding.search(session, QUERY, 1, options=options)
        session.expunge_all()
        assert found.object.author.name == f"author {found.object.author_id}"


def test_the_nearest_as_a_table_to_join(app, Article):
    Author = Article.Author  # noqa: N806
    with app.sessions() as session:
        near = Article.embedding.nearest(session, QUERY, 5, where=Article.year > 2004)
        rows = session.execute(
            sa.select(Article, Author.name, near.c.score, near.c.rank)
            .join(near, near.c.id == Article.id)
            .join(Author)
            .order_by(near.c.rank)
        ).all()
        want = expected(session, Article, 5, Article.year > 2004)
        assert [(row.Article.id, pytest.approx(row.score)) for row in rows] == want
        assert [row.rank for row in rows] == [1, 2, 3, 4, 5]
        nothing = Article.embedding.nearest(session, QUERY, 5, where=Article.year > 3000)
        assert (
            session.execute(sa.select(Article).join(nothing, nothing.c.id == Article.id)).all()
            == []
        )
        assert (
            len(session.execute(sa.select(Article.embedding.nearest(session, QUERY, 50))).all())
            == 50
        )
        with pytest.raises(InputError, match="at most"):
            Article.embedding.nearest(session, QUERY, 100_000)


def test_several_tables_of_nearest_in_one_statement(app, Article):
    with app.sessions() as session:
        nears = [Article.embedding.nearest(session, vector_of(f"t{n}"), 3) for n in (5, 8)]
        nears.append(Article.embedding.nearest(session, QUERY, 3, where=sa.false()))
        statement = sa.select(Article.id, *(near.c.rank for near in nears))
        for near in nears:
            statement = statement.outerjoin(near, near.c.id == Article.id)
        rows = session.execute(statement).all()
        assert len(rows) == N
        assert [[row[0] for row in rows if row[n] == 1] for n in (1, 2, 3)] == [[5], [8], []]


def test_what_is_not_committed_is_found_by_its_session_alone(app, Article):
    with app.sessions() as session, app.sessions() as other:
        session.add(Article(id=100, body="new", year=1, author_id=0))
        session.delete(session.get(Article, 7))
        session.get(Article, 8).body = "t7"
        assert keys(Article.embedding.search(session, "new", 1)) == [(100, 1.0)]
        assert keys(Article.embedding.search(session, "t7", 1)) == [(8, 1.0)]
        assert keys(Article.embedding.search(other, "t7", 1)) == [(7, 1.0)]
        assert keys(Article.embedding.search(other, "new", 1))[0][0] != 100
        session.rollback()
        assert keys(Article.embedding.search(session, "t7", 1)) == [(7, 1.0)]
        with session.no_autoflush:
            session.add(Article(id=101, body="pending", year=1, author_id=0))
            assert keys(Article.embedding.search(session, "pending", 1))[0][0] != 101
        session.rollback()


def test_rows_that_are_gone_make_room_for_others(app, Article):
    with app.sessions() as session:
        first = [key for key, _ in expected(session, Article, 25)]
        gone = sa.delete(Article.__table__).where(Article.__table__.c.id.in_(first[:20]))
        session.connection().execute(gone)
        assert [key for key, _ in keys(Article.embedding.search(session, QUERY, 5))] == first[20:25]
        near = Article.embedding.nearest(session, QUERY, 5)
        assert list(session.scalars(sa.select(near.c.id).order_by(near.c.rank))) == first[20:25]
        grouped = Article.embedding.search(session, QUERY, 3, group_by="year")
        assert len({match.object.year for match in grouped}) == 3


def test_one_connection_is_enough(app, Article, tmp_path):
    engine = sa.create_engine(app.engine.url, pool_size=1, max_overflow=0, pool_timeout=0.5)
    with app.sessions(bind=engine) as session:
        session.add(Article(id=100, body="new", year=1, author_id=0))
        found = Article.embedding.search(session, "new", 1, where=Article.year == 1)
        assert keys(found) == [(100, 1.0)]
        assert Article.embedding.sync(session) == (0, 0)
        session.expire_all()
        assert found[0].object.embedding is not None
        Article.embedding.nearest(session, QUERY)
        session.rollback()
    engine.dispose()


@pytest.mark.parametrize("index", [("faiss", "int8"), ("usearch", "int8")], ids="-".join)
def test_by_an_index(app, Article, index):
    collection = Article.embedding.collection
    with app.sessions.begin() as session:
        session.add_all(Article(id=n, body=f"t{n}", year=n, author_id=0) for n in range(N, 3000))
    collection.add_index("main", engine=index[0], precision=index[1])
    with app.sessions() as session:
        session.add(Article(id=5000, body="new", year=1, author_id=0))
        found = Article.embedding.search(session, QUERY, 10, oversample=8)
        assert keys(found) == expected(session, Article, 10)
        few = Article.embedding.search(session, QUERY, 5, where=Article.year % 100 == 3)
        assert keys(few) == expected(session, Article, 5, Article.year % 100 == 3)
        assert keys(Article.embedding.search(session, "new", 1)) == [(5000, 1.0)]


def test_bad_queries_are_named(app, Article):
    with app.sessions() as session:
        with pytest.raises(DimensionError, match=r"Article\.embedding"):
            Article.embedding.search(session, [1, 2])
        with pytest.raises(NonFiniteError, match=r"Article\.embedding"):
            Article.embedding.search(session, [1, 2, 3, np.nan])
        for k in (0, True, 1.5):
            with pytest.raises(InputError, match="k must be"):
                Article.embedding.search(session, QUERY, k)
        with pytest.raises(TypeError, match="no option 'nonsense'"):
            Article.embedding.search(session, QUERY, nonsense=1)


def test_sessions_that_cannot_be_used_are_named(app, Article, tmp_path):
    closing = sessionmaker(app.engine, close_resets_only=False)
    with closing() as session:
        session.add(Article(id=1, body="twice", year=1, author_id=0))
        with pytest.raises(sa.exc.IntegrityError):
            session.flush()
    with pytest.raises(InputError, match=r"session cannot be used.*closed"):
        Article.embedding.search(session, QUERY)
    with app.sessions() as session:
        session.add(Article(id=1, body="twice", year=1, author_id=0))
        with pytest.raises(sa.exc.IntegrityError):
            session.begin_nested()
        with pytest.raises(InputError, match=r"session cannot be used.*rolled back"):
            Article.embedding.search(session, QUERY, 1)
        session.rollback()
        assert Article.embedding.search(session, QUERY, 1)
    with pytest.raises(InputError, match="Session is needed, not Engine"):
        Article.embedding.search(app.engine, QUERY)
    with pytest.raises(InputError, match="asearch"):
        Article.embedding.search(AsyncSession(), QUERY)
    elsewhere = sa.create_engine(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    sa.inspect(Article).registry.metadata.create_all(elsewhere)
    with (
        sessionmaker(elsewhere)() as session,
        pytest.raises(InputError, match=r"Article\.embedding.*elsewhere"),
    ):
        Article.embedding.search(session, QUERY)
    elsewhere.dispose()

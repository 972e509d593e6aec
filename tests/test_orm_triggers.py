"""Triggers: what the database deletes by itself is not found any more, by anybody."""

# ruff: noqa: N803 (a fixture that is a class)
from __future__ import annotations

import subprocess
import sys
import uuid

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from requant.errors import InputError, UnsupportedError
from requant.integration.sqlalchemy import Vector, follow_deletes, unfollow_deletes
from tests.databases import expected, held
from tests.orm_app import DIM, Embedder, application, stored

N = 400


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request, tmp_path):
    with application(request, tmp_path) as opened:
        if request.param == "sqlite":
            sa.event.listen(opened.engine, "connect", foreign_keys)
            opened.engine.dispose()
        yield opened


def foreign_keys(connection, _record):
    connection.execute("PRAGMA foreign_keys = ON")


@pytest.fixture
def Article(app):  # noqa: N802
    class Base(DeclarativeBase):
        pass

    class Author(Base):
        __tablename__ = "authors"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Article(Base):
        __tablename__ = 'an odd "table" 100%'
        id: Mapped[int] = mapped_column("the id", primary_key=True)
        body: Mapped[str]
        lang: Mapped[str]
        author_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Author.id, ondelete="CASCADE"))
        embedding = Vector(
            DIM,
            collection="articles",
            document="body",
            metadata=("lang", "author_id"),
            embed=Embedder(),
        )

    app.bind(Base)
    with app.sessions.begin() as session:
        session.add_all(Author(id=n) for n in range(20))
        session.flush()
        session.add_all(
            Article(id=n, body=f"t{n}", lang=["en", "de", "fr"][n % 3], author_id=n % 20)
            for n in range(N)
        )
    with app.engine.begin() as connection:
        follow_deletes(connection, Article.embedding)
        follow_deletes(connection, Article.embedding)  # anew
    return Article


def delete(app, text, **values):
    with app.engine.begin() as connection:
        return connection.execute(sa.text(text), values).rowcount


TABLE = '"an odd ""table"" 100%"'


def check(app, Article):
    """Whether rows and items are the same, and everything that is derived from items is right."""
    collection = Article.embedding.collection
    with app.sessions() as session:
        rows = {one.id: one for one in session.scalars(sa.select(Article))}
        assert {i: (s[0], s[1]) for i, s in stored(collection).items()} == {
            key: (one.body, {"lang": one.lang, "author_id": one.author_id})
            for key, one in rows.items()
        }
    for lang in ("en", "de", "fr"):
        want = sorted(key for key, one in rows.items() if one.lang == lang)
        assert collection.count({"lang": lang}) == len(want)
        for exact in (True, False):
            hits = collection.search(np.ones(DIM), 1000, where={"lang": lang}, exact=exact)
            assert sorted(hit.id for hit in hits) == want
    for author in range(20):
        want = sum(one.author_id == author for one in rows.values())
        assert collection.count({"author_id": author}) == want
    assert sum(one.count for one in collection.distinct("lang")) == len(rows)
    report = collection.verify(deep=True)
    assert report.ok, report.problems
    return sorted(rows)


def test_the_words_of_what_is_deleted_are_forgotten(app, Article):
    collection = Article.embedding.collection
    collection.index_text()
    assert [hit.id for hit in collection.search_documents("t7")] == [7]
    delete(app, f'DELETE FROM {TABLE} WHERE "the id" = 7')
    assert collection.search_documents("t7") == []
    assert check(app, Article) == [n for n in range(N) if n != 7]
    delete(app, f"DELETE FROM {TABLE}")
    assert check(app, Article) == []


def indexed(Article):
    collection = Article.embedding.collection
    collection.index_field("lang")
    collection.index_field("author_id")
    collection.add_index("main", precision="int8")
    collection.search(np.ones(DIM))


def test_every_way_to_delete(app, Article):
    indexed(Article)
    assert delete(app, f'DELETE FROM {TABLE} WHERE "the id" = 5') == 1
    assert delete(app, "DELETE FROM authors WHERE id IN (1, 2)") == 2
    with app.sessions.begin() as session:
        session.connection().execute(sa.delete(Article.__table__).where(sa.text('"the id" < 20')))
        session.delete(session.get(Article, 33))
        session.execute(sa.delete(Article).where(Article.id == 44))
    left = [n for n in range(20, N) if n % 20 not in (1, 2) and n not in (33, 44)]
    assert check(app, Article) == left
    assert held(Article.embedding.collection) == expected(Article.embedding.collection)
    with app.sessions.begin() as session:
        session.add(Article(id=5, body="again", lang="en", author_id=3))
    assert 5 in check(app, Article)
    assert all(one.ready for one in Article.embedding.collection.fields)
    delete(app, f"DELETE FROM {TABLE}")
    assert check(app, Article) == []


def test_a_rollback_takes_it_back(app, Article):
    indexed(Article)
    collection = Article.embedding.collection
    with app.engine.connect() as connection:
        connection.execute(sa.text(f"DELETE FROM {TABLE}"))
        assert collection.count(connection=connection) == 0
        connection.rollback()
    assert len(check(app, Article)) == N


def test_a_primary_key_that_is_changed(app, Article):
    indexed(Article)
    collection = Article.embedding.collection
    before = stored(collection)
    collection.upsert([1007], [[1, 2, 3, 4]])  # a row that nobody told of was there once
    delete(app, f'UPDATE {TABLE} SET "the id" = "the id" + 1000 WHERE "the id" < 10')
    after = stored(collection)
    assert after == {key + 1000 if key < 10 else key: item for key, item in before.items()}
    assert len(check(app, Article)) == N
    with app.sessions.begin() as session:
        session.get(Article, 1007).id = 7
        session.get(Article, 30).id = 3000
    assert stored(collection)[7] == before[7]
    assert stored(collection)[3000] == before[30]
    check(app, Article)


def test_a_table_that_is_emptied(app, Article):
    indexed(Article)
    delete(app, f"{'DELETE FROM' if app.engine.dialect.name == 'sqlite' else 'TRUNCATE'} {TABLE}")
    assert check(app, Article) == []
    with app.sessions.begin() as session:
        session.add(Article(id=5, body="again", lang="en", author_id=3))
    assert check(app, Article) == [5]


def test_writes_and_deletes_beside_one_another(app, Article):
    """In whatever order they commit, and whether or not what they wrote has been numbered."""
    if app.engine.dialect.name == "sqlite":
        pytest.skip("one writes after the other")
    indexed(Article)
    gone = sa.text(f'DELETE FROM {TABLE} WHERE "the id" = ANY(:ids)')
    moved = sa.text(f'UPDATE {TABLE} SET "the id" = :to WHERE "the id" = :id')
    with app.sessions() as first, app.sessions() as second:
        first.add(Article(id=5001, body="a", lang="en", author_id=3))
        first.add(Article(id=5002, body="b", lang="de", author_id=3))
        first.flush()
        second.add(Article(id=6001, body="c", lang="fr", author_id=4))
        second.get(Article, 9).lang = "fr"
        second.flush()
        first.execute(gone, {"ids": [5001, 7, 8]})
        second.execute(gone, {"ids": [9, 10]})
        second.execute(moved, {"id": 6001, "to": 6002})
        first.execute(moved, {"id": 5002, "to": 7})
        assert len(check(app, Article)) == N
        second.commit()
        assert 6002 in check(app, Article)
        first.commit()
    assert {7, 6002} <= set(check(app, Article))
    with app.sessions.begin() as session:
        session.add(Article(id=8, body="again", lang="en", author_id=3))
        session.flush()
        session.execute(sa.text(f"TRUNCATE {TABLE}"))
        session.add(Article(id=9, body="once more", lang="de", author_id=3))
    assert check(app, Article) == [9]
    assert held(Article.embedding.collection) == expected(Article.embedding.collection)
    assert all(one.ready for one in Article.embedding.collection.fields)


def test_another_process_that_knows_no_model(app, Article, tmp_path):
    indexed(Article)
    url = app.engine.url.render_as_string(hide_password=False)
    program = (
        "import sys, requant, sqlalchemy as sa\n"
        "engine = sa.create_engine(sys.argv[1])\n"
        "with requant.open(engine, folder=sys.argv[2]) as db:\n"
        "    notes = db.collection('articles')\n"
        "    assert len(notes.search([1, 1, 1, 1], 1000)) == 400\n"
        "    with engine.begin() as connection:\n"
        "        if engine.dialect.name == 'sqlite':\n"
        "            connection.exec_driver_sql('PRAGMA foreign_keys = ON')\n"
        "        connection.execute(sa.text('DELETE FROM authors WHERE id < 10'))\n"
        "    print(len(notes.search([1, 1, 1, 1], 1000)))\n"
    )
    argv = [sys.executable, "-c", program, url, str(tmp_path / "indexes")]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == "200\n"
    assert len(check(app, Article)) == 200


def test_it_is_seen_that_a_database_was_set_back(app, Article):
    """A trigger's write begins a run of its own, as that of another process does.

    In PostgreSQL it leaves a note, which is of no run until somebody numbers it, under a name that
    no other note has.
    """
    if app.engine.dialect.name == "postgresql":
        for key in (1, 2, 3):
            delete(app, f'DELETE FROM {TABLE} WHERE "the id" = {key}')
        with app.engine.connect() as connection:
            notes = "SELECT count(DISTINCT token) FROM requant_writes WHERE gone IS NULL"
            assert connection.execute(sa.text(notes)).scalar() >= 3
        return
    with app.engine.connect() as connection:
        runs = "SELECT count(*), count(DISTINCT name) FROM requant_runs"
        before = connection.execute(sa.text(runs)).one()[0]
    for key in (1, 2, 3):
        delete(app, f'DELETE FROM {TABLE} WHERE "the id" = {key}')
    with app.engine.connect() as connection:
        assert connection.execute(sa.text(runs)).one() == (before + 3, before + 3)


def test_unfollow_and_a_collection_made_again(app, Article):
    app.db.drop_collection("articles")
    delete(app, f'DELETE FROM {TABLE} WHERE "the id" = 1')  # nothing to be removed from
    app.bindings.pop().unbind()
    app.bind(sa.inspect(Article).registry)
    with app.sessions.begin() as session:
        assert Article.embedding.sync(session) == (N - 1, 0)
    delete(app, f'DELETE FROM {TABLE} WHERE "the id" = 2')
    assert len(check(app, Article)) == N - 2
    with app.engine.begin() as connection:
        unfollow_deletes(connection, Article.embedding)
        unfollow_deletes(connection, Article.embedding)
    delete(app, f'DELETE FROM {TABLE} WHERE "the id" = 3')
    assert len(Article.embedding.collection) == N - 2


class Lower(sa.types.TypeDecorator):
    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return value.lower()


def test_keys_of_every_kind(app):
    class Base(DeclarativeBase):
        pass

    def model(name, kind):
        body = {
            "__tablename__": name,
            "id": mapped_column(kind, primary_key=True),
            "vector": Vector(DIM),
        }
        return type(name, (Base,), body)

    a = model("a", sa.Uuid())
    b = model("b", sa.String(40))
    c = model("c", Lower(40))
    app.bind(Base)
    keys = {a: [uuid.uuid4() for _ in range(3)], b: ["a", "B'; --", "ü"]}
    for one, ids in keys.items():
        with app.engine.begin() as connection:
            follow_deletes(connection, one.vector)
        with app.sessions.begin() as session:
            session.add_all(one(id=key, vector=[1, 2, 3, 4]) for key in ids)
        with app.engine.begin() as connection:
            connection.execute(sa.delete(one.__table__).where(one.__table__.c.id == ids[0]))
        assert set(stored(one.vector.collection)) == set(ids[1:])
    with (
        app.engine.begin() as connection,
        pytest.raises(UnsupportedError, match=r"c\.vector: Lower"),
    ):
        follow_deletes(connection, c.vector)


def test_what_is_refused(app, Article, tmp_path):
    with pytest.raises(InputError, match="Connection or Session"):
        follow_deletes(app.engine, Article.embedding)
    with app.engine.begin() as connection, pytest.raises(InputError, match=r"Article\.embedding"):
        follow_deletes(connection, Article)
    elsewhere = sa.create_engine(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    with elsewhere.connect() as connection, pytest.raises(InputError, match="elsewhere"):
        follow_deletes(connection, Article.embedding)
    elsewhere.dispose()

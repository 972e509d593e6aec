"""Many threads write the same rows in every way at once, beside triggers, an index, its fields."""

# ruff: noqa: N803 (a fixture that is a class)
from __future__ import annotations

import random
import threading

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError

from requant.integration.sqlalchemy import Vector, follow_deletes
from tests.orm_app import DIM, Embedder, embedded, stored

THREADS, STEPS, SHARED = 6, 40, 40
LANGUAGES = ["en", "de", "fr"]
# What SQLAlchemy and the database say to whoever comes second.
SECOND = (sa.exc.IntegrityError, StaleDataError, ObjectDeletedError)


@pytest.fixture
def Article(app):  # noqa: N802
    class Base(DeclarativeBase):
        pass

    class Article(Base):
        __tablename__ = "articles"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]
        lang: Mapped[str]
        embedding = Vector(DIM, document="body", metadata=("lang",), embed=Embedder())

    app.bind(Base)
    return Article


def step(session, Article, chance, name):
    """Do something to some of the rows that all threads share, or to new ones."""
    key, lang = chance.randrange(SHARED), chance.choice(LANGUAGES)
    some = Article.id.between(key, key + 3)
    kind = chance.choice(["merge", "sql", "update", "delete", "insert", "change", "move", "search"])
    if kind == "merge":
        session.merge(Article(id=key, body=f"merged {name}", lang=lang))
    elif kind == "sql":
        session.execute(sa.text("DELETE FROM articles WHERE id BETWEEN :a AND :a + 2"), {"a": key})
    elif kind == "update":
        session.execute(sa.update(Article).where(some).values(body=f"set {name}", lang=lang))
    elif kind == "delete":
        session.execute(sa.delete(Article).where(Article.id == key))
    elif kind == "insert":
        rows = [{"id": 1000 + name * 3 + n, "body": f"new {name}", "lang": lang} for n in range(3)]
        session.execute(sa.insert(Article), rows)
    elif kind == "change":
        article = session.get(Article, key)
        if article is not None:
            article.body, article.lang = f"changed {name}", lang
    elif kind == "move":
        session.execute(
            sa.text("UPDATE articles SET id = :to WHERE id = :key"), {"to": -name - 1, "key": key}
        )
    else:
        Article.embedding.search(session, "new", 5, where=Article.lang == lang)


def steps(app, Article, thread):
    """What one thread does, each step in a transaction; who comes second goes on."""
    chance = random.Random(thread)
    for n in range(STEPS):
        with app.sessions() as session:
            try:
                step(session, Article, chance, thread * STEPS + n)
                session.rollback() if chance.random() < 0.2 else session.commit()
            except SECOND:
                session.rollback()
            except Exception as error:
                session.rollback()
                if "deadlock" not in str(error):
                    raise


def test_all_at_once(app, Article):
    collection = Article.embedding.collection
    with app.engine.begin() as connection:
        follow_deletes(connection, Article.embedding)
    collection.index_field("lang")
    collection.add_index("main", precision="int8")
    app.db.keep_up(0.02)
    failed = []

    def work(thread):
        try:
            steps(app, Article, thread)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with app.sessions() as session:
        rows = {one.id: (one.body, one.lang) for one in session.scalars(sa.select(Article))}
    want = {key: embedded(body, {"lang": lang}) for key, (body, lang) in rows.items()}
    assert stored(collection) == want
    for lang in LANGUAGES:
        keys = sorted(key for key, row in rows.items() if row[1] == lang)
        for exact in (False, True):
            hits = collection.search(np.ones(DIM), 1000, where={"lang": lang}, exact=exact)
            assert sorted(hit.id for hit in hits) == keys
    assert collection.verify(deep=True).ok

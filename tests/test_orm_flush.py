"""Objects written by a session: their vectors come and go with them, in the same transaction."""

# ruff: noqa: N803 (a fixture that is a class)
from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from requant.integration.sqlalchemy import Vector
from tests.orm_app import DIM, Embedder, embedded, stored, vector_of


@pytest.fixture
def model():
    return Embedder()


@pytest.fixture
def Article(app, model):  # noqa: N802
    class Base(DeclarativeBase):
        pass

    class Author(Base):
        __tablename__ = "authors"
        id: Mapped[int] = mapped_column(primary_key=True)
        articles: Mapped[list[Article]] = relationship(
            back_populates="author", cascade="all, delete-orphan"
        )

    class Article(Base):
        __tablename__ = "articles"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str | None] = mapped_column(default=None)
        lang: Mapped[str] = mapped_column(default="en")
        other: Mapped[str | None] = mapped_column(default=None)
        author_id: Mapped[int | None] = mapped_column(sa.ForeignKey("authors.id"), default=None)
        author: Mapped[Author | None] = relationship(back_populates="articles")
        embedding = Vector(DIM, document="body", metadata=("lang",), embed=model)

    Base.registry.configure()
    Article.Author = Author
    app.bind(Base)
    return Article


EN = {"lang": "en"}


def test_the_life_of_a_row(app, Article, model):
    collection = Article.embedding.collection
    assert collection.name == "articles_embedding"
    with app.sessions() as session:
        article = Article(body="one")
        session.add(article)
        assert stored(collection) == {}
        session.commit()
        key = article.id
        assert stored(collection) == {key: embedded("one", EN)}
        article.body = "two"
        article.lang = "de"
        session.commit()
        assert stored(collection) == {key: embedded("two", {"lang": "de"})}
        asked = len(model.calls)
        article.lang = "fr"
        session.commit()
        article.other = "nothing to us"
        session.commit()
        assert len(model.calls) == asked
        assert stored(collection) == {key: embedded("two", {"lang": "fr"})}
        article.body = None
        session.commit()
        assert stored(collection) == {key: (None, {"lang": "fr"}, None)}
        session.delete(article)
        session.commit()
    assert stored(collection) == {}


def test_a_flush_embeds_at_once_and_each_text_once(app, Article, model):
    with app.sessions.begin() as session:
        session.add_all(Article(body=f"text {n % 50}") for n in range(100))
    assert [len(call) for call in model.calls] == [50]
    rows = stored(Article.embedding.collection)
    assert len(rows) == 100
    assert all(row == embedded(row[0], EN) for row in rows.values())


def test_what_is_not_relevant_takes_no_turn(app, Article):
    with app.sessions.begin() as session:
        session.add(Article(id=1, body="one"))

    def turn():
        with app.engine.connect() as connection:
            return connection.exec_driver_sql("SELECT seq FROM requant_collections").scalar()

    before = turn()
    with app.sessions.begin() as session:
        session.get(Article, 1).other = "x"
        session.execute(sa.update(Article).values(other="y"))
    assert turn() == before


def test_a_rollback_takes_everything_back(app, Article):
    collection = Article.embedding.collection
    with app.sessions.begin() as session:
        session.add(Article(id=1, body="one"))
    before = stored(collection)
    with app.sessions() as session:
        session.add(Article(id=2, body="two"))
        session.get(Article, 1).body = "changed"
        session.flush()
        assert collection.count(connection=session.connection()) == 2
        session.rollback()
        assert session.get(Article, 1).embedding.tolist() == vector_of("one").tolist()
    assert stored(collection) == before


def test_a_savepoint_takes_its_part_back(app, Article):
    collection = Article.embedding.collection
    with app.sessions() as session:
        kept = Article(id=1, body="kept")
        session.add(kept)
        session.flush()
        point = session.begin_nested()
        taken = Article(id=2, body="taken back")
        session.add(taken)
        kept.body = "changed"
        session.flush()
        point.rollback()
        assert kept.embedding.tolist() == vector_of("kept").tolist()
        session.add(Article(id=3, body="after"))
        with session.begin_nested():
            session.add(Article(id=4, body="released"))
        session.commit()
    assert stored(collection) == {
        1: embedded("kept", EN), 3: embedded("after", EN), 4: embedded("released", EN),
    }  # fmt: skip


def test_an_object_that_was_rolled_back_is_written_again(app, Article):
    with app.sessions() as session:
        given, made = Article(id=1, body="given"), Article(id=2, body="made")
        given.embedding = [1, 2, 3, 4]
        session.add_all([given, made])
        session.flush()
        session.rollback()
        made.body = "made anew"
        session.add_all([given, made])
        session.commit()
    assert stored(Article.embedding.collection) == {
        1: ("given", EN, [1, 2, 3, 4]), 2: embedded("made anew", EN),
    }  # fmt: skip


def test_a_vector_that_is_given_is_the_one(app, Article, model):
    collection = Article.embedding.collection
    mine = np.array([1, 2, 3, 4], np.float32)
    with app.sessions() as session:
        article = Article(id=1, body="one", embedding=mine)
        session.add(article)
        session.commit()
        assert model.calls == []
        mine[0] = 99  # ours is a copy
        assert stored(collection)[1] == ("one", EN, [1, 2, 3, 4])
        article.embedding = [5, 6, 7, 8]
        assert article in session.dirty
        session.commit()
        assert stored(collection)[1] == ("one", EN, [5, 6, 7, 8])
        article.embedding = None
        article.lang = "de"
        session.commit()
        assert stored(collection)[1] == ("one", {"lang": "de"}, None)
        article.other = article.lang = "fr"
        session.commit()
        assert stored(collection)[1] == ("one", {"lang": "fr"}, None)
        article.embedding, article.body = [4, 3, 2, 1], "two"
        session.commit()
        assert stored(collection)[1] == ("two", {"lang": "fr"}, [4, 3, 2, 1])
        assert model.calls == []
        del article.embedding
        session.commit()
        assert stored(collection)[1][2] is None
        article.body = "three"
        session.commit()
    assert stored(collection)[1] == embedded("three", {"lang": "fr"})


def test_reading_back(app, Article):
    with app.sessions() as session:
        article = Article(id=1, body="one")
        assert article.embedding is None
        session.add_all([article, Article(id=2, body=None)])
        assert article.embedding is None
        session.flush()
        assert article.embedding.dtype == np.float32
        with pytest.raises(ValueError, match="read-only"):
            article.embedding[0] = 1
        session.commit()
    with app.sessions() as session:
        first, second = session.get(Article, 1), session.get(Article, 2)
        assert first.embedding.tolist() == vector_of("one").tolist()
        assert second.embedding is None
        session.expire_all()
        found = Article.embedding.load(session, [second, first])
        assert found[0] is None
        assert found[1] is first.embedding
        session.expunge(first)
        assert first.embedding is found[1]


def test_expire_and_refresh_forget_what_was_not_written(app, Article):
    with app.sessions() as session:
        article = Article(id=1, body="one")
        session.add(article)
        session.commit()
        article.embedding = [1, 2, 3, 4]
        session.refresh(article)
        assert article.embedding.tolist() == vector_of("one").tolist()
        article.embedding = [1, 2, 3, 4]
        session.expire(article)
        session.commit()
    assert stored(Article.embedding.collection)[1] == embedded("one", EN)


@pytest.mark.parametrize("how", ["populate_existing", "refresh", "expire"])
def test_a_row_that_is_read_again_has_the_vector_of_now(app, Article, how):
    with app.sessions.begin() as session:
        session.add(Article(id=1, body="one"))
    with app.sessions() as session:
        article = session.get(Article, 1)
        assert article.embedding.tolist() == vector_of("one").tolist()
        session.connection().execute(sa.text("UPDATE articles SET body = 'two'"))
        Article.embedding.collection.upsert([1], [vector_of("two")], ["two"], connection=session)
        if how == "populate_existing":
            session.get(Article, 1, populate_existing=True)
        else:
            getattr(session, how)(article, ["body"])
        assert article.body == "two"
        assert article.embedding.tolist() == vector_of("two").tolist()
        article.embedding = [1, 2, 3, 4]
        session.get(Article, 1, populate_existing=True)
        session.expire(article, ["body"])
        session.commit()
    assert stored(Article.embedding.collection)[1][2] == [1, 2, 3, 4]


def test_two_sessions_see_each_others_commits(app, Article, tmp_path):
    with app.sessions.begin() as session:
        session.add(Article(id=1, body="one"))
    first = app.sessions()
    article = first.get(Article, 1)
    assert article.embedding.tolist() == vector_of("one").tolist()
    first.commit()
    with app.sessions.begin() as second:
        second.get(Article, 1).body = "two"
    assert article.embedding.tolist() == vector_of("two").tolist()
    first.close()


def test_a_stale_session_overwrites_nothing_newer(app, Article):
    keeping = app.sessions(expire_on_commit=False)
    stale = Article(id=1, body="one", lang="en")
    keeping.add(stale)
    keeping.commit()
    with app.sessions.begin() as session:
        session.get(Article, 1).body = "two"
    assert stale.body == "one"
    stale.lang = "de"
    keeping.commit()
    keeping.close()
    assert stored(Article.embedding.collection)[1] == embedded("two", {"lang": "de"})


def test_a_primary_key_that_changes_takes_the_vector_along(app, Article, model):
    collection = Article.embedding.collection
    with app.sessions() as session:
        session.add_all(
            [Article(id=1, body="one", embedding=[1, 2, 3, 4]), Article(id=2, body="two")]
        )
        session.commit()
        asked = len(model.calls)
        session.get(Article, 1).id = 10
        session.commit()
        assert len(model.calls) == asked
        assert stored(collection) == {10: ("one", EN, [1, 2, 3, 4]), 2: embedded("two", EN)}
        moved = session.get(Article, 2)
        moved.id, moved.body = 20, "changed"
        session.flush()
        session.add(Article(id=2, body="another"))
        session.commit()
    assert stored(collection) == {
        10: ("one", EN, [1, 2, 3, 4]), 20: embedded("changed", EN), 2: embedded("another", EN),
    }  # fmt: skip


def test_a_row_switch_is_the_new_one(app, Article):
    collection = Article.embedding.collection
    with app.sessions() as session:
        session.add_all([Article(id=n, body=f"old {n}") for n in (1, 2)])
        session.commit()
        for old in session.scalars(sa.select(Article)).all():
            session.delete(old)
        session.add_all([Article(id=1, body="new 1"), Article(id=2, body=None)])
        session.commit()
    assert stored(collection) == {1: embedded("new 1", EN), 2: (None, EN, None)}


def test_orphans_and_cascades_of_the_session_go(app, Article):
    collection = Article.embedding.collection
    with app.sessions() as session:
        author = Article.Author(id=1, articles=[Article(id=n, body=str(n)) for n in range(1, 5)])
        session.add(author)
        session.commit()
        assert len(collection) == 4
        author.articles.pop()
        session.commit()
        assert sorted(stored(collection)) == [1, 2, 3]
        author.articles = []
        session.commit()
        assert len(collection) == 0
        author.articles = [Article(id=7, body="seven")]
        session.commit()
        session.delete(author)
        session.commit()
    assert len(collection) == 0


def test_merge_carries_columns_and_no_vector(app, Article):
    collection = Article.embedding.collection
    with app.sessions() as session:
        session.merge(Article(id=1, body="one"))
        session.commit()
        assert stored(collection) == {1: embedded("one", EN)}
        session.merge(Article(id=1, body="two"))
        session.merge(Article(id=2, body="three")).embedding = [4, 3, 2, 1]
        session.commit()
    assert stored(collection) == {1: embedded("two", EN), 2: ("three", EN, [4, 3, 2, 1])}


def test_values_that_the_database_makes(app, Article):
    with app.sessions() as session:
        session.add(Article(id=1, body=sa.func.upper("one"), lang=sa.func.lower("DE")))
        session.commit()
        assert stored(Article.embedding.collection) == {1: embedded("ONE", {"lang": "de"})}
        session.get(Article, 1).body = sa.func.lower(Article.body)
        session.commit()
    assert stored(Article.embedding.collection) == {1: embedded("one", {"lang": "de"})}


def test_unbind_follows_no_more(app, Article):
    with app.sessions.begin() as session:
        session.add(Article(id=1, body="one"))
    collection = Article.embedding.collection
    app.bindings.pop().unbind()
    with app.sessions.begin() as session:
        session.add(Article(id=2, body="two"))
    assert list(stored(collection)) == [1]
    app.bind(sa.inspect(Article).registry)
    with app.sessions.begin() as session:
        assert Article.embedding.sync(session) == (1, 0)
    assert sorted(stored(collection)) == [1, 2]

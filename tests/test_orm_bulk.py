"""Statements that write many rows: insert(), update() and delete() on a class."""

# ruff: noqa: N803 (a fixture that is a class)
from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from requant.errors import InputError, UnsupportedError
from requant.integration.sqlalchemy import EmbedError, Vector
from tests.orm_app import DIM, Embedder, embedded, stored, vector_of


@pytest.fixture
def model():
    return Embedder()


@pytest.fixture
def Article(app, model):  # noqa: N802
    class Base(DeclarativeBase):
        pass

    class Article(Base):
        __tablename__ = "articles"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str] = mapped_column("body_of_it")
        lang: Mapped[str] = mapped_column(default="en")
        code: Mapped[str | None] = mapped_column(unique=True, default=None)
        embedding = Vector(
            DIM, collection="articles", document="text", metadata=("lang",), embed=model
        )

    app.bind(Base)
    return Article


def insert_into(app, target):
    dialect = sqlite if app.engine.dialect.name == "sqlite" else postgresql
    return dialect.insert(target)


def right(app, Article):
    """Whether the collection is what the rows say."""
    with app.sessions() as session:
        rows = {one.id: (one.text, one.lang) for one in session.scalars(sa.select(Article))}
    want = {key: embedded(text, {"lang": lang}) for key, (text, lang) in rows.items()}
    assert stored(Article.embedding.collection) == want
    return sorted(rows)


def test_inserts_of_every_form(app, Article, model):
    many = [{"text": f"t{n}"} for n in range(5)]
    with app.sessions() as session:
        one = session.execute(sa.insert(Article).values(text="a"))
        assert session.get(Article, one.inserted_primary_key[0]).text == "a"
        assert (
            session.execute(sa.insert(Article).values([{"text": "b"}, {"text": "c"}])).rowcount == 2
        )
        session.execute(sa.insert(Article), many)
        session.execute(sa.insert(Article), [{"id": 100, "text": "d"}, {"id": 101, "text": "e"}])
        found = session.scalars(sa.insert(Article).returning(Article), many).all()
        assert [one.text for one in found] == [one["text"] for one in many]
        texts = session.execute(sa.insert(Article).returning(Article.text, Article.lang), many)
        assert texts.all() == [(one["text"], "en") for one in many]
        session.execute(
            sa.insert(Article).from_select(
                ["body_of_it", "lang"],
                sa.select(Article.text, sa.literal("de")).where(Article.id.in_([100, 101])),
            )
        )
        session.commit()
    assert len(right(app, Article)) == 1 + 2 + 5 + 2 + 5 + 5 + 2


def test_inserts_that_meet_what_is_there(app, Article):
    with app.sessions() as session:
        session.add_all([Article(id=1, text="one", code="a"), Article(id=2, text="two", code="b")])
        session.commit()
        put = insert_into(app, Article).values(id=9, text="three", code="b")
        put = put.on_conflict_do_update(
            index_elements=["code"], set_={"body_of_it": put.excluded.body_of_it}
        )
        session.execute(put)
        nothing = insert_into(app, Article).values(id=1, text="x", code="c")
        session.execute(nothing.on_conflict_do_nothing())
        more = insert_into(app, Article)
        more = more.on_conflict_do_update(
            index_elements=["id"], set_={"body_of_it": more.excluded.body_of_it}
        )
        session.execute(more, [{"id": 1, "text": "one again"}, {"id": 7, "text": "seven"}])
        session.commit()
    assert right(app, Article) == [1, 2, 7]


@pytest.mark.parametrize("sync", ["auto", "fetch", "evaluate", False])
def test_updates(app, Article, model, sync):
    with app.sessions() as session:
        session.add_all(Article(id=n, text=f"t{n}") for n in range(1, 9))
        session.commit()
        known = session.get(Article, 3)
        assert known.embedding is not None
        options = {"synchronize_session": sync}
        statement = (
            sa.update(Article).where(Article.id > 2, Article.lang == "en").values(text="new")
        )
        assert session.execute(statement, execution_options=options).rowcount == 6
        assert known.embedding.tolist() == vector_of("new").tolist()
        asked = len(model.calls)
        session.execute(sa.update(Article).where(Article.id < 3).values({Article.lang: "de"}))
        assert len(model.calls) == asked
        session.execute(sa.update(Article), [{"id": 1, "text": "x"}, {"id": 2, "lang": "fr"}])
        with_return = sa.update(Article).where(Article.id > 6).values(text=Article.text + "!")
        assert session.execute(with_return.returning(Article.text)).all() == [("new!",), ("new!",)]
        session.query(Article).filter(Article.id == 5).update({"text": "by a query"})
        session.commit()
    assert right(app, Article) == list(range(1, 9))


def test_updates_of_other_columns_are_left_alone(app, Article, model):
    with app.sessions() as session:
        session.add(Article(id=1, text="one"))
        session.commit()
        collection = Article.embedding.collection
        collection.delete([1])
        session.execute(sa.update(Article).values(code="x"))
        session.commit()
        assert stored(collection) == {}
        session.execute(sa.update(Article).values(lang="de"))
        session.commit()
    assert right(app, Article) == [1]  # what it lacked came with it


def test_deletes(app, Article):
    with app.sessions() as session:
        session.add_all(Article(id=n, text=f"t{n}") for n in range(1, 9))
        session.commit()
        assert session.execute(sa.delete(Article).where(Article.id > 6)).rowcount == 2
        gone = session.execute(sa.delete(Article).where(Article.id == 6).returning(Article.text))
        assert gone.all() == [("t6",)]
        assert session.query(Article).filter(Article.id == 5).delete() == 1
        session.execute(
            sa.delete(Article).where(Article.id == 4),
            execution_options={"synchronize_session": False},
        )
        session.commit()
        assert right(app, Article) == [1, 2, 3]
        session.execute(sa.delete(Article))
        session.rollback()
    assert right(app, Article) == [1, 2, 3]


def test_a_change_of_primary_keys_is_refused(app, Article):
    with app.sessions() as session:
        session.add(Article(id=1, text="one"))
        session.commit()
        with pytest.raises(UnsupportedError, match=r"Article.*assign id on objects"):
            session.execute(sa.update(Article).values(id=Article.id + 1))
    assert right(app, Article) == [1]


def test_what_no_event_tells_of_is_found_by_sync(app, Article):
    table = Article.__table__
    with app.sessions() as session:
        session.add_all(Article(id=n, text=f"t{n}") for n in range(1, 6))
        session.commit()
        session.bulk_save_objects([Article(id=10, text="ten")])
        session.connection().execute(table.insert().values(id=11, body_of_it="eleven", lang="en"))
        session.connection().execute(table.update().where(table.c.id == 1).values(body_of_it="x"))
        session.connection().execute(table.update().where(table.c.id == 2).values(lang="de"))
        session.connection().execute(table.delete().where(table.c.id == 3))
        assert Article.embedding.sync(session, batch=2) == (4, 1)
        assert Article.embedding.sync(session) == (0, 0)
        session.commit()
    assert right(app, Article) == [1, 2, 4, 5, 10, 11]


def test_sync_makes_vectors_for_what_has_none(app, Article):
    collection = Article.embedding.collection
    with app.sessions() as session:
        session.add_all(
            [Article(id=1, text="one"), Article(id=2, text="two", embedding=[1, 2, 3, 4])]
        )
        session.commit()
        session.get(Article, 1).embedding = None
        session.commit()
        collection.upsert(["no key", 77], [[1, 2, 3, 4]] * 2)
        assert Article.embedding.sync(session) == (1, 2)
        session.commit()
    assert stored(collection) == {
        1: embedded("one", {"lang": "en"}), 2: ("two", {"lang": "en"}, [1, 2, 3, 4])
    }  # fmt: skip


def test_sync_overwrites_nothing_that_is_written_meanwhile(app, Article):
    with app.sessions.begin() as session:
        session.add_all([Article(id=1, text="one"), Article(id=2, text="two")])
    Article.embedding.collection.delete([2])
    between = []

    def meanwhile(_connection, _cursor, statement, _parameters, _context, _many):
        if "requant_items" in statement and not between:
            between.append(statement)
            with app.sessions.begin() as other:  # after the rows were read, before the items are
                other.get(Article, 1).text = "newer"

    with app.sessions.begin() as session:
        session.connection()
        sa.event.listen(app.engine, "before_cursor_execute", meanwhile)
        try:
            assert Article.embedding.sync(session) == (1, 0)
        finally:
            sa.event.remove(app.engine, "before_cursor_execute", meanwhile)
    assert between
    assert right(app, Article) == [1, 2]


def test_a_key_that_comes_back_otherwise_is_refused(app):
    class Base(DeclarativeBase):
        pass

    padded = app.engine.dialect.name == "postgresql"
    kind = sa.CHAR(8) if padded else sa.String(collation="NOCASE")

    class Word(Base):
        __tablename__ = "words"
        id: Mapped[str] = mapped_column(kind, primary_key=True)
        body: Mapped[str]
        embedding = Vector(DIM, document="body", embed=Embedder())

    app.bind(Base)
    with app.sessions() as session:
        if not padded:
            session.add(Word(id="A", body="one"))
            session.commit()
        statement = insert_into(app, Word).values(id="a", body="two")
        with pytest.raises(InputError, match=r"Word\('.+'\)\.embedding: the database gives"):
            session.execute(
                statement.on_conflict_do_update(index_elements=["id"], set_={"body": "two"})
                if padded
                else sa.update(Word),
                [{"id": "a", "body": "two"}],
            )
        session.rollback()


def fails_from(model, n):
    """A model that fails the n-th time that it is asked, from 1."""
    asked = []

    def embed(texts):
        asked.append(texts)
        if len(asked) >= n:
            raise ValueError("out of memory")
        return model(texts)

    return embed


@pytest.mark.parametrize("nested", [False, True])
def test_a_statement_whose_vectors_fail_is_taken_back(app, Article, model, nested):
    with app.sessions.begin() as session:
        session.add_all(Article(id=n, text=f"t{n}", code=str(n)) for n in range(3))
    vector = vars(Article)["embedding"]
    with app.sessions() as session:
        known = session.get(Article, 1)
        if nested:
            session.begin_nested()
        session.add(Article(id=10, text="before"))
        session.flush()
        vector.embed = fails_from(model, 2)
        many = [{"id": n, "text": f"t{n}"} for n in range(100, 1600)]
        with pytest.raises(EmbedError, match=r"Article\(\d+\)\.embedding.*out of memory"):
            session.execute(sa.insert(Article), many)
        vector.embed = fails_from(model, 1)
        with pytest.raises(EmbedError):
            session.execute(sa.update(Article).values(text="all the same"))
        with pytest.raises(EmbedError):
            session.scalars(sa.insert(Article).values(id=7, text="new").returning(Article)).all()
        with pytest.raises(EmbedError):
            session.execute(
                insert_into(app, Article)
                .values(id=1, text="met")
                .on_conflict_do_update(index_elements=["id"], set_={"body_of_it": "met"})
            )
        vector.embed = model
        assert known.text == "t1"  # as it is in the database
        assert {one.id for one in session.scalars(sa.select(Article))} == {0, 1, 2, 10}
        known.lang = "de"
        session.execute(sa.update(Article).where(Article.id == 2).values(text="after"))
        session.commit()
    assert right(app, Article) == [0, 1, 2, 10]

"""What cannot be kept is refused with the name of the row, and the transaction rolls back whole."""

# ruff: noqa: N803, PT012, SIM117 (a fixture that is a class; transactions that fail at their end)
from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from requant.errors import DimensionError, ExistsError, InputError, NonFiniteError, RequantError
from requant.integration.sqlalchemy import Vector, bind
from requant.integration.sqlalchemy.orm import EmbedError, UnboundError
from tests.orm_app import DIM, Embedder, embedded, stored, vector_of


class Broken:
    """A model that fails in whatever way it is told to."""

    def __init__(self):
        self.answer = None

    def __call__(self, texts):
        if self.answer is None:
            return [vector_of(text) for text in texts]
        return self.answer(texts)


@pytest.fixture
def model():
    return Broken()


@pytest.fixture
def Article(app, model):  # noqa: N802
    class Base(DeclarativeBase):
        pass

    class Article(Base):
        __tablename__ = "articles"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]
        data: Mapped[dict | None] = mapped_column(sa.PickleType, default=None)
        embedding = Vector(DIM, document="body", metadata=("data",), embed=model)

    app.bind(Base)
    with app.sessions.begin() as session:
        session.add(Article(id=1, body="one"))
    return Article


def nothing_changed(app, Article):
    with app.sessions() as session:
        assert session.execute(sa.select(Article.id, Article.body)).all() == [(1, "one")]
    assert stored(Article.embedding.collection) == {1: embedded("one", {"data": None})}


def fail(error):
    def answer(texts):
        raise error

    return answer


FAILURES = {
    "it raises": (fail(RuntimeError("out of memory")), EmbedError, "RuntimeError: out of memory"),
    "too few": (lambda texts: np.ones((1, DIM)), InputError, "shape"),
    "too wide": (lambda texts: np.ones((len(texts), DIM + 1)), DimensionError, "5 dimensions"),
    "codes": (lambda texts: np.ones((len(texts), DIM), np.int8), InputError, "codes"),
    "nothing": (lambda texts: None, InputError, "embedding"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_model_that_fails_in_the_middle_of_a_flush(app, Article, model, failure):
    model.answer, kind, text = FAILURES[failure]
    with pytest.raises(kind, match=text) as raised, app.sessions.begin() as session:
        session.connection().execute(sa.text("UPDATE articles SET body = 'by hand'"))
        session.add_all([Article(id=2, body="two"), Article(id=3, body="three")])
    assert isinstance(raised.value, RequantError)
    assert "Article(2).embedding" in str(raised.value)
    nothing_changed(app, Article)
    model.answer = None
    with app.sessions.begin() as session:
        session.add(Article(id=2, body="two"))
    assert len(Article.embedding.collection) == 2


def test_not_a_number_is_named_by_its_row(app, Article, model):
    def answer(texts):
        rows = np.ones((len(texts), DIM))
        rows[[text == "three" for text in texts]] = np.nan
        return rows

    model.answer = answer
    with pytest.raises(NonFiniteError, match=r"Article\(3\)\.embedding"):
        with app.sessions.begin() as session:
            session.add_all([Article(id=n, body=t) for n, t in ((2, "two"), (3, "three"))])
    nothing_changed(app, Article)
    with pytest.raises(NonFiniteError, match=r"Article\(\d\)\.embedding"):
        with app.sessions.begin() as session:  # where the database is the first to know the text
            session.add_all([Article(id=2, body="two"), Article(id=3, body=sa.literal("three"))])
    nothing_changed(app, Article)
    with pytest.raises(NonFiniteError, match=r"Article\(1\)\.embedding"):
        with app.sessions.begin() as session:
            session.execute(sa.update(Article).values(body="three"))
    nothing_changed(app, Article)


def test_a_new_row_has_no_key_yet(app, Article, model):
    model.answer = fail(ValueError("no"))
    with (
        pytest.raises(EmbedError, match=r"a new Article\.embedding"),
        app.sessions.begin() as session,
    ):
        session.add(Article(body="two"))
    nothing_changed(app, Article)


@pytest.mark.parametrize(
    ("vector", "kind"),
    [([1, 2, 3], DimensionError), ([1, 2, 3, np.nan], NonFiniteError), ("text", InputError)],
)
def test_a_vector_that_is_none(app, Article, vector, kind):
    with pytest.raises(kind, match=r"Article\(1\)\.embedding"), app.sessions.begin() as session:
        article = session.get(Article, 1)
        article.body = "two"
        session.flush()
        article.embedding = vector
    nothing_changed(app, Article)


def test_values_that_cannot_be_stored(app, Article):
    for data, text in [({"a": {1, 2}}, "JSON"), ({"a": float("nan")}, "JSON"), (b"bytes", "JSON")]:
        with pytest.raises(InputError, match=rf"Article\(3\)\.embedding.*{text}"):
            with app.sessions.begin() as session:
                session.add_all([Article(id=2, body="x"), Article(id=3, body="y", data=data)])
        nothing_changed(app, Article)


def test_an_id_that_cannot_be_stored(app):
    class Base(DeclarativeBase):
        pass

    class Word(Base):
        __tablename__ = "words"
        id: Mapped[str] = mapped_column(primary_key=True)
        vector = Vector(DIM)

    app.bind(Base)
    with pytest.raises(InputError, match=r"Word\(''\)\.vector"), app.sessions.begin() as session:
        session.add_all([Word(id="a"), Word(id="")])
    assert stored(Word.vector.collection) == {}


def test_another_database(app, Article, tmp_path):
    elsewhere = sa.create_engine(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    sa.inspect(Article).registry.metadata.create_all(elsewhere)
    with (
        pytest.raises(InputError, match=r"Article\.embedding.*elsewhere"),
        app.sessions.begin() as session,
    ):
        session.bind = elsewhere
        session.add(Article(id=2, body="two"))
    with elsewhere.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM articles")).scalar() == 0
    elsewhere.dispose()
    nothing_changed(app, Article)


def test_a_detached_object(app, Article):
    with app.sessions() as session:
        article = session.get(Article, 1)
    with pytest.raises(InputError, match=r"Article\(1\)\.embedding: the object is detached"):
        _ = article.embedding
    article.embedding = [1, 2, 3, 4]  # to be written by the session that it is added to
    with app.sessions.begin() as session:
        session.add(article)
    assert stored(Article.embedding.collection)[1][2] == [1, 2, 3, 4]


def test_an_unbound_model(app):
    class Base(DeclarativeBase):
        pass

    class Note(Base):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        embedding = Vector(DIM)

    note = Note(id=1)
    with Session() as session:
        for use in (
            lambda: note.embedding,
            lambda: setattr(note, "embedding", [1, 2, 3, 4]),
            lambda: Note(embedding=[1, 2, 3, 4]),
            lambda: Note.embedding.search(session, [1, 2, 3, 4]),
            lambda: Note.embedding.nearest(session, [1, 2, 3, 4]),
            lambda: Note.embedding.sync(session),
            lambda: Note.embedding.collection,
        ):
            with pytest.raises(UnboundError, match=r"Note\.embedding is not bound.*bind\(db, Note"):
                use()
    assert repr(Note.embedding) == "<Note.embedding: 4 dimensions, cosine>"
    app.bind(Base)
    assert len(Note.embedding.collection) == 0


def test_bound_twice(app, Article):
    base = sa.inspect(Article).registry
    with pytest.raises(InputError, match=r"Article\.embedding is bound already"):
        bind(app.db, base)
    with app.sessions.begin() as session:  # the first binding stands
        session.add(Article(id=2, body="two"))
    assert len(Article.embedding.collection) == 2


def test_a_table_that_is_mapped_twice(app):
    class Base(DeclarativeBase):
        pass

    class First(Base):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        embedding = Vector(DIM)

    class Second(Base):
        __table__ = First.__table__
        embedding = Vector(DIM)

    with pytest.raises(
        InputError, match=r"Second\.embedding and First\.embedding share collection"
    ):
        app.bind(Base)
    with pytest.raises(UnboundError):
        _ = First.embedding.collection


def test_models_that_cannot_be_kept(app):
    class Base(DeclarativeBase):
        pass

    names = []

    def model(keys, vector):
        columns = {f"k{n}": mapped_column(kind, primary_key=True) for n, kind in enumerate(keys)}
        name = f"T{len(names)}"
        names.append(name)
        return type(
            name,
            (Base,),
            {"__tablename__": name, "text": mapped_column(sa.Text), **columns, "v": vector},
        )

    for keys, vector, text in [
        ([sa.Integer, sa.Integer], Vector(DIM), "composite"),
        ([sa.Date], Vector(DIM), "ids are text, integers or UUIDs"),
        ([sa.Boolean], Vector(DIM), "ids are text, integers or UUIDs"),
        ([sa.Integer], Vector(DIM, document="nothing"), "has no column 'nothing'"),
        ([sa.Integer], Vector(DIM, metadata=("text", "none")), "has no column 'none'"),
    ]:
        with pytest.raises(InputError, match=text):
            bind(app.db, [model(keys, vector)])
    with pytest.raises(InputError, match="no Vector"):
        bind(app.db, [])
    for models in (None, 7, "Base", [int]):
        with pytest.raises(InputError, match="bind takes"):
            bind(app.db, models)
    app.db.create_collection("taken", DIM + 1)
    with pytest.raises(ExistsError, match="taken"):
        bind(app.db, [model([sa.Integer], Vector(DIM, collection="taken"))])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"dim": 0}, "dim"), ({"dim": True}, "dim"), ({"dim": "4"}, "dim"),
        ({"dim": 4, "metric": "dot"}, "metric"), ({"dim": 4, "collection": "../x"}, "collection"),
        ({"dim": 4, "metadata": "lang"}, "metadata"),
        ({"dim": 4, "embed": Embedder()}, "document="),
    ],
)  # fmt: skip
def test_a_vector_that_cannot_be(arguments, text):
    with pytest.raises(InputError, match=text):
        Vector(**arguments)

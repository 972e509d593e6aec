"""Models of every make: keys, inheritance, dataclasses, SQLModel, several databases."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from typing import Optional

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)
from sqlmodel import Field, SQLModel
from sqlmodel import Session as SQLModelSession

import requant
from requant.integration.sqlalchemy import Vector, bind, follow_deletes
from tests.orm_app import DIM, Embedder, embedded, stored, vector_of

QUERY = [1, -1, 0.5, 2]


def fresh():
    class Base(DeclarativeBase):
        pass

    return Base


class Colour(enum.Enum):
    RED = "red"


def test_keys_and_metadata_of_every_kind(app):
    base = fresh()

    class Thing(base):
        __tablename__ = "things"
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
        text: Mapped[str]
        day: Mapped[datetime.date]
        price: Mapped[decimal.Decimal] = mapped_column(sa.Numeric(10, 2))
        colour: Mapped[Colour]
        other: Mapped[uuid.UUID]
        data: Mapped[dict] = mapped_column(sa.JSON)
        vector = Vector(
            DIM,
            document="text",
            metadata=("day", "price", "colour", "other", "data"),
            embed=Embedder(),
        )

    class Word(base):
        __tablename__ = "words"
        id: Mapped[str] = mapped_column(primary_key=True)
        vector = Vector(DIM, metric="l2")

    app.bind(base)
    other = uuid.uuid4()
    with app.sessions() as session:
        thing = Thing(
            text="x", day=datetime.date(2024, 5, 1), price=decimal.Decimal("1.50"),
            colour=Colour.RED, other=other, data={"a": [1, None]},
        )  # fmt: skip
        session.add_all([thing, Word(id="7"), Word(id="ü'; --", vector=[1, 2, 3, 4])])
        session.commit()
        metadata = {
            "day": "2024-05-01", "price": "1.50", "colour": "red", "other": str(other),
            "data": {"a": [1, None]},
        }  # fmt: skip
        assert stored(Thing.vector.collection) == {thing.id: embedded("x", metadata)}
        assert stored(Word.vector.collection) == {
            "7": (None, None, None), "ü'; --": (None, None, [1, 2, 3, 4])
        }  # fmt: skip
        assert Thing.vector.search(session, "x", 1)[0].object is thing
        near = Thing.vector.nearest(session, "x", where=Thing.id == thing.id)
        assert session.scalars(sa.select(Thing).join(near, near.c.id == Thing.id)).one() is thing
        assert [one.object.id for one in Word.vector.search(session, [1, 2, 3, 4])] == ["ü'; --"]
        session.get(Word, "7").vector = [0, 0, 0, 1]
        session.commit()
        assert session.get(Word, "7").vector.tolist() == [0, 0, 0, 1]
        assert Thing.vector.sync(session) == Word.vector.sync(session) == (0, 0)


def test_single_table_inheritance(app):
    base = fresh()

    class Employee(base):
        __tablename__ = "employees"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        bio: Mapped[str]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "employee"}  # noqa: RUF012
        embedding = Vector(DIM, document="bio", metadata=("kind",), embed=Embedder())

    class Manager(Employee):
        __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012
        speech: Mapped[str | None]
        voice = Vector(DIM, document="speech", embed=Embedder())

    app.bind(base)
    check_inheritance(app, Employee, Manager)
    with app.sessions() as session:
        session.execute(sa.update(Employee).values(bio="new"))
        session.execute(sa.update(Manager).values(speech="s"))
        session.commit()
        assert {row[0] for row in stored(Employee.embedding.collection).values()} == {"new"}
        assert {row[0] for row in stored(Manager.voice.collection).values()} == {"s"}
        assert len(Manager.voice.collection) == 10
        session.execute(sa.delete(Employee).where(Employee.id < 10))
        session.commit()
        assert len(Manager.voice.collection) == 5
        assert len(Employee.embedding.collection) == 10


def test_joined_inheritance(app):
    base = fresh()

    class Employee(base):
        __tablename__ = "employees"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        bio: Mapped[str]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "employee"}  # noqa: RUF012
        embedding = Vector(DIM, document="bio", metadata=("kind",), embed=Embedder())

    class Manager(Employee):
        __tablename__ = "managers"
        manager_id: Mapped[int] = mapped_column(
            sa.ForeignKey("employees.id", ondelete="CASCADE"), primary_key=True
        )
        speech: Mapped[str | None]
        __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012
        voice = Vector(DIM, document="speech", metadata=("bio",), embed=Embedder())

    app.bind(base)
    check_inheritance(app, Employee, Manager)
    with app.engine.begin() as connection:
        follow_deletes(connection, Manager.voice)
        connection.execute(sa.delete(Manager.__table__).where(Manager.__table__.c.manager_id < 5))
    assert len(Manager.voice.collection) == len([n for n in range(20) if n % 2 and n >= 5])
    with app.sessions.begin() as session:
        session.add(Manager(id=100, bio="hundred", speech="s100"))
        session.flush()
        # SQLAlchemy deletes the row of the subclass alone.
        session.execute(sa.delete(Manager).where(Manager.speech == "s100"))
    assert stored(Employee.embedding.collection)[100] == embedded("hundred", {"kind": "manager"})
    assert 100 not in stored(Manager.voice.collection)


def check_inheritance(app, Employee, Manager):  # noqa: N803
    with app.sessions() as session:
        session.add_all(
            (Manager if n % 2 else Employee)(
                id=n, bio=f"bio {n}", **({"speech": f"s{n}"} if n % 2 else {})
            )
            for n in range(20)
        )
        session.commit()
        assert Employee.embedding.collection is Manager.embedding.collection
        assert stored(Employee.embedding.collection) == {
            n: embedded(f"bio {n}", {"kind": "manager" if n % 2 else "employee"}) for n in range(20)
        }
        assert {row[0] for row in stored(Manager.voice.collection).values()} == {
            f"s{n}" for n in range(1, 20, 2)
        }
        every = Employee.embedding.search(session, QUERY, 20)
        assert len(every) == 20
        managers = Manager.embedding.search(session, QUERY, 20)
        assert [one for one in every if isinstance(one.object, Manager)] == managers
        some = Manager.embedding.search(session, QUERY, 20, where=Employee.id < 8)
        assert [one for one in managers if one.object.id < 8] == some
        assert session.get(Employee, 3).embedding.tolist() == vector_of("bio 3").tolist()
        assert session.get(Employee, 3).voice.tolist() == vector_of("s3").tolist()
        assert Employee.embedding.sync(session) == Manager.voice.sync(session) == (0, 0)
        session.rollback()


def test_concrete_inheritance(app):
    base = fresh()

    class Employee(ConcreteBase, base):
        __tablename__ = "employees"
        id: Mapped[int] = mapped_column(primary_key=True)
        bio: Mapped[str]
        __mapper_args__ = {"polymorphic_identity": "employee", "concrete": True}  # noqa: RUF012
        embedding = Vector(DIM, document="bio", embed=Embedder())

    class Manager(Employee):
        __tablename__ = "managers"
        id: Mapped[int] = mapped_column(primary_key=True)
        bio: Mapped[str]
        __mapper_args__ = {"polymorphic_identity": "manager", "concrete": True}  # noqa: RUF012

    app.bind(base)
    with app.sessions() as session:
        session.add_all([Employee(id=1, bio="one"), Manager(id=1, bio="two")])
        session.commit()
        assert stored(Employee.embedding.collection) == {1: embedded("one")}
        assert stored(Manager.embedding.collection) == {1: embedded("two")}
        (found,) = Manager.embedding.search(session, "two")
        assert isinstance(found.object, Manager)
        (found,) = Employee.embedding.search(session, "two")
        assert type(found.object) is Employee
        assert Employee.embedding.sync(session) == Manager.embedding.sync(session) == (0, 0)


def test_dataclasses(app):
    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    class Note(Base):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(init=False, primary_key=True)
        text: Mapped[str]
        embedding = Vector(DIM, document="text", embed=Embedder())

    app.bind(Base)
    with app.sessions() as session:
        note = Note("one")
        session.add(note)
        session.commit()
        assert repr(note).endswith(f"Note(id={note.id}, text='one')")
        note.embedding = [1, 2, 3, 4]
        session.commit()
        assert stored(Note.embedding.collection) == {note.id: ("one", None, [1, 2, 3, 4])}


@pytest.fixture
def clean_sqlmodel():
    yield
    SQLModel._sa_registry.dispose()
    SQLModel.metadata.clear()


@pytest.mark.usefixtures("clean_sqlmodel")
def test_sqlmodel(app):
    class Hero(SQLModel, table=True):
        id: Optional[int] = Field(default=None, primary_key=True)  # noqa: UP045
        name: str
        story: str
        embedding = Vector(DIM, document="story", metadata=("name",), embed=Embedder())

    class Tag(SQLModel, table=True):
        id: str = Field(primary_key=True)
        embedding = Vector(DIM)

    app.bind(SQLModel, sessions=SQLModelSession)
    with SQLModelSession(app.engine) as session:
        hero, tag = Hero(name="A", story="one"), Tag(id="x")
        tag.embedding = [1, 2, 3, 4]
        session.add_all([hero, tag])
        session.commit()
        assert stored(Hero.embedding.collection) == {hero.id: embedded("one", {"name": "A"})}
        hero.embedding = [4, 3, 2, 1]
        session.add(hero)
        session.commit()
        session.refresh(hero)
        assert hero.embedding.tolist() == [4, 3, 2, 1]
        assert (
            Hero.embedding.search(session, [4, 3, 2, 1], where=Hero.name == "A")[0].object is hero
        )
        assert Tag.embedding.search(session, [1, 2, 3, 4])[0].object is tag
        assert "embedding" not in hero.model_dump()
        with app.engine.begin() as connection:
            follow_deletes(connection, Tag.embedding)


def test_several_vectors_and_a_mixin(app):
    base = fresh()

    class Embedded:
        embedding = Vector(DIM, document="text", embed=Embedder())

    class Post(Embedded, base):
        __tablename__ = "posts"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        text: Mapped[str]
        of_title = Vector(DIM, metric="ip", collection="titles", document="title", embed=Embedder())
        by_hand = Vector(2, metric="l2")

    class Comment(Embedded, base):
        __tablename__ = "comments"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]

    app.bind(base)
    assert app.db.collections() == [
        "comments_embedding",
        "posts_by_hand",
        "posts_embedding",
        "titles",
    ]
    with app.sessions() as session:
        post = Post(id=1, title="a", text="b", by_hand=[1, 2])
        session.add_all([post, Comment(id=1, text="c")])
        session.commit()
        assert stored(Post.embedding.collection) == {1: embedded("b")}
        assert stored(Post.of_title.collection) == {1: embedded("a")}
        assert stored(Post.by_hand.collection) == {1: (None, None, [1, 2])}
        assert stored(Comment.embedding.collection) == {1: embedded("c")}
        session.execute(sa.delete(Post))
        session.commit()
    assert not any(len(app.db.collection(name)) for name in app.db.collections()[1:])


def test_models_that_are_mapped_later(app):
    base = fresh()
    app.bind(base)

    class Late(base):
        __tablename__ = "late"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]
        embedding = Vector(DIM, document="text", embed=Embedder())

    base.metadata.create_all(app.engine)
    with app.sessions() as session:
        session.add(Late(id=1, text="one"))
        session.commit()
        assert stored(Late.embedding.collection) == {1: embedded("one")}


def test_several_databases_in_one_session(app, tmp_path):
    ours, theirs = fresh(), fresh()

    def model(base):
        class Note(base):
            __tablename__ = "notes"
            id: Mapped[int] = mapped_column(primary_key=True)
            text: Mapped[str]
            embedding = Vector(DIM, document="text", embed=Embedder())

        return Note

    here, there = model(ours), model(theirs)
    elsewhere = sa.create_engine(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    theirs.metadata.create_all(elsewhere)
    app.sessions.configure(binds={ours: app.engine, theirs: elsewhere}, bind=None)
    app.bind(ours)
    with requant.open(elsewhere) as db:
        binding = bind(db, theirs, app.sessions)
        with app.sessions() as session:
            session.add_all([here(id=1, text="here"), there(id=1, text="there")])
            session.commit()
            assert stored(here.embedding.collection) == {1: embedded("here")}
            assert stored(there.embedding.collection) == {1: embedded("there")}
            assert there.embedding.search(session, "there")[0].object.text == "there"
            assert here.embedding.search(session, "here")[0].object.text == "here"
        binding.unbind()
    elsewhere.dispose()


@pytest.mark.parametrize("kind", ["all", "class", "scoped", "one"])
def test_which_sessions_are_followed(app, kind):
    base = fresh()

    class Note(base):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]
        embedding = Vector(DIM, document="text", embed=Embedder())

    class Mine(Session):
        pass

    scoped = scoped_session(sessionmaker(app.engine))
    one = Mine(app.engine)
    sessions = {"all": None, "class": Mine, "scoped": scoped, "one": one}[kind]
    app.bind(base, sessions=sessions)
    every = [Session(app.engine), Mine(app.engine), scoped(), one]
    for number, session in enumerate(every):
        session.add(Note(id=number, text="x"))
        session.commit()
        session.close()
    scoped.remove()
    want = {"all": [0, 1, 2, 3], "class": [1, 3], "scoped": [2], "one": [3]}[kind]
    assert sorted(stored(Note.embedding.collection)) == want
    assert np.array_equal(vector_of("x"), Note.embedding.collection.vectors(want)[0])

"""Who is beside a move: older handles, what is indexed meanwhile, deletes, and who waits."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import requant
from requant.errors import ExistsError, UnknownCollectionError
from requant.integration.sqlalchemy import Vector, bind, follow_deletes
from requant.store.gate import CLOSING
from tests.reembedding import NEW, OLD, filled


@pytest.fixture
def postgres(empty_postgres, tmp_path):
    with requant.open(empty_postgres, folder=tmp_path / "indexes") as db:
        yield db


def test_an_older_handle_changes_no_index(any_db, tmp_path):
    notes = filled(any_db, 20)
    notes.add_index("main", engine="faiss", precision="int8")
    notes.add_index("small", engine="faiss", precision="int4")
    notes.migrate("moved", engine="faiss", precision="int8", switch=False)
    url = any_db.engine.url.render_as_string(hide_password=False)
    with requant.open(url, folder=tmp_path / "more") as other:
        theirs = other.collection("notes")
        notes.reembed(NEW)
        for use in (
            lambda: theirs.use_index("small"), lambda: theirs.drop_index("small"),
            lambda: theirs.migrate("more", engine="faiss", precision="int4"),
            lambda: theirs.rollback(), lambda: theirs.shadow("moved", 0.5),
            lambda: theirs.migrations, lambda: theirs.origins,
            lambda: theirs.note_origin("x", "file", "exact"),
            lambda: theirs.attach_index("its", location=tmp_path / "its.faiss"),
        ):  # fmt: skip
            with pytest.raises(UnknownCollectionError, match="ask the database for it again"):
                use()
    before = any_db.collection("notes.before")
    assert {info.name: info.active for info in before.indexes} == {
        "main": True, "small": False, "moved": False,
    }  # fmt: skip
    assert before.origins == []


def test_what_is_indexed_meanwhile_is_carried(any_db):
    notes = filled(any_db, 20, index_fields=["n", "even"])
    notes.index_field("at", kind="datetime")
    notes.reembed(NEW, switch=False)
    new = any_db.collection("notes.reembed")
    new.unindex_field("at")  # as who was killed before it was there
    notes.index_field("later")
    notes.unindex_field("even")
    notes.index_text("porter")

    def indexing(texts):
        if not [one for one in notes.fields if one.name == "last"]:
            notes.index_field("last")
        return NEW.encoder(texts)

    notes.upsert([1], documents=["the one"])
    notes.reembed(requant.Model("acme/new", indexing, "r2"))
    assert {one.name: one.kind for one in notes.fields} == {
        "n": None, "at": "datetime", "later": None, "last": None,
    }  # fmt: skip
    assert len(notes.search_documents("the OR of", 5)) == 5
    notes.unindex_field("later")
    notes.unindex_text()
    notes.index_field("even")
    notes.rollback_reembed(OLD)
    assert {one.name for one in notes.fields} == {"n", "at", "last", "even"}
    assert not notes.full_text


def test_names_that_are_taken_are_told_before_anything_is_embedded(db):
    notes = filled(db, 20)
    db.create_collection("notes.before", 2)
    with pytest.raises(ExistsError, match=r"drop_collection\('notes.before'\)"):
        notes.reembed(requant.Model("acme/new", None))
    assert notes.reembedding is None
    notes.reembed(NEW, switch=False)
    db.drop_collection("notes.before")
    notes.reembed(NEW)
    db.create_collection("notes.reembed", 2)
    with pytest.raises(ExistsError, match=r"drop_collection\('notes.reembed'\)"):
        notes.rollback_reembed(OLD)
    assert db.collections() == ["notes", "notes.before", "notes.reembed"]


def test_dropped_while_it_is_built_it_ends(any_db):
    notes = filled(any_db, 20)

    def dropping(texts):
        if len(any_db.collection("notes.reembed") if calls else ()) >= 8:
            any_db.drop_collection("notes.reembed")
        calls.append(len(texts))
        return NEW.encoder(texts)

    calls = []
    with pytest.raises(UnknownCollectionError, match="was dropped meanwhile"):
        notes.reembed(requant.Model("acme/new", dropping, "r2"), batch=4)
    assert any_db.collections() == ["notes"]
    assert notes.reembed(NEW).state == "switched"


def test_to_drop_the_old_one_lets_the_new_one_be(db):
    notes = filled(db, 20)
    notes.add_index("main", engine="faiss", precision="int8")
    notes.reembed(NEW)
    notes.search_text("x")
    told = []
    notes.let_go = lambda: told.append(notes.name)
    db.drop_collection("notes.before")
    assert told == []


def test_rows_deleted_at_the_switch_are_deleted(postgres):
    class Base(DeclarativeBase):
        pass

    class Row(Base):
        __tablename__ = "rows"
        id: Mapped[int] = mapped_column(primary_key=True)
        embedding = Vector(2, collection="notes")

    Base.metadata.create_all(postgres.engine)
    binding = bind(postgres, Base)
    with sa.orm.Session(postgres.engine) as session, session.begin():
        session.add_all([Row(id=n, embedding=np.ones(2)) for n in (1, 2)])
    with postgres.engine.begin() as connection:
        follow_deletes(connection, Row.embedding)
    after = postgres.create_collection("after", 2)
    after.upsert([1, 2], np.ones((2, 2)))
    failed = []

    def delete():
        try:
            with postgres.engine.begin() as connection:
                connection.execute(sa.text("DELETE FROM rows WHERE id = 1"))
        except Exception as error:
            failed.append(error)

    deleting = threading.Thread(target=delete)
    rename = sa.text("UPDATE requant_collections SET name = :to WHERE name = :name")
    with postgres.engine.begin() as connection:
        connection.execute(
            sa.text(f"SELECT {CLOSING} FROM requant_collections WHERE name = 'notes'")
        )
        for name, to in (("notes", "before"), ("after", "notes")):
            connection.execute(rename, {"name": name, "to": to})
        deleting.start()
        time.sleep(0.3)  # it waits
    deleting.join()
    binding.unbind()
    assert failed == []
    assert [item.id for item in postgres.collection("notes").iter()] == [2]
    assert [item.id for item in postgres.collection("before").iter()] == [1, 2]


@pytest.mark.parametrize("what", ["index", "unindex", "drop"])
def test_a_text_index_and_a_writer_do_not_wait_for_each_other(postgres, what):
    one = postgres.create_collection("one", 2)
    two = postgres.create_collection("two", 2, full_text=what != "index")
    verbs = {
        "index": two.index_text, "unindex": two.unindex_text,
        "drop": lambda: postgres.drop_collection("two"),
    }  # fmt: skip
    failed = []

    def go():
        try:
            verbs[what]()
        except Exception as error:
            failed.append(error)

    going = threading.Thread(target=go)
    with postgres.engine.begin() as connection:
        one.upsert([1], [[1, 2]], ["one"], connection=connection)
        going.start()
        time.sleep(0.3)  # it waits for the table of items
        two.upsert([2], [[1, 2]], ["two"], connection=connection)
    going.join()
    assert failed == []
    if what == "index":
        assert [hit.id for hit in two.search_documents("two")] == [2]

"""Searches by words alone in one statement, and what texts are written by without another one."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest
import sqlalchemy as sa

import requant
from requant.errors import OtherModelError, StoreError, UnknownCollectionError, UnsupportedError
from requant.store.contents.items import ItemWriter
from tests.databases import vectors
from tests.inside import NOTED_JUST_NOW
from tests.test_store_postgresql import cut_all, observer
from tests.test_text_search import DOCUMENTS, FOUND, filled, ids

EVERYTHING = {"first": {"$exists": True}}


@pytest.fixture
def statements(monkeypatch):
    """What psycopg is given to execute from now on."""
    executed = []
    execute = psycopg.Cursor.execute

    def noting(self, statement, *given, **options):
        executed.append(statement)
        return execute(self, statement, *given, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", noting)
    return executed


@pytest.mark.parametrize("full_text", ["unicode", "porter", "trigram"])
def test_answers_are_those_of_other_searches(any_db, full_text):
    notes = filled(any_db, full_text)
    for query in [*FOUND, "run", "the", "ca", "nowhere"]:
        for options in ({}, {"k": 1}, {"min_score": 0.1}, {"fields": ("metadata",)}):
            found = notes.search_documents(query, **options)
            assert found == notes.search_documents(query, where=EVERYTHING, **options)


def test_an_index_that_somebody_else_changes(any_db, tmp_path):
    notes = filled(any_db)
    with requant.open(any_db.engine, folder=tmp_path / "others") as others:
        same = others.collection("notes")
        for found, change in (
            ("", lambda: same.index_text(tokenizer="porter")),
            ("d", same.unindex_text),
        ):
            for _ in range(3):
                assert ids(notes.search_documents("run")) == found
            if not found:
                same.unindex_text()
            change()
        for _ in range(3):
            with pytest.raises(UnsupportedError, match="not indexed by words"):
                notes.search_documents("run")
        same.index_text()
        for _ in range(3):
            assert ids(notes.search_documents("cat")) == "ac"
        others.drop_collection("notes")
        with pytest.raises(UnknownCollectionError):
            notes.search_documents("cat")
        filled(others)
        with pytest.raises(UnknownCollectionError):  # another one of that name
            notes.search_documents("cat")


def test_one_statement_and_no_transaction(empty_postgres, tmp_path, statements):
    with requant.open(empty_postgres, folder=tmp_path) as db:
        notes = filled(db)
        for _ in range(3):
            notes.search_documents("cat")
        for query in ("cat", "black AND cat", '"hot do"*', "CAFÉ", "black -cat"):
            statements.clear()
            assert ids(notes.search_documents(query)) == FOUND[query]
            assert len(statements) == 1
        with observer(empty_postgres) as other:
            states = other.execute(
                "SELECT DISTINCT state FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
        assert states == [("idle",)]


def test_a_connection_that_was_cut_is_made_again(empty_postgres, tmp_path):
    with requant.open(empty_postgres, folder=tmp_path) as db:
        notes = filled(db)
        for _ in range(3):
            assert ids(notes.search_documents("cat")) == "ac"
        cut_all(empty_postgres)
        assert ids(notes.search_documents("cat")) == "ac"
        assert ids(notes.search_documents("cat")) == "ac"


def test_it_is_in_no_way_of_transactions_that_are_serializable(empty_postgres, tmp_path):
    """A statement that begins nothing would be one of them where that is the server's default."""
    with requant.open(empty_postgres, folder=tmp_path / "before") as db:
        filled(db)
    with observer(empty_postgres) as other:
        other.execute("ALTER ROLE requant SET default_transaction_isolation = 'serializable'")
    engine = sa.create_engine(empty_postgres)
    try:
        with (
            requant.open(engine, folder=tmp_path / "after") as db,
            engine.connect() as app,  # beside which what others have read is remembered
        ):
            notes = db.collection("notes")
            app.exec_driver_sql("SELECT 1")
            app.exec_driver_sql("SELECT count(*) FROM pg_catalog.pg_class")
            for _ in range(3):
                assert ids(notes.search_documents("cat")) == "ac"
            with observer(empty_postgres) as other:
                held = "SELECT count(*) FROM pg_locks WHERE mode = 'SIReadLock' AND pid <> %s"
                pid = app.exec_driver_sql("SELECT pg_backend_pid()").scalar()
                assert other.execute(held, (pid,)).fetchone() == (0,)
    finally:
        engine.dispose()
        with observer(empty_postgres) as other:
            other.execute("ALTER ROLE requant RESET default_transaction_isolation")


def test_what_is_written_gets_a_number_from_those_who_search_by_words(empty_postgres, tmp_path):
    with requant.open(empty_postgres, folder=tmp_path) as db:
        notes = filled(db)
        for _ in range(3):
            notes.search_documents("cat")
        for start in range(0, 1500, 500):
            with requant.open(empty_postgres, folder=tmp_path / "writer") as writer:
                # So few at a time that whoever writes leaves it to others.
                writer.collection("notes").upsert(range(start, start + 500), vectors(500))
        for _ in range(300):
            notes.search_documents("cat")
        with observer(empty_postgres) as other:
            assert other.execute("SELECT count(*) FROM requant_writes").fetchone() == (0,)


def test_an_error_of_the_database_is_told(any_db):
    notes = filled(any_db)
    for _ in range(3):
        assert ids(notes.search_documents("cat")) == "ac"
    with any_db.engine.begin() as connection:  # what `verify` tells of
        connection.exec_driver_sql("DROP TABLE requant_text_1")
    for _ in range(2):
        with pytest.raises(StoreError, match="requant_text_1"):
            notes.search_documents("cat")
    assert len(notes) == len(DOCUMENTS)


def test_texts_are_upserted_by_as_many_statements_as_vectors(empty_postgres, tmp_path, statements):
    with requant.open(empty_postgres, folder=tmp_path) as db:
        notes = db.create_collection("notes", 8)
        counts = []
        for n, size in enumerate((1, 20)):
            for write in (
                lambda names: notes.upsert(names, vectors(len(names)), names),
                lambda names: notes.upsert_texts(names, names, lambda texts: vectors(len(texts))),
            ):
                for again in range(2):  # new, and stored
                    statements.clear()
                    write([f"{n} {write} {i}" for i in range(size)])
                    counts.append((size, again, len(statements)))
        assert counts[:2] == counts[2:4]
        assert counts[4:6] == counts[6:8]


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])  # by one statement, and by several
def test_who_waits_for_another_writer_looks_at_the_model_again(empty_postgres, tmp_path, names):
    with requant.open(empty_postgres, folder=tmp_path) as db:
        notes, outcomes = db.create_collection("notes", 8), []

        def write():
            try:
                notes.upsert_texts(names, names, lambda texts: vectors(len(texts)))
            except OtherModelError as error:
                outcomes.append(error)

        with db.engine.connect() as app, app.begin():
            notes.upsert(["a"], vectors(1), connection=app)
            waiting = threading.Thread(target=write)
            waiting.start()
            with observer(empty_postgres) as other:
                waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                while other.execute(waits).fetchone() == (0,):
                    time.sleep(0.01)
            other = threading.Thread(target=notes.set_model, args=("acme/one",))  # not itself
            other.start()
            other.join()
            time.sleep(0.03)
        waiting.join()
        assert len(outcomes) == 1


def test_a_model_that_is_set_meanwhile_stays(empty_postgres, tmp_path, monkeypatch):
    with requant.open(empty_postgres, folder=tmp_path) as db:
        notes = db.create_collection("notes", 8, model="acme/one")  # not known to be normalised
        upsert = ItemWriter.upsert

        def meanwhile(*given):
            added = upsert(*given)
            other = threading.Thread(target=notes.set_model, args=("acme/two",))
            other.start()
            other.join()
            return added

        monkeypatch.setattr(ItemWriter, "upsert", meanwhile)
        monkeypatch.setattr(NOTED_JUST_NOW, 60)  # however slow this machine is
        with pytest.raises(OtherModelError):
            notes.upsert_texts(
                ["a"], ["text"], requant.Model("acme/one", lambda texts: vectors(len(texts)))
            )
        assert notes.model.name == "acme/two"
        assert len(notes) == 0


def test_two_that_write_first_both_do(empty_postgres, tmp_path):
    """Both note whether the vectors of the model that was named are normalised."""
    model = requant.Model("acme/one", lambda texts: vectors(len(texts)))
    with requant.open(empty_postgres, folder=tmp_path) as db:
        notes = db.create_collection("notes", 8, model="acme/one")
        other = threading.Thread(target=notes.upsert_texts, args=(["b"], ["text"], model))
        with db.engine.connect() as app, app.begin():
            notes.upsert_texts(["a"], ["text"], model, connection=app)
            other.start()
            with observer(empty_postgres) as seen:
                waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                while seen.execute(waits).fetchone() == (0,):
                    time.sleep(0.01)
        other.join()  # an error in a thread is one of the test
        assert sorted(notes.ids()) == ["a", "b"]

"""The words of documents are kept in step, whoever writes; backups and drops take them along."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import requant
from requant.errors import ExistsError, InputError, StoreError, UnsupportedError
from requant.integration.sqlalchemy import add_tables, include_object
from tests import inside
from tests.databases import fresh_schema, vectors

N = 300


def words(n):
    return f"same w{n:04} {'even' if n % 2 == 0 else 'odd'}"


def filled(db, name="notes", **options):
    notes = db.create_collection(name, 8, **options)
    notes.upsert(range(N), vectors(N), [words(n) for n in range(N)])
    return notes


def is_in_step(notes):
    """Every word finds exactly the documents that have it, and `verify` agrees."""
    have = {}
    for item in notes.iter(vectors=False):
        for word in set((item.document or "").split()):
            have.setdefault(word, set()).add(item.id)
    for word in {"same", "even", "odd", "new", *list(have)[:20]}:
        found = {hit.id for hit in notes.search_documents(word, 10_000)}
        assert found == have.get(word, set()), word
    report = notes.verify(deep=True)
    assert report.ok, report.problems
    assert "text index: every word" in report.checked


def test_every_way_to_write(any_db):
    notes = filled(any_db, full_text=True)
    filled(any_db, "others")
    is_in_step(notes)
    notes.upsert([0, N], documents=["new one", "new two"])  # many
    notes.upsert([1], vectors(1), ["new three"])  # one that is there
    notes.upsert([N + 1], vectors(1), ["new four"])  # one that is not
    notes.upsert([2], vectors(1))  # its document stays
    notes.upsert([3, 4], documents=[None, "new five"])
    notes.add([N + 2], documents=["new six"])
    notes.upsert(range(100, 200), documents=[f"new n{n:03}" for n in range(100)])
    notes.update([5, 6], documents=["new seven", None])
    notes.update(where={"$id": 7}, metadata={"a": 1})
    notes.upsert_many({"id": 1000 + n, "document": f"new same n{n:03}"} for n in range(50))
    is_in_step(notes)
    notes.delete([0, 100, 101, 3])
    notes.delete(where={"$id": {"$in": [1, 2]}})
    is_in_step(notes)
    notes.clear()
    is_in_step(notes)
    notes.upsert(["z"], documents=["new again"])
    is_in_step(notes)
    any_db.drop_collection("others")
    is_in_step(notes)


def test_a_transaction_finds_its_own_words(any_db):
    notes = filled(any_db, full_text=True)
    with any_db.engine.connect() as connection:
        notes.upsert([0, "x"], documents=["new words", "new ones"], connection=connection)
        notes.delete([2], connection=connection)
        mine = {hit.id for hit in notes.search_documents("new", connection=connection)}
        assert mine == {0, "x"}
        assert notes.search_documents("w0002", connection=connection) == []
        hybrid = notes.search_hybrid("new", vectors(1)[0], 20, connection=connection)
        assert {hit.id for hit in hybrid if hit.ranks.text} == {0, "x"}
        assert notes.search_documents("new") == []
        assert len(notes.search_documents("w0002")) == 1
        connection.rollback()
    is_in_step(notes)
    with Session(any_db.engine) as session:
        made = any_db.create_collection("made", 8, full_text=True, connection=session)
        made.upsert(["a"], documents=["cat"], connection=session)
        assert made.search_documents("cat", connection=session)[0].id == "a"
        session.commit()
    assert any_db.collection("made").search_documents("cat")[0].id == "a"


@pytest.mark.parametrize("tokenizer", ["unicode", "porter", "trigram"])
def test_indexed_later(any_db, tokenizer, monkeypatch):
    monkeypatch.setattr(inside.TEXT_ITEMS, 50)
    notes, seen = filled(any_db), []
    assert not notes.full_text

    def write(done, total):
        seen.append((done, total))
        if len(seen) == 2:  # what is indexed already, what is not yet, and what is new
            notes.upsert([1, 250, N], documents=["new", "new", "new same"])
            notes.delete([2, 251])
            notes.upsert([3, 252], documents=[None, None])
            with pytest.raises(UnsupportedError, match="not whole yet"):
                notes.search_documents("same")

    notes.index_text(tokenizer, progress=write)
    assert len(seen) > 3
    assert seen[-1] == (N + 1, N + 1)
    assert notes.full_text
    is_in_step(notes)
    notes.index_text(tokenizer)  # nothing is done
    with pytest.raises(ExistsError, match="unindex_text first"):
        notes.index_text("porter" if tokenizer == "unicode" else "unicode")
    notes.unindex_text()
    assert not notes.full_text
    notes.upsert([9], documents=["later"])
    notes.index_text("unicode")
    is_in_step(notes)


def test_an_interrupted_build_goes_on(any_db, monkeypatch):
    monkeypatch.setattr(inside.TEXT_ITEMS, 50)
    notes = filled(any_db)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        notes.index_text(progress=stop)
    assert not notes.full_text
    assert notes.verify(deep=True).ok
    notes.delete([1, 200])
    notes.upsert([2, 201], documents=["new", "new"])
    notes.index_text()
    is_in_step(notes)


def test_two_build_at_once(any_db, monkeypatch):
    monkeypatch.setattr(inside.TEXT_ITEMS, 20)
    notes = filled(any_db)
    threads = [threading.Thread(target=notes.index_text) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    is_in_step(notes)


def test_of_a_collection_that_is_there(any_db):
    filled(any_db)
    notes = any_db.create_collection("notes", 8, exist_ok=True, full_text="porter")
    is_in_step(notes)
    any_db.create_collection("notes", 8, exist_ok=True, full_text="porter")
    any_db.create_collection("notes", 8, exist_ok=True)
    with pytest.raises(ExistsError, match="tokenizer='porter'"):
        any_db.create_collection("notes", 8, exist_ok=True, full_text=True)
    for wrong in ("klingon", 1, None, []):
        with pytest.raises(InputError, match="unknown tokenizer"):
            any_db.create_collection("more", 8, full_text=wrong)
    assert any_db.collections() == ["notes"]
    with any_db.engine.connect() as connection, pytest.raises(InputError, match="call index_text"):
        any_db.create_collection(
            "notes", 8, exist_ok=True, full_text="trigram", connection=connection
        )


def test_nothing_is_left_of_what_is_dropped(any_db):
    def names():
        with any_db.engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                text = "SELECT name FROM sqlite_master"
            else:
                text = (
                    "SELECT relname FROM pg_class UNION SELECT proname FROM pg_proc UNION "
                    "SELECT tgname FROM pg_trigger UNION SELECT cfgname FROM pg_ts_config UNION "
                    "SELECT dictname FROM pg_ts_dict"
                )
            return {name for (name,) in connection.execute(sa.text(text)) if "text" in name}

    before = names()
    for tokenizer in ("unicode", "porter", "trigram"):
        filled(any_db, full_text=tokenizer)
        assert names() > before
        any_db.drop_collection("notes")
        assert names() == before
    with any_db.engine.connect() as connection, connection.begin() as transaction:
        any_db.create_collection("gone", 8, full_text=True, connection=connection)
        transaction.rollback()
    assert names() == before
    assert filled(any_db, full_text=True).search_documents("w0001")[0].id == 1


@pytest.mark.parametrize("tokenizer", ["unicode", "porter", "trigram"])
def test_a_backup_is_restored_with_its_words(any_db, tokenizer, tmp_path, postgres_url):
    filled(any_db, full_text=tokenizer)
    filled(any_db, "plain")
    any_db.backup(tmp_path / "all.backup")
    with requant.open(tmp_path / "again.requant") as db:
        filled(db, "before", full_text=True)
    tables = add_tables(sa.MetaData(), prefix="app_")
    for target, options in (
        (tmp_path / "again.requant", {}),
        (tmp_path / "prefixed.requant", {"tables": tables}),
    ):
        requant.restore(tmp_path / "all.backup", target, overwrite=True, **options)
        with requant.open(target, **options) as db:
            is_in_step(db.collection("notes"))
            assert not db.collection("plain").full_text
            db.collection("notes").upsert([0], documents=["new"])
            is_in_step(db.collection("notes"))
    any_db.close()
    fresh_schema(postgres_url)
    with requant.open(postgres_url, folder=tmp_path / "x") as db:
        filled(db, "before", full_text=True)
        filled(db, "second", full_text="trigram")
    requant.restore(tmp_path / "all.backup", postgres_url, overwrite=True, folder=tmp_path / "x")
    with requant.open(postgres_url, folder=tmp_path / "x") as db:
        is_in_step(db.collection("notes"))
        db.collection("notes").upsert([0], documents=["new"])
        is_in_step(db.collection("notes"))
    fresh_schema(postgres_url)


def test_verify_says_what_is_out_of_step(any_db):
    notes = filled(any_db, full_text=True)
    items, number = "requant_items", 1
    sqlite = any_db.engine.dialect.name == "sqlite"
    on = "" if sqlite else f" ON {items}"
    with any_db.engine.begin() as connection:
        connection.exec_driver_sql(f'DROP TRIGGER "requant_text_{number}_delete"{on}')
        connection.exec_driver_sql(f'DROP TRIGGER "requant_text_{number}_insert"{on}')
    problems = notes.verify().problems
    assert len(problems) == 1
    assert "requant_text_1_insert, requant_text_1_delete" in problems[0]
    notes.delete([1, 2, 3])
    notes.upsert(["x"], documents=["new"])
    problems = notes.verify().problems
    assert any(one.startswith("1 document(s) are missing") for one in problems)
    assert any(one.startswith("3 document(s) of the text index are not in") for one in problems)
    assert [hit.id for hit in notes.search_documents("w0001")] == []  # and no ghost is found
    notes.unindex_text()
    notes.index_text()
    is_in_step(notes)


def test_verify_compares_words(any_db):
    notes = filled(any_db, full_text=True)
    sqlite = any_db.engine.dialect.name == "sqlite"
    on = "" if sqlite else " ON requant_items"
    with any_db.engine.begin() as connection:
        create = None
        if sqlite:
            create = connection.exec_driver_sql(
                "SELECT sql FROM sqlite_master WHERE name = 'requant_text_1_update'"
            ).scalar()
            connection.exec_driver_sql('DROP TRIGGER "requant_text_1_update"')
        else:
            connection.exec_driver_sql(
                "ALTER TABLE requant_items DISABLE TRIGGER requant_text_1_update"
            )
        connection.exec_driver_sql("UPDATE requant_items SET document = 'other' WHERE ext_id = '5'")
        if sqlite:
            connection.exec_driver_sql(create)
        else:
            connection.exec_driver_sql(
                "ALTER TABLE requant_items ENABLE TRIGGER requant_text_1_update"
            )
    assert on is not None
    assert notes.verify().ok
    problems = notes.verify(deep=True).problems
    assert problems == [
        "text index: other words than those of the documents; unindex_text() and index_text() "
        "make it again"
    ]


def test_read_only(any_db, tmp_path):
    filled(any_db, full_text=True)
    url = any_db.engine.url
    sqlite = url.get_backend_name() == "sqlite"
    target = url.database if sqlite else url.render_as_string(False)
    any_db.close()
    with requant.open(target, read_only=True, folder=tmp_path / "ro") as db:
        notes = db.collection("notes")
        assert notes.full_text
        assert [hit.id for hit in notes.search_documents("w0007")] == [7]
        assert notes.search_hybrid("w0007", vectors(1)[0])[0].ranks
        assert notes.verify(deep=True).ok
        for write in (notes.index_text, notes.unindex_text):
            with pytest.raises(StoreError, match="read_only=True"):
                write()


def test_alembic_leaves_the_words_alone(any_db):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    filled(any_db, full_text=True)
    metadata = sa.MetaData()
    add_tables(metadata)
    with any_db.engine.connect() as connection:
        options = {"include_object": include_object()}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, sa.MetaData()) == []


def test_a_prefix_of_its_own(any_db, tmp_path):
    tables = add_tables(sa.MetaData(), prefix="App_")
    with requant.open(any_db.engine, folder=tmp_path / "x", tables=tables) as db:
        mine, other = filled(db, full_text="porter"), filled(any_db, full_text=True)
        other.clear()
        is_in_step(mine)
        is_in_step(other)
        db.drop_collection("notes")
        assert other.full_text


def test_a_schema_of_its_own(empty_postgres, tmp_path):
    engine = sa.create_engine(empty_postgres)
    with engine.begin() as connection:
        connection.exec_driver_sql('CREATE SCHEMA IF NOT EXISTS "odd one"')
    try:
        tables = add_tables(sa.MetaData(), schema="odd one")
        with requant.open(engine, folder=tmp_path / "x", tables=tables) as db:
            for tokenizer in ("unicode", "porter", "trigram"):
                is_in_step(filled(db, full_text=tokenizer, name=tokenizer))
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql('DROP SCHEMA "odd one" CASCADE')
        engine.dispose()


def test_a_document_of_more_words_than_postgresql_can_index(any_db):
    notes = any_db.create_collection("notes", 8, full_text=True)
    text = " ".join(f"w{n}" for n in range(200_000))
    notes.upsert(["a", "b"], documents=[text, "w5"])
    assert {hit.id for hit in notes.search_documents("w5")} == {"a", "b"}
    notes.upsert(["a"], documents=["x" * 5000])
    assert {hit.id for hit in notes.search_documents("w5")} == {"b"}
    assert notes.verify(deep=True).ok


def test_a_long_document_of_few_spaces(any_db):
    notes = any_db.create_collection("notes", 8, full_text="trigram")
    text = "".join(map(chr, np.random.default_rng(0).integers(0x20000, 0x2A6D0, 200_000).tolist()))
    notes.upsert(["a", "b"], documents=[text, "cats"])
    assert [hit.id for hit in notes.search_documents(text[:5])] == ["a"]
    notes.upsert(["a"], documents=["a cat"])
    assert {hit.id for hit in notes.search_documents("cat")} == {"a", "b"}
    assert notes.verify(deep=True).ok


def test_nobody_else_writes_into_the_words(empty_postgres, tmp_path):
    with requant.open(empty_postgres, folder=tmp_path / "x") as db:
        notes = filled(db, full_text=True)
        role = f"stranger_{tmp_path.name[-1]}"
        with db.engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE ROLE {role}")
        try:
            with db.engine.begin() as connection:
                for statement in (
                    "GRANT CREATE, USAGE ON SCHEMA public TO {role}",
                    "SET LOCAL ROLE {role}",
                    "CREATE TABLE mine (key bigint, document text)",
                ):
                    connection.exec_driver_sql(statement.format(role=role))
                with pytest.raises(sa.exc.ProgrammingError, match="permission denied for function"):
                    connection.exec_driver_sql(
                        "CREATE TRIGGER sly AFTER INSERT ON mine FOR EACH ROW "
                        "EXECUTE FUNCTION requant_text_1_keep()"
                    )
            is_in_step(notes)
        finally:
            with db.engine.begin() as connection:
                connection.exec_driver_sql(f"DROP OWNED BY {role}")
                connection.exec_driver_sql(f"DROP ROLE {role}")


def test_a_database_of_other_letters(empty_postgres, tmp_path):
    admin = sa.create_engine(empty_postgres, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS of_latin")
        connection.exec_driver_sql(
            "CREATE DATABASE of_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
        )
    url = admin.url.set(database="of_latin").render_as_string(False)
    try:
        with requant.open(url, folder=tmp_path / "x") as db:
            for tokenizer in ("unicode", "porter", "trigram"):
                notes = db.create_collection(tokenizer, 8, full_text=tokenizer)
                notes.upsert(["a", "b"], documents=["un café noir", "cats"])
                for query, found in {
                    "café": ["a"], "東京都庁": [], "cats AND 東京都庁*": [],
                    "cats -東京都庁": ["b"], "cats 東京都庁": ["b"],
                    "“cats”": [] if tokenizer == "trigram" else ["b"],
                }.items():  # fmt: skip
                    assert [hit.id for hit in notes.search_documents(query)] == found, query
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql("DROP DATABASE of_latin WITH (FORCE)")
        admin.dispose()


def test_clear_while_the_words_are_being_indexed(any_db, monkeypatch):
    monkeypatch.setattr(inside.TEXT_ITEMS, 50)
    notes = filled(any_db)

    def clear(done, total):
        if done == 50:
            notes.clear()
            notes.upsert(["x", "y"], documents=["new", "same"])

    notes.index_text(progress=clear)
    is_in_step(notes)
    with any_db.engine.connect() as connection, connection.begin() as transaction:
        notes.clear(connection=connection)
        assert notes.search_documents("new", connection=connection) == []
        transaction.rollback()
    is_in_step(notes)
    assert [hit.id for hit in notes.search_documents("new")] == ["x"]

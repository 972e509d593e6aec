"""A database that is only read: from what cannot be written to, beside writers, by choice."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import IndexWarning, InputError, ReadOnlyError, StoreError
from tests import inside
from tests.cli import run
from tests.databases import dump, vectors
from tests.qdrant_server import running
from tests.unwritable import unwritable

N = 300
needs_permissions = pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "x.db"


def fill(target, engine="faiss", **options):
    with requant.open(target, **options) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N), metadata=[{"n": n} for n in range(N)])
        if engine:
            notes.add_index("main", engine=engine)


@pytest.fixture
def filled(path):
    path.parent.mkdir()
    fill(path)
    return path


def is_right(notes, seed=1):
    for query in vectors(10, seed=seed):
        found = [hit.id for hit in notes.search(query, k=10, oversample=8)]
        assert found == [hit.id for hit in notes.search(query, k=10, exact=True)]


WRITES = [
    lambda db, notes: notes.upsert([1], vectors(1)),
    lambda db, notes: notes.add([N], vectors(1)),
    lambda db, notes: notes.delete([1]),
    lambda db, notes: notes.delete(where={"n": 1}),
    lambda db, notes: notes.add_index("more"),
    lambda db, notes: notes.drop_index("main"),
    lambda db, notes: notes.use_index("main"),
    lambda db, notes: notes.rebuild(),
    lambda db, notes: notes.flush(),
    lambda db, notes: notes.migrate("more"),
    lambda db, notes: notes.note_origin("a", "b", "exact"),
    lambda db, notes: db.create_collection("more", 8),
    lambda db, notes: db.drop_collection("notes"),
]


@pytest.mark.parametrize("write", WRITES)
def test_every_write_is_refused_by_name(filled, write):
    with requant.open(filled) as db:
        before = dump(db)
    with requant.open(filled, read_only=True) as db:
        assert db.read_only
        notes = db.collection("notes")
        is_right(notes)
        with pytest.raises(ReadOnlyError, match="read_only=True"):
            write(db, notes)
        is_right(notes)
    with requant.open(filled) as db:
        assert not db.read_only
        assert dump(db) == before


def test_by_a_connection_of_ones_own_too(filled):
    with requant.open(filled, read_only=True) as db, db.engine.connect() as connection:
        with pytest.raises(ReadOnlyError):
            db.collection("notes").upsert([1], vectors(1), connection=connection)
        with pytest.raises(sa.exc.OperationalError, match="readonly"):
            connection.execute(sa.text("DELETE FROM requant_items"))


@needs_permissions
@pytest.mark.parametrize("engine", ["faiss", "usearch", "lancedb", None])
def test_a_folder_that_cannot_be_written_to(path, engine):
    path.parent.mkdir()
    fill(path, engine)
    names = sorted(path.parent.rglob("*"))
    with unwritable(path.parent):
        with requant.open(path, read_only=True) as db:
            notes = db.collection("notes")
            is_right(notes)
            assert len(notes) == N
            assert notes.get([5])[0].metadata == {"n": 5}
            assert [hit.id for hit in notes.search(vectors(N)[7], k=1, where={"n": 7})] == [7]
            assert notes.verify(deep=True).ok
            if engine:
                assert inside.loaded_of(notes, "main").size == N  # it was asked
                assert notes.stats().indexes[0].items == N
        with pytest.raises(StoreError, match="read_only=True"):
            requant.open(path)
        assert sorted(path.parent.rglob("*")) == names
    with requant.open(path) as db:
        db.collection("notes").upsert([N], vectors(1))


@needs_permissions
def test_qdrants_folder_is_left_alone(path):
    """The embedded engine locks its folder and writes to it: exact, and said once."""
    path.parent.mkdir()
    fill(path, "qdrant")
    with (
        unwritable(path.parent),
        requant.open(path, read_only=True) as db,
        pytest.warns(IndexWarning, match="searches are exact") as told,
    ):
        is_right(db.collection("notes"))
    assert len(told) == 1


def test_a_server_is_asked(path):
    path.parent.mkdir()
    with running() as server:
        fill(path, None)
        with requant.open(path) as db:
            db.collection("notes").add_index("main", engine="qdrant", url=server.url)
        writes = []
        server.on_write = lambda: writes.append(1)
        with requant.open(path, read_only=True) as db:
            is_right(db.collection("notes"))
            assert inside.loaded_of(db.collection("notes"), "main").size == N
        server.on_write = None
    assert not writes


@pytest.mark.parametrize("engine", ["faiss", "lancedb"])
def test_what_an_index_lacks_comes_from_the_store(path, engine):
    path.parent.mkdir()
    fill(path, engine)
    with requant.open(path) as writer:
        theirs = writer.collection("notes")
        with requant.open(path, read_only=True) as db:
            notes = db.collection("notes")
            is_right(notes)
            theirs.upsert(range(250, 350), vectors(100, seed=2))
            theirs.delete(range(50))
            is_right(notes)
            assert [hit.id for hit in notes.search(vectors(100, seed=2)[99], k=1)] == [349]
            report = notes.verify()
            assert report.ok
            assert any("behind the store" in line for line in report.checked)
            theirs.flush()
            theirs.rebuild()
            theirs.flush()
            is_right(notes)


@pytest.mark.parametrize("engine", ["lancedb", "qdrant"])
def test_a_place_that_is_another_databases_by_now_is_not_asked(path, tmp_path, engine):
    path.parent.mkdir()
    with running() as server:
        url = server.url if engine == "qdrant" else str(tmp_path / "served")
        options = {"engine": engine, "url": url, "remote_name": "notes"}
        fill(path, None)
        with requant.open(path) as db:
            db.collection("notes").add_index("main", **options)
        with requant.open(path, read_only=True) as db:
            notes = db.collection("notes")
            is_right(notes)
            fill(tmp_path / "y.db", None)
            with requant.open(tmp_path / "y.db") as other:
                theirs = other.collection("notes")
                theirs.upsert(range(N), vectors(N, seed=5))
                theirs.add_index("main", overwrite=True, **options)
            with pytest.warns(IndexWarning, match="searches are exact.*another database's by now"):
                is_right(notes)
            is_right(notes)


def test_an_index_that_is_damaged_is_said_and_not_made_again(filled):
    with requant.open(filled) as db:
        (file,) = inside.published_files(db, db.collection("notes"))
    file.write_bytes(b"damaged")
    with (
        requant.open(filled, read_only=True) as db,
        pytest.warns(IndexWarning, match="searches are exact.*7 bytes") as told,
    ):
        is_right(db.collection("notes"))
    assert len(told) == 1
    assert "made again" not in str(told[0].message)
    assert file.read_bytes() == b"damaged"


def test_without_a_folder_of_indexes_none_is_made(filled):
    folder = filled.with_name("x.db.indexes")
    shutil.rmtree(folder)
    with (
        requant.open(filled, read_only=True) as db,
        pytest.warns(IndexWarning, match="searches are exact.*is missing") as told,
    ):
        is_right(db.collection("notes"))
    assert len(told) == 1
    with requant.open(filled, read_only=True) as db:
        assert not db.collection("notes").stats().indexes[0].current
    assert not folder.exists()


def test_an_older_generation_is_asked_where_the_newest_is_missing(filled):
    with requant.open(filled) as db:
        notes = db.collection("notes")
        notes.upsert([1], vectors(1, seed=3))
        is_right(notes)
        notes.flush()
        before, newest = sorted(
            inside.published_files(db, notes), key=lambda path: path.stat().st_mtime_ns
        )
        assert notes.stats().indexes[0].current
    newest.unlink()
    with (
        requant.open(filled, read_only=True) as db,
        pytest.warns(IndexWarning, match="ask an older generation.*is missing") as told,
    ):
        is_right(db.collection("notes"))
    assert len(told) == 1
    with requant.open(filled, read_only=True) as db:
        assert not db.collection("notes").stats().indexes[0].current
    assert before.exists()


@needs_permissions
def test_writes_left_in_the_log_are_refused_where_they_cannot_be_read(path, tmp_path):
    """A copy of database and log as a crash leaves them, without the log's own index."""
    path.parent.mkdir()
    copies = tmp_path / "copies"
    copies.mkdir()
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N))
        for name in ("x.db", "x.db-wal"):
            shutil.copy(path.parent / name, copies / name)
    with (
        unwritable(copies),
        pytest.raises(StoreError, match=r"x\.db-wal holds writes that are not in it"),
    ):
        requant.open(copies / "x.db", read_only=True)
    with requant.open(copies / "x.db", read_only=True) as db:
        assert len(db.collection("notes")) == N


@needs_permissions
def test_a_file_that_is_written_to_after_all_is_told(filled, monkeypatch):
    """Without locks, SQLite would answer from pages of two times."""
    with unwritable(filled.parent):
        db = requant.open(filled, read_only=True)
        assert len(db.collection("notes")) == N
        notes = db.collection("notes")
    with requant.open(filled) as writer:
        writer.collection("notes").upsert([N], vectors(1))
    with pytest.raises(StoreError, match="open it again"):
        notes.search(vectors(1)[0])
    db.close()


@needs_permissions
def test_a_backup_of_what_cannot_be_written_to(filled, tmp_path):
    with unwritable(filled.parent), requant.open(filled, read_only=True) as db:
        db.backup(tmp_path / "x.backup")
    requant.restore(tmp_path / "x.backup", tmp_path / "again.db")
    with requant.open(tmp_path / "again.db") as db:
        assert len(db.collection("notes")) == N


@needs_permissions
def test_what_cannot_be_written_to_says_how_it_is_read(filled):
    with unwritable(filled.parent), pytest.raises(StoreError, match="read_only=True"):
        requant.open(filled)


def test_what_is_not_there_is_not_made(tmp_path):
    with pytest.raises(StoreError, match="no such file"):
        requant.open(tmp_path / "x.db", read_only=True)
    assert not list(tmp_path.iterdir())
    with closing(sqlite3.connect(tmp_path / "other.db")) as raw:
        raw.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="not a requant database"):
        requant.open(tmp_path / "other.db", read_only=True)
    (tmp_path / "text.db").write_text("no database at all" * 100)
    with pytest.raises(StoreError, match=r"text\.db"):
        requant.open(tmp_path / "text.db", read_only=True)
    with pytest.raises(InputError, match="memory"):
        requant.open(":memory:", read_only=True)


def test_an_older_schema_is_not_brought_up_to_date(filled):
    with closing(sqlite3.connect(filled)) as raw:
        raw.execute("UPDATE requant_meta SET value = '1' WHERE name = 'schema'")
        raw.commit()
    with pytest.raises(StoreError, match="requant upgrade"):
        requant.open(filled, read_only=True)


def test_an_engine_of_ones_own_is_left_as_it_is(tmp_path, filled):
    engine = sa.create_engine(f"sqlite:///{filled}")
    with requant.open(engine, read_only=True) as db:
        is_right(db.collection("notes"))
        with pytest.raises(ReadOnlyError):
            db.collection("notes").delete([1])
    engine.dispose()


def test_a_role_that_may_only_read(empty_postgres, tmp_path):
    fill(empty_postgres, folder=tmp_path)
    admin = sa.create_engine(empty_postgres)
    with admin.begin() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS reader")
        connection.exec_driver_sql("CREATE ROLE reader LOGIN")
        connection.exec_driver_sql("GRANT USAGE ON SCHEMA public TO reader")
        connection.exec_driver_sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    url = sa.make_url(empty_postgres).set(username="reader")
    try:
        for target in (url.render_as_string(hide_password=False), empty_postgres):
            with requant.open(target, folder=tmp_path, read_only=True) as db:
                notes = db.collection("notes")
                is_right(notes)
                assert inside.loaded_of(notes, "main").size == N
                with pytest.raises(ReadOnlyError):
                    notes.upsert([1], vectors(1))
                with (
                    db.engine.connect() as connection,
                    pytest.raises(sa.exc.DBAPIError, match=r"read-only transaction|denied"),
                ):
                    connection.exec_driver_sql("DELETE FROM requant_items")
    finally:
        with admin.begin() as connection:
            connection.exec_driver_sql("DROP OWNED BY reader")
            connection.exec_driver_sql("DROP ROLE reader")
        admin.dispose()


@needs_permissions
def test_the_command_line(filled):
    query = str(vectors(1)[0].tolist())
    with unwritable(filled.parent):
        for command in (
            ["search", filled, "notes", "--vector", query, "-k", "1"],
            ["stats", filled],
            ["verify", filled, "--deep"],
        ):
            assert run(*map(str, command), "--read-only").code == 0, command


@needs_permissions
def test_many_threads_and_a_process_beside(filled):
    program = (
        "import sys, requant, threading\n"
        "import numpy as np\n"
        "with requant.open(sys.argv[1], read_only=True) as db:\n"
        "    notes = db.collection('notes')\n"
        "    def search():\n"
        "        for query in np.random.default_rng(0).standard_normal((50, 8)):\n"
        "            assert len(notes.search(query, k=3)) == 3\n"
        "    threads = [threading.Thread(target=search) for _ in range(4)]\n"
        "    [t.start() for t in threads]; [t.join() for t in threads]\n"
        "    print('ok')\n"
    )
    with unwritable(filled.parent):
        done = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(filled)], stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        assert [each.communicate()[0] for each in done] == ["ok\n", "ok\n"]


def test_what_others_have_built_anew_is_closed(tmp_path, monkeypatch):
    """A process that only reads publishes nothing, and so removes nothing."""
    monkeypatch.setattr(inside.RETIRED_AGE, 0.0)
    path = tmp_path / "notes.db"
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(1500), vectors(1500, 8))
        notes.add_index("main", engine="lancedb")
        with requant.open(path, read_only=True) as other:
            reading = other.collection("notes")
            for turn in range(4):
                reading.search(np.ones(8), oversample=2)
                notes.rebuild()
                reading.search(np.ones(8), oversample=2)
                assert len(inside.retired(reading, "main")) <= 1, turn


def test_a_reader_in_use_is_not_kept_once_the_database_is_closed(tmp_path):
    with requant.open(tmp_path / "notes.db") as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(10), vectors(10, 8))
        with inside.snapshot(notes):
            db.close()
        assert inside.idle_readers(db) == 0

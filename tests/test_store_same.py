"""Which database a lent connection is to: asked of it, whatever its URL."""

from __future__ import annotations

import socket
import sqlite3
import threading
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

import requant
from requant.errors import InputError
from tests.databases import vectors


def count_asked(engine):
    """Return the statements by which `engine` is asked from now on."""
    asked = []

    @sa.event.listens_for(engine, "connect")
    def _watch(raw, _record):
        if isinstance(raw, sqlite3.Connection):
            raw.set_trace_callback(
                lambda text: asked.append(text) if "database_list" in text else None
            )

    return asked


def test_a_file_by_any_name_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "notes.db")
    urls = [
        f"sqlite:///{tmp_path}/folder/../notes.db",
        "sqlite:///notes.db",
        "sqlite:///link.db",
        f"sqlite:///file:{tmp_path}/notes.db?uri=true",
        f"sqlite:///file:{tmp_path}/link.db?mode=rw&uri=true",
    ]
    with requant.open(tmp_path / "notes.db") as db:
        notes = db.create_collection("notes", 8)
        for number, url in enumerate(urls):
            engine = sa.create_engine(url)
            with engine.begin() as connection:
                assert notes.upsert([number], vectors(1), connection=connection) == 1
                assert notes.count(connection=connection) == number + 1
            engine.dispose()
        assert len(notes) == len(urls)


def test_each_connection_is_asked_once(tmp_path):
    with requant.open(tmp_path / "notes.db") as db:
        notes = db.create_collection("notes", 8)
        other = sa.create_engine(f"sqlite:///{tmp_path / 'notes.db'}")
        asked, own = count_asked(other), count_asked(db.engine)
        for _ in range(5):
            with other.connect() as connection:
                notes.count(connection=connection)
            with db.engine.connect() as connection:
                notes.count(connection=connection)
        assert len(asked) == 1
        assert len(own) <= 1  # by the connection that told which database we are
        other.dispose()


def test_another_file_is_refused_whatever_its_url(tmp_path):
    with requant.open(tmp_path / "a.db") as db, requant.open(tmp_path / "b.db") as other:
        notes = db.create_collection("notes", 8)
        other.create_collection("notes", 8)
        alike = sa.create_engine(
            f"sqlite:///{tmp_path / 'a.db'}", creator=lambda: sqlite3.connect(tmp_path / "b.db")
        )
        memory = sa.create_engine("sqlite://")
        attached = sa.create_engine("sqlite://")
        for engine in (alike, memory, attached):
            with engine.connect() as connection:
                if engine is attached:
                    text = f"ATTACH '{tmp_path / 'a.db'}' AS ours"
                    connection.exec_driver_sql(text)
                for _ in range(2):
                    with pytest.raises(InputError, match="connection= is one to"):
                        notes.upsert(["x"], vectors(1), connection=connection)
                    with pytest.raises(InputError, match="connection= is one to"):
                        notes.count(connection=connection)
            engine.dispose()
        assert len(notes) == len(other.collection("notes")) == 0


@contextmanager
def forwarded(path):
    """Listen on a port and pass on to a unix socket, as a pooler or tunnel does."""

    def pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            for one in (source, target):
                one.close()

    def accept():
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            behind = socket.socket(socket.AF_UNIX)
            behind.connect(path)
            for pair in ((client, behind), (behind, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def test_a_server_by_any_name_is_the_same(empty_postgres, tmp_path):
    url = sa.make_url(empty_postgres)
    folder = url.query["host"]
    (tmp_path / "link").symlink_to(folder)
    with (
        forwarded(f"{folder}/.s.PGSQL.5432") as port,
        requant.open(empty_postgres, folder=tmp_path / "indexes") as db,
    ):
        notes = db.create_collection("notes", 8)
        others = [
            url.set(query={"host": str(tmp_path / "link")}),
            url.set(query={}, host="localhost", port=port),
            url.set(query={}, host="127.0.0.1", port=port),
        ]
        for number, other in enumerate(others):
            engine = sa.create_engine(other, poolclass=NullPool)
            with engine.begin() as connection:
                assert notes.upsert([number], vectors(1), connection=connection) == 1
            engine.dispose()
        assert len(notes) == len(others)


def test_another_database_of_the_server_is_refused_whatever_its_url(empty_postgres, tmp_path):
    url = sa.make_url(empty_postgres)
    folder = url.query["host"]
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE twin TEMPLATE template0")
    try:
        twin = url.set(database="twin")
        alike = sa.create_engine(
            url, creator=lambda: psycopg.connect(host=folder, user="requant", dbname="twin")
        )
        with (
            requant.open(empty_postgres, folder=tmp_path / "indexes") as db,
            requant.open(twin.render_as_string(False), folder=tmp_path / "twins") as other,
        ):
            other.create_collection("notes", 8)
            notes = db.create_collection("notes", 8)
            for engine in (alike, other.engine):
                with engine.connect() as connection:
                    with pytest.raises(InputError, match="connection= is one to"):
                        notes.upsert(["x"], vectors(1), connection=connection)
                    with pytest.raises(InputError, match="connection= is one to"):
                        notes.count(connection=connection)
            assert len(notes) == len(other.collection("notes")) == 0
        alike.dispose()
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql("DROP DATABASE twin WITH (FORCE)")


def test_a_connection_to_the_other_kind_is_refused(empty_postgres, tmp_path):
    with (
        requant.open(empty_postgres, folder=tmp_path / "indexes") as one,
        requant.open(tmp_path / "notes.db") as two,
    ):
        for ours, theirs in ((one, two), (two, one)):
            notes = ours.create_collection("notes", 8)
            with (
                theirs.engine.connect() as connection,
                pytest.raises(InputError, match="connection= is one to"),
            ):
                notes.upsert(["x"], vectors(1), connection=connection)

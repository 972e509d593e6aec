"""A new SQLite database has pages in which the vectors of its first collection lie densely."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from tests.databases import vectors


def pages(path):
    """Return the size of a file's pages, and how it is written to."""
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute("PRAGMA page_size").fetchone()[0], raw.execute(
            "PRAGMA journal_mode"
        ).fetchone()[0]


@pytest.mark.parametrize(("dim", "size"), [(4, 8192), (768, 16384), (1536, 32768)])
def test_the_first_collection_decides(tmp_path, dim, size):
    path = tmp_path / "notes.db"
    with requant.open(path) as db:
        notes = db.create_collection("notes", dim)
        db.create_collection("others", 1024)
        notes.upsert(range(400), vectors(400, dim), ["text"] * 400)
        assert len(notes.search(np.ones(dim))) == 10
    assert pages(path) == (size, "wal")
    with requant.open(path) as db:  # and stays what it is
        db.drop_collection("notes")
        db.create_collection("notes", 4)
        db.backup(tmp_path / "notes.backup")
    assert pages(path) == (size, "wal")
    requant.restore(tmp_path / "notes.backup", tmp_path / "back.db")
    assert pages(tmp_path / "back.db")[0] == 32768  # as the first one, `others`, has it now
    with requant.open(tmp_path / "back.db") as db:
        assert db.collections() == ["notes", "others"]


def stored(path, dim=768):
    with requant.open(path) as db:
        notes = db.create_collection("notes", dim, exist_ok=True)
        notes.upsert(["a"], np.ones((1, dim)))
        assert notes.search(np.ones(dim))[0].id == "a"


def test_where_others_have_it_open_it_stays(tmp_path):
    path = tmp_path / "notes.db"
    requant.open(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM requant_collections").fetchone()
        stored(path)
    assert pages(path) == (8192, "wal")
    with requant.open(tmp_path / "two.db") as db, requant.open(tmp_path / "two.db") as other:
        assert other.collections() == []
        db.create_collection("notes", 768)
        assert other.collections() == ["notes"]


def test_a_file_with_tables_of_an_application_stays(tmp_path):
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE articles (id INTEGER PRIMARY KEY, text TEXT)")
        raw.execute("INSERT INTO articles (text) VALUES ('kept')")
        raw.commit()
        before = raw.execute("PRAGMA page_size").fetchone()[0]
    stored(path)
    assert pages(path) == (before, "wal")


def test_an_engine_of_an_application_keeps_its_file(tmp_path):
    path = tmp_path / "app.db"
    with requant.open(sa.create_engine(f"sqlite:///{path}")) as db:
        db.create_collection("notes", 1536)
    assert pages(path)[0] == 4096

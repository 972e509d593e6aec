"""A SQLite file that is replaced or removed while it is open: told, and no write goes astray."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import StoreError
from tests.databases import vectors

OLD, NEW = "old", "new"


def make(path, name):
    with requant.open(path) as db:
        db.create_collection("notes", 8).upsert([name], vectors(1, 8))


def moved(path):
    """Another database, complete and without a log, is moved over the one that is open."""
    other = path.with_name("other.db")
    make(other, NEW)
    other.rename(path)


def removed(path):
    path.unlink()


def restored(path):
    backup = path.with_name("x.backup")
    with requant.open(path.with_name("source.db")) as db:
        db.create_collection("notes", 8).upsert([NEW], vectors(1, 8))
        db.backup(backup)
    requant.restore(backup, path.with_name("other.db"))
    path.with_name("other.db").rename(path)


def opened(path, how):
    if how == "engine":
        return requant.open(sa.create_engine(f"sqlite:///{path}"))
    if how == "URL":
        return requant.open(f"sqlite:///{path}")
    if how == "link":
        link = path.with_name("link.db")
        link.symlink_to(path)
        return requant.open(link)
    return requant.open(path, read_only=how == "read only")


@pytest.mark.parametrize("how", ["path", "URL", "engine", "link", "read only"])
@pytest.mark.parametrize("replaced", [moved, removed, restored])
def test_nothing_goes_on_with_the_old_file(tmp_path, how, replaced):
    path = tmp_path / "notes.db"
    make(path, OLD)
    with opened(path, how) as db:
        notes = db.collection("notes")
        assert notes.search(np.ones(8))[0].id == OLD
        replaced(path)
        for use in (
            lambda: notes.search(np.ones(8)),
            lambda: notes.get([OLD]),
            lambda: notes.upsert(["lost"], vectors(1, 8)),
            lambda: notes.delete([OLD]),
            lambda: db.create_collection("more", 2),
            lambda: db.collections(),
        ):
            with pytest.raises(StoreError, match=r"while it was open here|read_only"):
                use()
        with pytest.raises(StoreError, match="while it was open here"):
            notes.search(np.ones(8))
    if replaced is not removed:
        with requant.open(path) as db:
            assert [item.id for item in db.collection("notes").iter()] == [NEW]
            assert db.collection("notes").verify(deep=True).ok


def test_a_write_is_not_acknowledged_that_went_to_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "notes.db"
    make(path, OLD)
    with requant.open(path) as db:
        notes = db.collection("notes")

        def in_the_midst(*_):
            if not path.with_name("done").exists():
                path.with_name("done").touch()
                moved(path)

        sa.event.listen(db.engine, "commit", in_the_midst)
        with pytest.raises(StoreError, match="was replaced by another file"):
            notes.upsert(["lost"], vectors(1, 8))


@pytest.mark.parametrize("lent", [True, False])
def test_nor_is_a_transaction_of_the_callers_committed(tmp_path, lent):
    path = tmp_path / "notes.db"
    make(path, OLD)
    engine = sa.create_engine(f"sqlite:///{path}")
    with requant.open(engine if lent else path) as db, db.engine.connect() as connection:
        notes = db.collection("notes")
        notes.upsert(["lost"], vectors(1, 8), connection=connection)
        moved(path)
        with pytest.raises(StoreError, match="was replaced by another file"):
            notes.upsert(["lost, too"], vectors(1, 8), connection=connection)
        with pytest.raises(StoreError, match="was replaced by another file"):
            connection.commit()


def test_an_engine_of_an_application_goes_on_with_the_new_file(tmp_path):
    path = tmp_path / "notes.db"
    make(path, OLD)
    engine = sa.create_engine(f"sqlite:///{path}")
    with requant.open(engine) as db:
        assert db.collection("notes").count() == 1
        moved(path)
        with pytest.raises(StoreError, match="was replaced by another file"):
            db.collection("notes")
    with requant.open(engine) as db:  # whose pool has connections to the old one
        notes = db.collection("notes")
        assert [item.id for item in notes.iter()] == [NEW]
        notes.upsert(["kept"], vectors(1, 8))
    with requant.open(path) as db:
        assert sorted(item.id for item in db.collection("notes").iter()) == ["kept", NEW]


def test_an_index_does_not_hide_it(tmp_path):
    path = tmp_path / "notes.db"
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(2000), vectors(2000, 8))
        notes.add_index("main", engine="faiss")
        assert notes.search(np.ones(8), oversample=2)
        moved(path)
        with pytest.raises(StoreError, match="was replaced by another file"):
            notes.search(np.ones(8), oversample=2)
        with pytest.raises(StoreError, match="was replaced by another file"):
            notes.flush()


def test_a_file_that_comes_back_is_the_same(tmp_path):
    path = tmp_path / "notes.db"
    make(path, OLD)
    with requant.open(path) as db:
        notes = db.collection("notes")
        path.rename(tmp_path / "away.db")
        with pytest.raises(StoreError, match="was removed"):
            notes.upsert(["x"], vectors(1, 8))
        (tmp_path / "away.db").rename(path)
        notes.upsert(["x"], vectors(1, 8))
        with closing(sqlite3.connect(path)) as raw:  # in place, as SQLite's own backup writes
            assert raw.execute("SELECT count(*) FROM requant_items").fetchone() == (2,)


def test_memory_has_no_file_that_counts():
    with requant.open(":memory:") as db:
        notes = db.create_collection("notes", 2)
        assert notes.upsert(["a"], [[1, 2]]) == 1

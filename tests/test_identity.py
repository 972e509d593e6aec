"""Whose a database is, and whose a place: restored backups, copies, and others at the same name."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import warnings

import numpy as np
import pytest

import requant
from requant.errors import IndexWarning
from tests import inside
from tests.databases import expected, held, vectors
from tests.qdrant_server import running

N = 300
PLACES = ["lancedb", "qdrant", "lancedb url", "qdrant url"]


@pytest.fixture(params=PLACES)
def options(request, tmp_path):
    """Return the options of a live index, in the database's folder or where others reach it."""
    engine, _, shared = request.param.partition(" ")
    if not shared:
        yield {"engine": engine}
    elif engine == "lancedb":
        yield {"engine": engine, "url": str(tmp_path / "served")}
    else:
        with running() as server:
            yield {"engine": engine, "url": server.url}


@contextlib.contextmanager
def told(match):
    """Assert that a warning says so; others may be given as well."""
    with warnings.catch_warnings(record=True) as every:
        warnings.simplefilter("always")
        yield
    assert any(re.search(match, str(one.message)) for one in every), [str(e) for e in every]


def backup(path, to):
    """Copy a database as SQLite does, its indexes left out."""
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(to)) as target,
    ):
        source.backup(target)


def make(db, options, seed=0, n=N):
    notes = db.create_collection("notes", 8)
    rows = vectors(n, seed=seed)
    notes.upsert(range(n), rows, documents=[f"{seed}: {i}" for i in range(n)])
    notes.add_index("main", precision="int8", **options)
    return notes


def answers(notes, k=10, seed=1, oversample=3):
    """Assert that searches by the index find what exact ones do."""
    for query in vectors(20, seed=seed):
        hits = notes.search(query, k=k, oversample=oversample)
        best = notes.search(query, k=k, exact=True)
        assert [(hit.id, hit.document) for hit in hits] == [(hit.id, hit.document) for hit in best]


def is_whole(notes):
    answers(notes)
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok


def written(notes):
    """Return what the place of an index in use holds, whoever wrote it."""
    held = inside.backend_of(notes).export()
    return {
        key: code.tobytes() for keys, codes in held for key, code in zip(keys, codes, strict=True)
    }


def ask(notes):
    """Search without looking at warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexWarning)
        notes.search(np.ones(8), oversample=3)
        notes.flush()


def test_a_restored_backup_is_not_answered_from_the_future(tmp_path, options):
    path = tmp_path / "x.db"
    with requant.open(path) as db:
        make(db, options)
    backup(path, tmp_path / "backup.db")
    with requant.open(path) as db:
        notes = db.collection("notes")
        notes.upsert(range(N), vectors(N, seed=7))  # everything is somewhere else now
        answers(notes)
    for file in tmp_path.glob("x.db*"):
        if file.is_file():
            file.unlink()
    backup(tmp_path / "backup.db", path)
    with requant.open(path) as db:
        notes = db.collection("notes")
        with told("ahead of the database"):
            answers(notes)
        is_whole(notes)
        notes.upsert([5], vectors(1, seed=3))
        is_whole(notes)
    with requant.open(path) as db:
        is_whole(db.collection("notes"))


def test_a_restored_backup_that_was_written_to_first(tmp_path, options):
    """The sequence may have caught up by then: what counts is who wrote to the place."""
    path = tmp_path / "x.db"
    with requant.open(path) as db:
        make(db, options)
    backup(path, tmp_path / "backup.db")
    with requant.open(path) as db:
        notes = db.collection("notes")
        notes.upsert(range(N), vectors(N, seed=7))
        answers(notes)
    for file in tmp_path.glob("x.db*"):
        if file.is_file():
            file.unlink()
    backup(tmp_path / "backup.db", path)
    with requant.open(path) as db:
        notes = db.collection("notes")
        for i in range(5):
            notes.upsert([i], vectors(1, seed=100 + i))
        with told("not used"):
            answers(notes)
        is_whole(notes)


def test_a_copy_does_not_disturb_the_original(tmp_path, options):
    path, copy = tmp_path / "x.db", tmp_path / "copy.db"
    with requant.open(path) as db:
        notes = make(db, options)
        notes.flush()
        backup(path, copy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IndexWarning)
            other = requant.open(copy)
        with other:
            theirs = other.collection("notes")
            theirs.upsert(range(N), vectors(N, seed=9))
            theirs.delete(range(50))
            ask(theirs)
            is_whole(theirs)
            is_whole(notes)
            notes.upsert(range(10), vectors(10, seed=4))
            is_whole(notes)
            is_whole(theirs)
            theirs.rebuild()
            theirs.flush()
            is_whole(notes)
            theirs.drop_index("main")
            is_whole(notes)
            other.drop_collection("notes")
            is_whole(notes)
    with requant.open(path) as db:
        is_whole(db.collection("notes"))


def test_a_copy_is_told_of(tmp_path):
    options = {"engine": "lancedb", "url": str(tmp_path / "served"), "remote_name": "notes"}
    path, copy = tmp_path / "x.db", tmp_path / "copy.db"
    with requant.open(path) as db:
        make(db, options)
        backup(path, copy)
        with told(r"copy of the database at .*x\.db"):
            other = requant.open(copy)
        with other:
            ask(other.collection("notes"))
        is_whole(db.collection("notes"))
    with requant.open(copy) as other:
        is_whole(other.collection("notes"))
    assert len(list((tmp_path / "served").glob("[!.]*"))) == 2


def test_a_copy_that_nobody_can_tell_from_the_original(tmp_path, options, monkeypatch):
    """A machine that was cloned with its disk: the place is left to whoever wrote to it first."""
    path, copy = tmp_path / "x.db", tmp_path / "copy.db"
    with requant.open(path) as db:
        make(db, options)
    backup(path, copy)
    monkeypatch.setattr(*inside.NEVER_A_COPY)
    if "url" not in options:
        pytest.skip("they do not share a folder, unless they are given one: see below")
    with requant.open(path) as db, requant.open(copy) as other:
        notes, theirs = db.collection("notes"), other.collection("notes")
        is_whole(notes)
        theirs.upsert(range(N), vectors(N, seed=9))
        is_whole(theirs)
        monkeypatch.setattr(*inside.ASK_AT_ONCE)
        with told("a copy of the database"):
            answers(notes)
        for i in range(3):
            notes.upsert([i], vectors(1, seed=30 + i))
            theirs.delete([100 + i])
            is_whole(notes)
            is_whole(theirs)


@pytest.fixture
def clones(tmp_path, monkeypatch):
    """Return a function that makes an index, and two clones of its database."""

    def cloned(options):
        path, copy = tmp_path / "x.db", tmp_path / "copy.db"
        with requant.open(path) as db:
            make(db, options)
        backup(path, copy)
        monkeypatch.setattr(*inside.NEVER_A_COPY)
        return path, copy

    return cloned


SHARED = pytest.mark.parametrize("options", ["lancedb url", "qdrant url"], indirect=True)


@SHARED
@pytest.mark.parametrize("moves", [range(50), range(N, N + 50)], ids=["updates", "new items"])
def test_two_clones_that_write_first_at_one_moment(clones, options, moves, monkeypatch):
    """Each has the other's items in its place, and whoever looks first tells the other."""
    path, copy = clones(options)
    with requant.open(path) as db, requant.open(copy) as other:
        notes, theirs = db.collection("notes"), other.collection("notes")
        is_whole(notes)
        is_whole(theirs)
        inside.before_a_note_is_written(
            monkeypatch, lambda: (theirs.upsert(moves, vectors(50, seed=9)), is_whole(theirs))
        )
        notes.upsert([1], vectors(1, seed=5))
        ask(notes)
        monkeypatch.setattr(*inside.ASK_AT_ONCE)
        with told("a copy of the database writes to it"):
            answers(theirs)
        is_whole(theirs)
        with told("a copy of the database writes to it"):
            answers(notes)
        is_whole(notes)
        is_whole(theirs)
    for where in (path, copy):
        with requant.open(where) as db:
            is_whole(db.collection("notes"))


@SHARED
def test_who_writes_first_waits_for_a_clone(clones, options, monkeypatch):
    path, copy = clones(options)
    with requant.open(path) as db, requant.open(copy) as other:
        notes, theirs = db.collection("notes"), other.collection("notes")
        is_whole(notes)
        is_whole(theirs)
        before = written(theirs)
        monkeypatch.setattr(inside.WAIT_FOR_CLONES, lambda _: inside.overwrite_note(theirs, "main"))
        notes.upsert(range(50), vectors(50, seed=5))
        with told("a copy of the database has written to it"):
            answers(notes)
        monkeypatch.undo()
        assert written(theirs) == before
        is_whole(notes)
        with told("a copy of the database writes to it"):
            answers(theirs)
        is_whole(theirs)


@SHARED
def test_who_has_written_does_not_wait_again(clones, options, monkeypatch):
    path, _ = clones(options)
    waits = []
    monkeypatch.setattr(inside.WAIT_FOR_CLONES, waits.append)
    with requant.open(path) as db:
        notes = db.collection("notes")
        for i in range(3):
            notes.upsert([i], vectors(1, seed=5 + i))
            is_whole(notes)
    assert len(waits) == 1


@pytest.mark.parametrize("engine", ["faiss", "usearch", "lancedb"])
def test_two_clones_of_one_folder(clones, tmp_path, engine, monkeypatch):
    """They may remove what was there when they became two, which is then made again."""
    folder = tmp_path / "x.db.indexes"
    path, copy = clones({"engine": engine})
    monkeypatch.setattr(*inside.ASK_AT_ONCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexWarning)
        with requant.open(path, folder=folder) as db, requant.open(copy, folder=folder) as other:
            notes, theirs = db.collection("notes"), other.collection("notes")
            for i in range(4):
                for one, seed in ((notes, 10), (theirs, 20)):
                    one.upsert(range(10 * i, 10 * i + 50), vectors(50, seed=seed + i))
                    is_whole(one)
                    one.flush()
            warnings.simplefilter("error", IndexWarning)  # by now each has its own
            is_whole(notes)
            is_whole(theirs)
            warnings.simplefilter("ignore", IndexWarning)
            theirs.drop_index("main")
            is_whole(notes)
        for where in (copy, path):
            with requant.open(where, folder=folder) as db:
                is_whole(db.collection("notes"))


def test_two_clones_of_one_folder_of_qdrant(clones, tmp_path):
    """It is open once, as for the processes of one database: the other one's is refused by name."""
    folder = tmp_path / "x.db.indexes"
    path, copy = clones({"engine": "qdrant"})
    with requant.open(path, folder=folder) as db, requant.open(copy, folder=folder) as other:
        is_whole(db.collection("notes"))
        with pytest.raises(requant.EngineError, match="open: close it there"):
            other.collection("notes").search(np.ones(8))
        assert len(other.collection("notes").search(np.ones(8), exact=True)) == 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexWarning)
        for i, where in enumerate((copy, path, copy, path)):
            with requant.open(where, folder=folder) as db:
                notes = db.collection("notes")
                notes.upsert(range(50), vectors(50, seed=5 + i))
                is_whole(notes)


@pytest.mark.parametrize("engine", ["faiss", "usearch", "lancedb"])
def test_a_database_that_is_set_back_while_it_is_in_use(tmp_path, engine):
    """As SQLite's .restore does, or a PostgreSQL server that lost its last commits."""
    path, kept = tmp_path / "x.db", tmp_path / "kept.db"
    with requant.open(path) as db:
        notes = make(db, {"engine": engine})
        ask(notes)
        backup(path, kept)
        notes.delete(range(N // 2))
        notes.upsert(range(N, N + 50), vectors(50, seed=2))
        ask(notes)
        backup(kept, path)
        with told("gone back in time"):
            answers(notes)
        for i in range(5):
            notes.upsert(range(N, N + 60), vectors(60, seed=3 + i))
        is_whole(notes)
    with requant.open(path) as db:
        is_whole(db.collection("notes"))


@pytest.mark.parametrize("engine", ["lancedb", "qdrant"])
def test_two_databases_of_one_remote_name(tmp_path, engine):
    with running() as server:
        url = server.url if engine == "qdrant" else str(tmp_path / "served")
        options = {"engine": engine, "url": url, "remote_name": "notes"}
        with requant.open(tmp_path / "x.db") as db, requant.open(tmp_path / "y.db") as other:
            notes = make(db, options)
            answers(notes)
            theirs = make(other, {**options, "overwrite": True}, seed=5)
            is_whole(theirs)
            with told("another database's by now"):
                answers(notes)
            is_whole(notes)
            is_whole(theirs)
            notes.rebuild()
            notes.flush()
            is_whole(theirs)
            notes.drop_index("main")
            is_whole(theirs)
        with requant.open(tmp_path / "y.db") as other:
            is_whole(other.collection("notes"))


@pytest.mark.parametrize("engine", ["lancedb", "qdrant"])
def test_two_databases_of_one_remote_name_one_after_the_other(tmp_path, engine):
    with running() as server:
        url = server.url if engine == "qdrant" else str(tmp_path / "served")
        options = {"engine": engine, "url": url, "remote_name": "notes"}
        with requant.open(tmp_path / "x.db") as db:
            make(db, options)
        with requant.open(tmp_path / "y.db") as other:
            make(other, {**options, "overwrite": True}, seed=5)
        with requant.open(tmp_path / "x.db") as db:
            notes = db.collection("notes")
            with told("another database's by now"):
                answers(notes)
            is_whole(notes)
        with requant.open(tmp_path / "y.db") as other:
            is_whole(other.collection("notes"))


def test_two_collections_of_one_remote_name(tmp_path):
    """A key of another collection is never looked up, whoever names it."""
    with running() as server, requant.open(tmp_path / "x.db") as db:
        options = {"engine": "qdrant", "url": server.url, "remote_name": "notes"}
        notes = make(db, options)
        second = db.create_collection("second", 8)
        second.upsert(range(N), vectors(N, seed=8))
        second.add_index("main", precision="int8", overwrite=True, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IndexWarning)
            answers(notes)
        is_whole(notes)
        is_whole(second)


def test_a_foreign_key_is_never_looked_up(tmp_path):
    with running() as server, requant.open(tmp_path / "x.db") as db:
        notes = make(db, {"engine": "qdrant", "url": server.url, "remote_name": "notes"})
        second = db.create_collection("second", 8)
        best = vectors(1, seed=1)
        second.upsert(["secret"], best, documents=["not yours"])
        from qdrant_client import models

        (key,) = [item.key for item in second.get(["secret"])]
        row = np.clip(best[0] * 100, -127, 127).tolist()
        server.client.upsert("notes", [models.PointStruct(id=key, vector=row)])
        for oversample in (1, 2, 5):
            hits = notes.search(best[0], k=10, oversample=oversample)
            assert "secret" not in [hit.id for hit in hits]
            assert len(hits) == 10


@pytest.mark.parametrize("engine", ["lancedb", "qdrant"])
def test_lost_writes_of_a_server_are_noticed(tmp_path, engine):
    with running() as server:
        url = server.url if engine == "qdrant" else str(tmp_path / "served")
        with requant.open(tmp_path / "x.db") as db:
            make(db, {"engine": engine, "url": url, "remote_name": "notes"})
        if engine == "qdrant":
            points, _ = server.client.scroll("notes", limit=100)
            server.client.delete("notes", [point.id for point in points])
        else:
            import lancedb

            lancedb.connect(f"{url}/notes").open_table("codes").delete("key % 3 = 0")
        with requant.open(tmp_path / "x.db") as db:
            notes = db.collection("notes")
            with told("holds 200 items, 300 were written"):
                answers(notes)
            is_whole(notes)


def test_a_server_that_went_back_in_time_is_noticed(tmp_path):
    """The same number of points, but the last updates of them are lost."""
    with running() as server, requant.open(tmp_path / "x.db") as db:
        notes = make(db, {"engine": "qdrant", "url": server.url, "remote_name": "notes"})
        before, _ = server.client.scroll("notes", limit=N, with_vectors=True)
        note = server.client.get_collection("notes").config.metadata
        old = dict(note)
        notes.upsert(range(N), vectors(N, seed=6))
        answers(notes)
        notes.flush()
        from qdrant_client import models

        points = [models.PointStruct(id=point.id, vector=point.vector) for point in before]
        server.client.upsert("notes", points)
        server.client.update_collection("notes", metadata=old)
        db.close()
        with requant.open(tmp_path / "x.db") as again:
            notes = again.collection("notes")
            with told("has lost what was published"):
                answers(notes)
            is_whole(notes)


def test_one_folder_for_two_databases(tmp_path):
    folder = tmp_path / "indexes"
    for engine in ("faiss", "lancedb"):
        one, two = tmp_path / f"{engine}1.db", tmp_path / f"{engine}2.db"
        with requant.open(one, folder=folder) as db, requant.open(two, folder=folder) as other:
            notes = make(db, {"engine": engine})
            with pytest.raises(requant.StoreError, match="another database"):
                make(other, {"engine": engine}, seed=3)
        with requant.open(two, folder=folder) as other:
            theirs = other.collection("notes")
            theirs.add_index("main", engine=engine, precision="int8")
            is_whole(theirs)
            theirs.drop_index("main")
        with requant.open(one, folder=folder) as db:
            notes = db.collection("notes")
            is_whole(notes)
        shutil.rmtree(folder)


@pytest.mark.parametrize("engine", ["faiss", "lancedb", "qdrant"])
def test_a_copy_in_the_same_folder(tmp_path, engine):
    folder, path, copy = tmp_path / "indexes", tmp_path / "x.db", tmp_path / "copy.db"
    with requant.open(path, folder=folder) as db:
        notes = make(db, {"engine": engine})
        notes.flush()
        backup(path, copy)
        with requant.open(copy, folder=folder) as other:
            theirs = other.collection("notes")
            ask(theirs)
            theirs.upsert(range(50), vectors(50, seed=2))
            is_whole(theirs)
            theirs.drop_index("main")
        is_whole(notes)
    with requant.open(path, folder=folder) as db:
        is_whole(db.collection("notes"))


@pytest.mark.parametrize("engine", ["faiss", "lancedb", "qdrant"])
def test_a_database_copied_with_its_folder_keeps_its_indexes(tmp_path, engine):
    path, copy = tmp_path / "x.db", tmp_path / "copy.db"
    with requant.open(path) as db:
        make(db, {"engine": engine})
    shutil.copy(path, copy)
    shutil.copytree(f"{path}.indexes", f"{copy}.indexes")
    for where in (copy, path, copy):
        with requant.open(where) as db:
            notes = db.collection("notes")
            is_whole(notes)  # warnings are errors: nothing is built again
            notes.upsert([1], vectors(1, seed=4))
            is_whole(notes)


@pytest.mark.parametrize("engine", ["faiss", "lancedb", "qdrant"])
def test_a_moved_database_keeps_its_indexes(tmp_path, engine):
    path, there = tmp_path / "x.db", tmp_path / "there"
    with requant.open(path) as db:
        make(db, {"engine": engine})
    there.mkdir()
    shutil.copytree(f"{path}.indexes", there / "y.db.indexes")
    shutil.copy(path, there / "y.db")
    path.unlink()
    with requant.open(there / "y.db") as db:
        is_whole(db.collection("notes"))


@pytest.mark.parametrize("engine", ["faiss", "lancedb", "qdrant"])
def test_a_link_leads_to_the_same_indexes(tmp_path, engine):
    path, link = tmp_path / "x.db", tmp_path / "links"
    link.mkdir()
    (link / "y.db").symlink_to(path)
    with requant.open(path) as db:
        make(db, {"engine": engine})
    for where in (link / "y.db", path, link / "y.db"):
        with requant.open(where) as db:
            is_whole(db.collection("notes"))
    assert [found.name for found in link.iterdir()] == ["y.db"]


def test_a_dump_of_postgresql_is_a_copy(any_db, tmp_path, monkeypatch):
    if any_db.engine.dialect.name == "sqlite":
        pytest.skip("the copies of SQLite are those above")
    options = {"engine": "lancedb", "url": str(tmp_path / "served")}
    url = any_db.engine.url.render_as_string(False)
    with requant.open(url, folder=tmp_path / "one") as db:
        make(db, options)
        before = inside.identity_of(db)
    with requant.open(url, folder=tmp_path / "other") as same:
        assert inside.identity_of(same).name == before.name
        is_whole(same.collection("notes"))
    with any_db.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE requant_meta SET value = replace(value, '\"database\": ', '\"database\": 7') "
            "WHERE name = 'identity'"
        )
    with told("copy of the database"):
        copied = requant.open(url, folder=tmp_path / "copied")
    with copied:
        assert inside.identity_of(copied).ancestors == (before.name,)
        ask(copied.collection("notes"))
        is_whole(copied.collection("notes"))
    assert len(list((tmp_path / "served").glob("[!.]*"))) == 2

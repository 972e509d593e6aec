"""Backups while others write, and what is restored from them: all of one moment, and true."""

from __future__ import annotations

import stat
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import IndexWarning, LocationTakenError
from requant.store.schema import KEY_BITS
from tests import inside
from tests.databases import brute_force, files, metadata, vectors
from tests.processes import DIM, pipe, start, write_batches
from tests.qdrant_server import running

N, SIZE = 300, 20
INDEXES = {
    "faiss": {"engine": "faiss", "precision": "int8"},
    "graph": {"engine": "faiss", "precision": "binary", "index_type": "hnsw"},
    "usearch": {"engine": "usearch", "precision": "int8"},
    "lance": {"engine": "lancedb", "precision": "int8"},
    "edge": {"engine": "qdrant", "precision": "int8"},
}


def fill(db, names=("faiss",)):
    notes = db.create_collection("notes", DIM)
    texts = [f"text {row}" for row in range(N)]
    notes.upsert(range(N), vectors(N, DIM), documents=texts, metadata=metadata(N))
    for name in names:
        notes.add_index(name, **INDEXES[name])
    return notes


def everything(db):
    """All that users see of a database."""
    return {
        name: [
            (i.id, i.document, i.metadata, i.vector.tobytes()) for i in db.collection(name).iter()
        ]
        for name in db.collections()
    }


def index_files(folder):
    return {path.name for path in folder.glob("*/*") if path.suffix in (".faiss", ".usearch")}


def approve(db, name="notes"):
    """A collection is whole, and every index finds what brute force finds."""
    notes = db.collection(name)
    items = list(notes.iter())
    stored = np.array([item.vector for item in items])
    for index in [None, *(info.name for info in notes.indexes)]:
        for query in vectors(5, DIM, seed=99):
            hits = notes.search(query, k=10, index=index, oversample=len(items) / 10)
            rows, _ = brute_force(query, stored, notes.metric, 10)
            assert [hit.id for hit in hits] == [items[row].id for row in rows], index
    report = notes.verify(deep=True)
    assert report.ok, report.problems


def test_one_moment_while_two_processes_write(any_db, tmp_path):
    fill(any_db, ["faiss", "usearch"])
    url = any_db.engine.url.render_as_string(hide_password=False)
    processes = []
    for writer in range(2):
        receiver, sender = pipe()
        folder = str(inside.folder_of(any_db))
        processes.append(start(write_batches, url, folder, writer, SIZE, sender))
        assert receiver.poll(60)
    try:
        made = [any_db.backup(tmp_path / f"{i}.backup", indexes=i == 1) for i in range(3)]
        assert all(process.is_alive() for process in processes)
    finally:
        for process in processes:
            process.kill()
            process.join()
    for i, backup in enumerate(made):
        path = tmp_path / f"{i}.requant"
        assert requant.restore(tmp_path / f"{i}.backup", path) == backup
        with requant.open(path) as db:
            marks = [
                (m["writer"], m["batch"]) for _, _, m, _ in everything(db)["notes"] if "batch" in m
            ]
            batches = Counter(marks)
            assert set(batches.values()) == {SIZE}
            for writer in range(2):  # a batch is in it if any that came after is
                numbers = sorted(batch for who, batch in batches if who == writer)
                assert numbers == list(range(len(numbers)))
            assert len(db.collection("notes")) == backup.items == N + sum(batches.values())
            approve(db)
    assert made[0].items < made[2].items  # they did write meanwhile


@pytest.mark.parametrize("indexes", [False, True])
@pytest.mark.parametrize("name", INDEXES)
def test_every_index_answers_after_a_restore(name, indexes, db, tmp_path):
    notes = fill(db, [name])
    notes.search(np.ones(DIM))
    notes.delete(range(0, 60, 2))
    notes.upsert(range(N, N + 10), vectors(10, DIM, 3))
    notes.search(np.ones(DIM))
    before = everything(db)
    backup = db.backup(tmp_path / "notes.backup", indexes=indexes)
    # What comes later is not in it, though an engine's own place knows of it by then.
    notes.delete(range(60, 200))
    notes.search(np.ones(DIM))
    live = name in ("lance", "edge")
    assert bool(backup.indexes) == (indexes and not live)
    original = files(inside.folder_of(db)) if not live else None
    requant.restore(tmp_path / "notes.backup", tmp_path / "again.requant")
    with requant.open(tmp_path / "again.requant") as again:
        assert everything(again) == before
        approve(again)
        again.collection("notes").upsert([1], vectors(1, DIM, 5))
        approve(again)
    approve(db)
    if original is not None:
        assert files(inside.folder_of(db)) == original


def test_a_carried_index_is_not_built_again(db, tmp_path):
    notes = fill(db, ["faiss", "usearch"])
    notes.flush()
    backup = db.backup(tmp_path / "notes.backup", indexes=True)
    assert len(backup.indexes) == 2
    requant.restore(tmp_path / "notes.backup", tmp_path / "again.requant")
    names = index_files(tmp_path / "again.requant.indexes")
    assert len(names) == 2
    assert names <= index_files(inside.folder_of(db))
    with requant.open(tmp_path / "again.requant") as again:
        approve(again)
    assert index_files(tmp_path / "again.requant.indexes") == names


def test_a_damaged_index_file_is_not_carried(db, tmp_path):
    notes = fill(db, ["faiss", "usearch"])
    notes.flush()
    damaged = next(inside.folder_of(db).rglob("*.faiss"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert len(db.backup(tmp_path / "notes.backup", indexes=True).indexes) == 1
    requant.restore(tmp_path / "notes.backup", tmp_path / "again.requant")
    with requant.open(tmp_path / "again.requant") as again:
        approve(again)


def test_a_database_in_memory(tmp_path):
    with requant.open(":memory:") as db:
        fill(db)
        before = everything(db)
        db.backup(tmp_path / "notes.backup")
    requant.restore(tmp_path / "notes.backup", tmp_path / "again.requant")
    with requant.open(tmp_path / "again.requant") as again:
        assert everything(again) == before
        approve(again)


@pytest.mark.parametrize("carried", [False, True])
def test_from_either_database_into_either(any_db, empty_other, carried, tmp_path):
    notes = fill(any_db, ["faiss", "lance"])
    any_db.create_collection("gone", 3)
    any_db.drop_collection("gone")  # its number is not given out again
    notes.search(np.ones(DIM))
    notes.flush()
    before = everything(any_db)
    any_db.backup(tmp_path / "notes.backup", indexes=carried)
    folder = tmp_path / "folder"
    requant.restore(tmp_path / "notes.backup", empty_other, folder=folder)
    with requant.open(empty_other, folder=folder) as again:
        assert everything(again) == before
        assert again.collection("notes").get([7])[0].metadata == {
            "n": 7,
            "word": "cue",
            "even": False,
        }
        approve(again)
        more = again.create_collection("more", DIM)
        more.upsert(range(5), vectors(5, DIM))
        assert next(more.iter()).key >> KEY_BITS == 3
        more.add_index("main")
        again.collection("notes").upsert([1000], vectors(1, DIM, 8))
        approve(again)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_other(request, tmp_path):
    """An empty target in either; the PostgreSQL one is not the one that is backed up."""
    if request.param == "sqlite":
        yield str(tmp_path / "other.requant")
        return
    url = sa.make_url(request.getfixturevalue("postgres_url"))
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS restored")
        connection.exec_driver_sql("CREATE DATABASE restored")
    yield url.set(database="restored").render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE restored WITH (FORCE)")
    engine.dispose()


def test_back_in_time_in_its_own_place(tmp_path):
    path = tmp_path / "notes.requant"
    with requant.open(path) as db:
        notes = fill(db, INDEXES)
        before = everything(db)
        db.backup(tmp_path / "notes.backup")
        # Keys that the restored database gives out again, to others.
        notes.upsert([f"new {row}" for row in range(50)], vectors(50, DIM, 4))
        notes.delete(range(100))
        for name in INDEXES:
            notes.search(np.ones(DIM), index=name)
    requant.restore(tmp_path / "notes.backup", path, overwrite=True)
    left = [
        path for path in (tmp_path / "notes.requant.indexes").rglob("*.*") if path.suffix != ".lock"
    ]
    assert not [path for path in left if path.name != "requant.json"]
    with requant.open(path) as db:
        assert everything(db) == before
        notes = db.collection("notes")
        notes.upsert([f"other {row}" for row in range(50)], vectors(50, DIM, 6))
        approve(db)


def test_what_an_attached_index_held_is_remembered(db, tmp_path):
    import faiss

    notes = fill(db, [])
    rows = vectors(N, DIM)
    index = faiss.IndexFlatIP(DIM)
    index.add(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    faiss.write_index(index, str(tmp_path / "theirs.index"))
    notes.attach_index("theirs", location=tmp_path / "theirs.index", ids=[*range(N)])
    notes.upsert([3], vectors(1, DIM, 8))
    db.backup(tmp_path / "notes.backup")
    requant.restore(tmp_path / "notes.backup", tmp_path / "again.requant")
    with requant.open(tmp_path / "again.requant") as again:
        approve(again)


def test_the_originals_server_is_left_alone(db, tmp_path):
    """A restored database makes places of its own, or says that a name is taken."""
    with running() as server:
        url = server.url
        notes = fill(db, [])
        notes.add_index("free", engine="qdrant", url=url)
        notes.add_index("named", engine="qdrant", url=url, remote_name="docs")
        db.backup(tmp_path / "notes.backup", indexes=True)
        requant.restore(tmp_path / "notes.backup", tmp_path / "again.requant")
        notes.upsert(["later"], -vectors(1, DIM))
        for name in ("free", "named"):
            notes.search(np.ones(DIM), index=name)
        with requant.open(tmp_path / "again.requant") as again:
            copy = again.collection("notes")
            copy.upsert(["other"], vectors(1, DIM, 77))  # under the key of "later"
            try:
                copy.search(np.ones(DIM), index="named")  # elsewhere, or not at all
            except LocationTakenError:
                copy.drop_index("named")
            approve(again)
        approve(db)


def test_progress_counts_vectors(db, tmp_path):
    fill(db)
    told = []
    db.backup(tmp_path / "notes.backup", progress=lambda done, total: told.append((done, total)))
    assert told == [(100, N), (200, N), (300, N)]


def test_nobody_reads_a_backup_who_may_not_read_the_database(tmp_path):
    path = tmp_path / "notes.requant"
    with requant.open(path) as db:
        fill(db)
        path.chmod(0o600)
        db.backup(tmp_path / "notes.backup")
    assert stat.S_IMODE((tmp_path / "notes.backup").stat().st_mode) == 0o600
    requant.restore(tmp_path / "notes.backup", tmp_path / "again.requant")
    assert stat.S_IMODE((tmp_path / "again.requant").stat().st_mode) == 0o600


def test_no_warning_tells_of_what_was_left_out(db, tmp_path, recwarn):
    fill(db, INDEXES)
    db.backup(tmp_path / "notes.backup")
    requant.restore(tmp_path / "notes.backup", Path(tmp_path / "again.requant"))
    with requant.open(tmp_path / "again.requant") as again:
        approve(again)
    assert not [w for w in recwarn if issubclass(w.category, IndexWarning)]

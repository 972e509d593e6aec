"""Fields that are indexed while others write, die, or index the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import requant
from tests import inside
from tests.databases import fresh_schema

N = 3000


def filled(db, n=N):
    notes = db.create_collection("notes", 2)
    notes.upsert(range(n), metadata=[{"n": i % 7, "own": i} for i in range(n)])
    return notes


def check(notes, *names):
    """Compare what is listed with what the items say."""
    items = {item.id: item.metadata or {} for item in notes.iter()}
    for name in names:
        for value in {entry.get(name) for entry in items.values()}:
            expected = [key for key, entry in items.items() if entry.get(name) == value]
            assert [item.id for item in notes.iter(where={name: value})] == expected


class StoppedError(Exception):
    pass


def stopping(after):
    def progress(done, total):
        if done >= after:
            raise StoppedError

    return progress


@pytest.fixture(autouse=True)
def small_shares(monkeypatch):
    monkeypatch.setattr(inside.FIELD_BATCH, 256)


def test_what_is_written_meanwhile_is_kept_in_step(any_db):
    notes = filled(any_db)

    def write(done, total):
        # Behind what is listed, ahead of it, and new.
        behind, ahead = done // 2, (done + total) // 2
        notes.upsert([behind, ahead], metadata=[{"n": 100}, {"n": 200}])
        notes.delete([behind + 1, ahead + 1])
        notes.upsert([f"new {done}"], metadata=[{"n": 300}])

    notes.index_field("n", progress=write)
    check(notes, "n")
    assert notes.fields == [requant.FieldInfo("n", None, True)]


def test_it_goes_on_where_it_was_interrupted(any_db):
    notes = filled(any_db)
    with pytest.raises(StoppedError):
        notes.index_field("n", progress=stopping(1000))
    assert notes.fields == [requant.FieldInfo("n", None, False)]
    check(notes, "n")  # by looking at the items
    notes.upsert([5, 2000, "new"], metadata=[{"n": 100}, None, {"n": 100}])
    notes.delete([6, 2001])
    check(notes, "n")
    seen = []
    notes.index_field("n", progress=lambda done, total: seen.append(done))
    assert min(seen) > 1000
    assert notes.fields == [requant.FieldInfo("n", None, True)]
    check(notes, "n")


def test_two_fields_that_were_interrupted(any_db):
    notes = filled(any_db)
    for name, after in {"n": 1500, "own": 300}.items():
        with pytest.raises(StoppedError):
            notes.index_field(name, progress=stopping(after))
    notes.index_field("own")
    assert [field.ready for field in notes.fields] == [True, True]
    check(notes, "n")
    assert [item.id for item in notes.iter(where={"own": {"$gte": N - 3}})] == [*range(N - 3, N)]


def test_a_field_is_given_up_while_it_is_built(any_db):
    notes = filled(any_db)
    with pytest.raises(requant.UnknownFieldError, match="while it was built"):
        notes.index_field("n", progress=lambda done, total: notes.unindex_field("n"))
    assert notes.fields == []
    check(notes, "n")


def test_a_collection_is_dropped_while_it_is_built(any_db):
    notes = filled(any_db)
    with pytest.raises(requant.UnknownCollectionError):
        notes.index_field("n", progress=lambda done, total: any_db.drop_collection("notes"))
    with any_db.engine.connect() as connection:
        for table in ("fields", "values"):
            count = f"SELECT count(*) FROM requant_{table}"
            assert connection.exec_driver_sql(count).scalar() == 0


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_several_index_search_and_write_at_once(kind, tmp_path, request):
    if kind == "sqlite":
        target, folder = tmp_path / "x.db", None
    else:
        target, folder = request.getfixturevalue("empty_postgres"), tmp_path
    errors = []
    with requant.open(target, folder=folder) as db, requant.open(target, folder=folder) as other:
        notes, theirs = filled(db), other.collection("notes")
        done = threading.Event()

        def run(work):
            try:
                work()
            except BaseException as error:
                errors.append(error)

        def writing(notes, value):
            turn = 0
            while not done.is_set():
                turn += 1
                time.sleep(0.02)  # SQLite has no queue
                first = (turn * 37) % N
                notes.upsert(range(first, first + 20), metadata=[{"n": value}] * 20)
                found = notes.iter(where={"n": value})
                assert all(item.metadata["n"] == value for item in found)

        def indexing(notes):
            notes.index_field("n")
            notes.index_field("own")

        writers = [
            threading.Thread(target=run, args=(lambda: writing(notes, 50),)),
            threading.Thread(target=run, args=(lambda: writing(theirs, 60),)),
        ]
        builders = [
            threading.Thread(target=run, args=(lambda: indexing(notes),)),
            threading.Thread(target=run, args=(lambda: indexing(theirs),)),
        ]
        for thread in (*writers, *builders):
            thread.start()
        for thread in builders:
            thread.join()
        done.set()
        for thread in writers:
            thread.join()
        assert errors == []
        assert [field.ready for field in notes.fields] == [True, True]
        check(notes, "n")
        check(theirs, "n")


CHILD = """
import sys
import requant
from requant.store.fields import building
building._BATCH = 64
def told(done, total):
    print(done, flush=True)
with requant.open(sys.argv[1], folder=sys.argv[2]) as db:
    db.collection("notes").index_field("n", progress=told)
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_process_is_killed_in_the_middle(kind, tmp_path, postgres_url):
    target = str(tmp_path / "x.db")
    if kind == "postgresql":
        fresh_schema(postgres_url)
        target = postgres_url
    root = str(Path(__file__).parent.parent)
    with requant.open(target, folder=tmp_path / "indexes") as db:
        notes = filled(db)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, target, str(tmp_path / "indexes")],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
        )
        assert child.stdout is not None
        for _ in range(3):
            assert child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert notes.fields == [requant.FieldInfo("n", None, False)]
        notes.upsert([0, N - 1, "new"], metadata=[{"n": 100}] * 3)
        check(notes, "n")
        notes.index_field("n")
        check(notes, "n")
        db.drop_collection("notes")

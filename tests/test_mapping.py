"""SQLite's file is mapped by readers where that is safe, and nothing is read ahead of rows."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.store.mapping.places import SWITCH, file_system_of, may_be_mapped
from tests.databases import vectors

linux = pytest.mark.skipif(sys.platform != "linux", reason="mapped on Linux alone")
N = 3000
QUERY = np.ones(8)


@pytest.fixture
def path(tmp_path):
    if not may_be_mapped(str(tmp_path), read_only=False):
        pytest.skip(f"{file_system_of(str(tmp_path))!r} is not mapped")
    path = tmp_path / "notes.requant"
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N), ["text " * 20] * N)
        notes.add_index("main", precision="int8")
    return path


def flags(path):
    """Return the flags of each mapping of a file in this process: rr, if nothing is read ahead."""
    found = []
    for part in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        head, _, rest = part.partition("\n")
        if head.endswith(f"/{path.name}"):
            found.append(re.search(r"VmFlags: (.*)", rest)[1].split())
    return found


def advised(path, notes):
    """Whether a search comes to map the file as it should: not at once, where others write."""
    for _ in range(2000):
        notes.search(QUERY)
        if flags(path):
            return all("rr" in one for one in flags(path))
    return False


@linux
def test_nothing_is_read_ahead_of_what_a_search_fetches(path):
    with requant.open(path) as db, requant.open(path) as other:
        notes, theirs = db.collection("notes"), other.collection("notes")
        assert advised(path, notes)
        # Whoever writes lets SQLite map anew; the new mapping has to be told again.
        for n in range(3):
            theirs.upsert([f"new {n}"], [QUERY * (n + 1)], [f"{n}"])
            assert notes.search(QUERY, n + 1)[n].document in map(str, range(n + 1))
            assert advised(path, notes)


@linux
def test_what_reads_everything_maps_nothing(path):
    with requant.open(path) as db:
        notes = db.collection("notes")
        for read in (
            lambda: sum(1 for _ in notes.iter(vectors=True)),
            lambda: notes.search(QUERY, where={"$document": {"$contains": "text"}}, exact=True),
            lambda: notes.verify(),
            lambda: notes.search(QUERY, exact=True),
            lambda: len(notes),
        ):
            assert advised(path, notes)
            read()
            if flags(path):  # what a search fetched in the end
                assert all("rr" in one for one in flags(path))
        assert advised(path, notes)
        with closing(notes.iter()) as rows:
            next(rows)
            assert not flags(path)


@linux
@pytest.mark.parametrize("how", ["switch", "engine", "addresses", "file system"])
def test_where_it_may_not_be_it_is_not_mapped(path, monkeypatch, how):
    resource, target = pytest.importorskip("resource"), path
    if how == "switch":
        monkeypatch.setenv(SWITCH, "0")
    elif how == "engine":
        target = sa.create_engine(f"sqlite:///{path}")
    elif how == "addresses":
        monkeypatch.setattr(resource, "getrlimit", lambda which: (1 << 40, 1 << 40))
    else:
        monkeypatch.setattr("requant.store.mapping.places.file_system_of", lambda path: "nfs4")
    with requant.open(target) as db:
        notes = db.collection("notes")
        for _ in range(20):
            assert len(notes.search(QUERY)) == 10
        assert not flags(path)
        with db.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA mmap_size").scalar_one() == 0


def test_file_systems_are_told_by_the_deepest_mount(tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:9 / /data rw,relatime shared:1 - nfs4 server:/x rw\n"
        "3 2 8:2 / /data/fast\\040disk rw - xfs /dev/b rw\n"
        "4 1 0:8 / /over rw - ext4 /dev/c rw\n"
        "5 1 0:7 / /over rw - fuse.sshfs host rw\n"
    )
    of = {
        name: file_system_of(name, str(mounts))
        for name in ("/a.db", "/data/a.db", "/data/fast disk/a.db", "/database/a.db", "/over/a.db")
    }
    assert list(of.values()) == ["ext4", "nfs4", "xfs", "ext4", "fuse.sshfs"]
    assert file_system_of("/a.db", str(tmp_path / "none")) == ""


# A process that is told to search, and answers; what is cut off would end it by SIGBUS.
CUT = """
import os, sys, numpy as np, requant
path, size = sys.argv[1], int(sys.argv[2])
notes = requant.open(path).collection("notes")
for seed in range(50):
    notes.search(np.random.default_rng(seed).standard_normal(8))
assert os.path.basename(path) in open("/proc/self/maps").read(), "nothing is mapped"
os.truncate(path, size)
wrong = 0
for seed in range(50, 80):
    try:
        notes.search(np.random.default_rng(seed).standard_normal(8))
    except requant.RequantError as error:
        wrong += 1
print("refused", wrong)
"""


@linux
def test_a_file_that_is_cut_off_between_searches_is_an_error_and_no_signal(path):
    command = [sys.executable, "-c", CUT, str(path), str(16384)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert done.stdout.split() == ["refused", "30"]


def test_a_file_that_was_cut_off_before_is_refused(path):
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(requant.RequantError), requant.open(path) as db:
        db.collection("notes").search(QUERY)


@linux
def test_answers_stay_right_while_the_file_shrinks_and_grows(path):
    with requant.open(path) as db:
        notes, wrong, over = db.collection("notes"), [], threading.Event()
        kept = {hit.id: hit for hit in notes.search(QUERY, 20, vectors=True)}

        def look():
            while not over.is_set():
                for hit in notes.search(QUERY, 20, vectors=True):
                    same = kept.get(hit.id)
                    if same is not None and (hit.vector != same.vector).any():
                        wrong.append(hit)

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                notes.delete([n for n in range(N) if n not in kept])
                with closing(sqlite3.connect(path, timeout=60)) as raw:
                    raw.execute("VACUUM")
                    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                assert {hit.id for hit in notes.search(QUERY, 20)} == set(kept)
                others = [n for n in range(N) if n not in kept]
                notes.upsert(others, vectors(N)[others], ["text " * 20] * len(others))
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert not wrong
        assert {hit.id for hit in notes.search(QUERY, 20)} == set(kept)
        assert notes.verify().ok

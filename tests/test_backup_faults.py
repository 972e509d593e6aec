"""Backups that are damaged, places that are taken, disks that are full: refused, nothing half."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.backup.sealing import seal, unseal
from requant.errors import CorruptDataError, ExistsError, InputError, StoreError
from requant.integration.sqlalchemy import add_tables
from tests.cli import refused, run
from tests.databases import files, vectors
from tests.processes import start


@pytest.fixture
def backup(tmp_path):
    """A backup of 200 items, which carries an index."""
    with requant.open(tmp_path / "notes.requant") as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(200), vectors(200))
        notes.add_index("main")
        notes.flush()
        db.backup(tmp_path / "notes.backup", indexes=True)
    return tmp_path / "notes.backup"


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES = {
    "first byte": lambda data: flipped(data, 0),
    "page": lambda data: flipped(data, 40_000),
    "description": lambda data: flipped(data, len(data) - 100),
    "digest": lambda data: flipped(data, len(data) - 10),
    "last byte": lambda data: flipped(data, len(data) - 1),
    "cut by one": lambda data: data[:-1],
    "cut by half": lambda data: data[: len(data) // 2],
    "only a head": lambda data: data[:16],
    "longer": lambda data: data + b"\n",
    "empty": lambda data: b"",
    "another file": lambda data: b"not a backup" * 5000,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_backup_is_refused(damage, backup, tmp_path):
    backup.write_bytes(DAMAGES[damage](backup.read_bytes()))
    before = files(tmp_path)
    with pytest.raises(CorruptDataError, match=r"notes\.backup"):
        requant.restore(backup, tmp_path / "again.requant")
    assert files(tmp_path) == before
    with pytest.raises(CorruptDataError):
        requant.restore(backup, tmp_path / "notes.requant", overwrite=True)
    assert files(tmp_path) == before
    assert "notes.backup" in refused("restore", backup, tmp_path / "again.requant", code=1)


def test_every_byte_counts(backup, tmp_path):
    data = backup.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(data), 200):
        backup.write_bytes(flipped(data, int(at)))
        with pytest.raises(CorruptDataError):
            unseal(backup, tmp_path / "out")


def test_what_a_later_requant_made_is_refused(backup, tmp_path):
    data = backup.read_bytes()
    backup.write_bytes(b"requant backup 2" + data[16:])
    with pytest.raises(StoreError, match="upgrade requant"):
        requant.restore(backup, tmp_path / "again.requant")
    backup.write_bytes(data)
    described = unseal(backup, tmp_path / "out")
    seal(tmp_path / "out", type(described)(**{**vars(described), "schema": 99}))
    with pytest.raises(StoreError, match=r"schema 99.*upgrade requant"):
        requant.restore(tmp_path / "out", tmp_path / "again.requant")
    assert not (tmp_path / "again.requant").exists()


def test_a_file_name_that_leads_elsewhere_is_refused(backup, tmp_path):
    described = unseal(backup, tmp_path / "out")
    with sqlite3.connect(tmp_path / "out") as connection:
        connection.execute("UPDATE requant_backup_files SET file = '../../stolen.faiss'")
    connection.close()
    seal(tmp_path / "out", described)
    with pytest.raises(CorruptDataError, match="stolen"):
        requant.restore(tmp_path / "out", tmp_path / "again.requant")
    assert not list(tmp_path.rglob("stolen*"))
    assert not (tmp_path / "again.requant").exists()


def test_a_backup_is_not_opened_as_a_database(backup, tmp_path):
    data = backup.read_bytes()
    with pytest.raises(StoreError, match="not a database"):
        requant.open(backup)
    assert backup.read_bytes() == data
    assert not backup.with_name("notes.backup-wal").exists()


def test_what_exists_is_not_replaced_unasked(backup, tmp_path):
    before = files(tmp_path)
    with pytest.raises(ExistsError, match="overwrite=True"):
        requant.restore(backup, tmp_path / "notes.requant")
    assert "--overwrite" in refused("restore", backup, tmp_path / "notes.requant")
    with (
        requant.open(tmp_path / "notes.requant") as db,
        pytest.raises(ExistsError, match="never replaces"),
    ):
        db.backup(backup)
    assert files(tmp_path) == before


def test_a_database_that_is_open_is_not_replaced(backup, tmp_path):
    path = tmp_path / "notes.requant"
    with requant.open(path) as db:
        notes = db.collection("notes")
        notes.upsert(["later"], vectors(1))
        with pytest.raises(StoreError, match="open elsewhere"):
            requant.restore(backup, path, overwrite=True)
        assert notes.get(["later"])
        with pytest.raises(CorruptDataError, match="in use, and no backup"):
            requant.restore(path, tmp_path / "swapped.requant")
        # To be refused has cost this process none of its locks: others are refused, too.
        code = "import requant, sys; requant.restore(sys.argv[1], sys.argv[2], overwrite=True)"
        other = subprocess.run(
            [sys.executable, "-c", code, backup, path], capture_output=True, text=True
        )
        assert other.returncode, "the database was replaced while it was open here"
        assert "open elsewhere" in other.stderr
        notes.verify()  # its index files are still there
        notes.upsert(["later still"], vectors(1))
    code = (
        "import requant, sys; db = requant.open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        child.stdout.readline()
        with pytest.raises(StoreError, match="open elsewhere"):
            requant.restore(backup, path, overwrite=True)
        child.stdin.close()
    with requant.open(path) as db:
        assert len(db.collection("notes").get(["later", "later still"])) == 2
    requant.restore(backup, path, overwrite=True)
    with requant.open(path) as db:
        assert len(db.collection("notes")) == 200


def test_whoever_waited_for_the_old_file_is_told(backup, tmp_path):
    """A connection that was opened while the file was being replaced writes nowhere."""
    from requant.backup.replacing import replacing

    path = tmp_path / "notes.requant"
    with replacing(path, True, "requant_"):
        waiting = sqlite3.connect(path, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            waiting.execute("PRAGMA journal_mode = WAL")
        unseal(backup, tmp_path / "new")
        (tmp_path / "new").replace(path)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        waiting.execute("PRAGMA journal_mode = WAL")
    waiting.close()
    with requant.open(path) as db:
        assert len(db.collection("notes")) == 200


def test_nothing_but_a_database_of_ours_is_replaced(backup, tmp_path):
    theirs = tmp_path / "theirs.db"
    with sqlite3.connect(theirs) as connection:
        connection.execute("CREATE TABLE accounts (id)")
    connection.close()
    text = tmp_path / "letter.txt"
    text.write_text("Dear Ada, " * 100)
    (tmp_path / "folder").mkdir()
    before = files(tmp_path)
    with pytest.raises(StoreError, match="holds 'accounts' as well"):
        requant.restore(backup, theirs, overwrite=True)
    for path in (text, tmp_path / "folder"):
        with pytest.raises(StoreError, match=r"move it away|cannot restore"):
            requant.restore(backup, path, overwrite=True)
    assert files(tmp_path) == before


@pytest.mark.parametrize("theirs", ["TABLE app_users (id)", "VIEW app_names AS SELECT 1 AS id"])
def test_what_only_begins_as_our_tables_do_is_not_replaced(theirs, backup, tmp_path):
    """Neither an application's tables, nor another set whose prefix begins so."""
    ours, longer = (add_tables(sa.MetaData(), prefix=prefix) for prefix in ("app_", "app_b_"))
    for number, make in enumerate((theirs, None)):
        path = tmp_path / f"{number}.db"
        requant.restore(backup, path, tables=ours)
        requant.restore(backup, path, tables=ours, overwrite=True)
        if make is None:
            requant.open(path, tables=longer).close()
        else:
            with sqlite3.connect(path) as connection:
                connection.execute(f"CREATE {make}")
            connection.close()
        with pytest.raises(StoreError, match="holds 'app_"):
            requant.restore(backup, path, tables=ours, overwrite=True)


def test_the_log_of_a_database_that_is_gone_is_not_applied(backup, tmp_path):
    (tmp_path / "again.requant-wal").write_bytes(b"frames")
    with pytest.raises(StoreError, match="remove it"):
        requant.restore(backup, tmp_path / "again.requant")
    (tmp_path / "again.requant-wal").unlink()
    requant.restore(backup, tmp_path / "again.requant")


def test_places_that_cannot_be(backup, tmp_path):
    with pytest.raises(InputError, match="memory"):
        requant.restore(backup, ":memory:")
    with pytest.raises(StoreError, match="does not exist"):
        requant.restore(backup, tmp_path / "no" / "notes.requant")
    with pytest.raises(StoreError, match="no backup"):
        requant.restore(tmp_path / "no.backup", tmp_path / "again.requant")
    with requant.open(":memory:") as db, pytest.raises(StoreError, match="does not exist"):
        db.backup(tmp_path / "no" / "notes.backup")


@contextmanager
def room(size):
    """Files cannot grow beyond `size`, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97, 0.999, 1.0])
def test_a_full_disk(share, backup, tmp_path):
    size = int(backup.stat().st_size * share)
    with requant.open(tmp_path / "notes.requant") as db:
        before = {name for name in files(tmp_path) if "-wal" not in name and "-shm" not in name}
        with room(size), pytest.raises(StoreError, match="cannot write"):
            db.backup(tmp_path / "second.backup", indexes=True)
        left = {name for name in files(tmp_path) if "-wal" not in name and "-shm" not in name}
        assert left == before
        assert len(db.collection("notes")) == 200
    if share < 0.9:
        with room(size), pytest.raises(StoreError, match="cannot restore"):
            requant.restore(backup, tmp_path / "again.requant")
        with room(size), pytest.raises(StoreError, match="cannot restore"):
            requant.restore(backup, tmp_path / "notes.requant", overwrite=True)
        assert set(files(tmp_path)) == before
    with requant.open(tmp_path / "notes.requant") as db:
        assert len(db.collection("notes")) == 200


def dies_at_nth(n, task, path, target):
    """Back up or restore, and be gone at the n-th step on the disk."""
    steps = itertools.count(1)

    def dying(call):
        def counted(*args):
            if next(steps) == n:
                os._exit(9)
            return call(*args)

        return counted

    os.fsync, os.replace = dying(os.fsync), dying(os.replace)
    os.ftruncate, os.unlink = dying(os.ftruncate), dying(os.unlink)
    Path.replace = dying(Path.replace)
    if task == "backup":
        with requant.open(path) as db:
            db.backup(target, indexes=True)
    else:
        requant.restore(target, path, overwrite=True)


@pytest.mark.parametrize("task", ["backup", "restore"])
def test_killed_at_any_step(task, backup, tmp_path):
    """Either nothing has happened, or all of it; and the next try succeeds."""
    path = tmp_path / "notes.requant"
    for n in range(1, 50):
        target = backup if task == "restore" else tmp_path / f"{n}.backup"
        with requant.open(path) as db:
            db.collection("notes").upsert(["later"], vectors(1))
        process = start(dies_at_nth, n, task, str(path), str(target))
        process.join()
        assert process.exitcode in (0, 9)
        if task == "backup" and target.exists():
            requant.restore(target, tmp_path / f"{n}.requant")
        with requant.open(path) as db:
            notes = db.collection("notes")
            assert len(notes) in ((201,) if task == "backup" else (200, 201))
            assert len(notes) == 200 or notes.get(["later"])
            assert len(notes.search(np.ones(8), k=5)) == 5
            assert notes.verify(deep=True).ok
        if not process.exitcode:
            break
    assert not process.exitcode
    assert n > 2
    if task == "backup":
        assert target.exists()
    else:
        with requant.open(path) as db:
            assert not db.collection("notes").get(["later"])


def test_what_a_killed_backup_left_is_removed_in_time(backup, tmp_path):
    old, new = (tmp_path / f".second.backup.1-{n}.partial" for n in "ab")
    for left in (old, new):
        left.write_bytes(b"half")
    os.utime(old, (0, 0))
    with requant.open(tmp_path / "notes.requant") as db:
        db.backup(tmp_path / "second.backup")
    assert not old.exists()
    assert new.exists()  # somebody may be writing it


def test_postgresql_is_filled_wholly_or_not_at_all(backup, empty_postgres, tmp_path):
    engine = sa.create_engine(empty_postgres, poolclass=sa.NullPool)
    with requant.open(empty_postgres, folder=tmp_path / "a") as db:
        db.create_collection("others", 3).upsert(["x"], [[1, 2, 3]])
    with pytest.raises(ExistsError, match="overwrite"):
        requant.restore(backup, empty_postgres)
    with requant.open(empty_postgres, folder=tmp_path / "a") as db:
        db.collection("others").get(["x"])
        with pytest.raises(StoreError, match="stop what uses it"):
            requant.restore(backup, empty_postgres, overwrite=True)
        assert len(db.collection("others")) == 1
    # A row that PostgreSQL refuses: nothing of the rest is there.
    described = unseal(backup, tmp_path / "out")
    with sqlite3.connect(tmp_path / "out") as connection:
        connection.execute("UPDATE requant_vectors SET crc = 'no number' WHERE key % 200 = 199")
    connection.close()
    seal(tmp_path / "out", described)
    with pytest.raises(StoreError, match="cannot"):
        requant.restore(tmp_path / "out", empty_postgres, overwrite=True)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM requant_items")) == 1
    requant.restore(backup, empty_postgres, overwrite=True)
    with requant.open(empty_postgres, folder=tmp_path / "b") as db:
        assert db.collections() == ["notes"]
        assert len(db.collection("notes").search(np.ones(8), k=5)) == 5


def test_where_it_stood_is_told_by_path_alone(backup, tmp_path):
    """The number of a file says nothing on another machine: a restored identity has none."""
    described = unseal(backup, tmp_path / "out")
    home = {"machine": "m", "path": "/p", "inode": 7}
    known = json.dumps({"name": "abc", "ancestors": [], "home": home})
    with sqlite3.connect(tmp_path / "out") as connection:
        connection.execute("INSERT OR REPLACE INTO requant_meta VALUES ('identity', ?)", (known,))
    connection.close()
    seal(tmp_path / "out", described)
    requant.restore(tmp_path / "out", tmp_path / "again.requant")
    with sqlite3.connect(tmp_path / "again.requant") as connection:
        query = "SELECT value FROM requant_meta WHERE name = 'identity'"
        (text,) = connection.execute(query).fetchone()
    connection.close()
    assert json.loads(text)["home"] == {**home, "inode": None}


def test_the_command_line(backup, tmp_path):
    path, second = tmp_path / "notes.requant", tmp_path / "second.backup"
    assert "200 items in 1 collection" in run("backup", path, second).out
    made = run("backup", path, tmp_path / "third.backup", "--with-indexes", "--json").json
    assert (made["items"], made["indexes"]) == (200, [1])
    assert "200 items" in run("restore", second, tmp_path / "again.requant").out
    assert "ok" in run("verify", tmp_path / "again.requant", "--deep").out
    run("restore", second, path, "--overwrite")
    assert "does not exist" in refused("backup", tmp_path / "nothing.requant", tmp_path / "x")

"""Damage and refusals of the store itself, a full disk, an engine that is missing, forks."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import warnings

import numpy as np
import pytest

import requant
from requant.errors import (
    CorruptDataError,
    IndexWarning,
    RequantError,
    StoreError,
    UnknownCollectionError,
)
from requant.store import SCHEMA_VERSION
from tests import inside
from tests.databases import dump, expected, held, vectors


def run(script, *arguments, **options):
    """Run Python code in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    return subprocess.run(command, text=True, capture_output=True, **options)


def sql(path, statement, *parameters):
    """Meddle with the database behind requant's back."""
    connection = sqlite3.connect(path)
    with connection:
        rows = connection.execute(statement, parameters).fetchall()
    connection.close()
    return rows


def make(path, n=100, **index):
    """A closed database with one collection."""
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(n), vectors(n), ["text"] * n, [{"n": i} for i in range(n)])
        if index:
            notes.add_index("main", **index)
    return path


# Damage in the store


def test_a_flipped_bit_in_a_stored_vector_is_found(tmp_path):
    path = make(tmp_path / "x", engine="usearch")
    (key, vec), *_ = sql(path, "SELECT key, vec FROM requant_vectors WHERE key % 7 = 3")
    damaged = bytearray(vec)
    damaged[9] ^= 16
    sql(path, "UPDATE requant_vectors SET vec = ? WHERE key = ?", bytes(damaged), key)
    with requant.open(path) as db:
        report = db.collection("notes").verify(deep=True)
        assert not report.ok
        assert f"1 stored vector(s) differ from their checksum, key(s) {key}" in report.problems[0]


def test_a_vector_of_another_size_is_no_vector(tmp_path):
    path = make(tmp_path / "x")
    (key, vec), *_ = sql(path, "SELECT key, vec FROM requant_vectors LIMIT 1")
    sql(path, "UPDATE requant_vectors SET vec = ? WHERE key = ?", vec[:-4], key)
    with requant.open(path) as db:
        notes = db.collection("notes")
        with pytest.raises(CorruptDataError, match=f"key {key} has another size"):
            notes.search(np.ones(8))
        assert str(key) in notes.verify(deep=True).problems[0]


def test_a_vector_without_an_item_is_found(tmp_path):
    path = make(tmp_path / "x")
    sql(path, "DELETE FROM requant_items WHERE ext_id = '7'")
    with requant.open(path) as db:
        report = db.collection("notes").verify(deep=True)
        assert "1 stored vector(s) have no item" in report.problems[0]


def test_an_index_that_missed_something_is_found(tmp_path):
    path = make(tmp_path / "x", engine="usearch")
    with requant.open(path) as db:
        notes = db.collection("notes")
        notes.search(np.ones(8))
        backend = inside.backend_of(notes)
        keys = [item.key for item in notes.get([1, 2, 3])]
        backend.delete(np.array(keys[:1]))
        backend.upsert(np.array(keys[1:2]), np.full((1, 8), 99, np.int8))
        backend.upsert(np.array([keys[0] + 1000]), np.full((1, 8), 99, np.int8))
        problems = notes.verify().problems
        assert len(problems) == 3
        assert f"1 vector(s) are missing from index 'main', key(s) {keys[0]}" in problems[0]
        assert (
            f"1 code(s) of index 'main' are not those of the vectors, key(s) {keys[1]}"
            in (problems[1])
        )
        assert f"are not in the store, key(s) {keys[0] + 1000}" in problems[2]
        notes.rebuild()
        assert notes.verify().ok


def test_a_database_file_that_is_not_sqlite(tmp_path):
    path = tmp_path / "x"
    for content in (b"not a database" * 500, b"SQLite format 3\0" + b"\xff" * 5000):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"not a database|malformed"):
            requant.open(path)
        assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_a_database_that_is_cut_short(tmp_path):
    path = make(tmp_path / "x", n=2000)
    with path.open("r+b") as file:
        file.truncate(60_000)
    try:
        with requant.open(path) as db:
            problems = db.collection("notes").verify(deep=True).problems
    except RequantError as error:
        problems = [str(error)]
    assert "malformed" in problems[0] or "disk image" in problems[0]


def test_a_newer_schema(tmp_path):
    path = make(tmp_path / "x")
    sql(path, "UPDATE requant_meta SET value = '99' WHERE name = 'schema'")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"schema 99, this requant reads {SCHEMA_VERSION}:"):
        requant.open(path)
    assert path.read_bytes() == before


def test_a_table_that_is_gone(tmp_path):
    path = make(tmp_path / "x", engine="usearch")
    with requant.open(path) as db:
        notes = db.collection("notes")
        sql(path, "DROP TABLE requant_items")
        calls = {
            "get": lambda: notes.get(["a"]),
            "len": lambda: len(notes),
            "iter": lambda: list(notes.iter()),
            "vectors": lambda: notes.vectors(["a"]),
            "search": lambda: notes.search(np.ones(8)),
            "where": lambda: notes.search(np.ones(8), where={"n": 1}),
            "upsert": lambda: notes.upsert(["a"], vectors(1)),
            "delete": lambda: notes.delete(["a"]),
            "delete where": lambda: notes.delete(where={"n": 1}),
            "stats": notes.stats,
            "verify": lambda: notes.verify(deep=True),
        }
        for name, call in calls.items():
            with pytest.raises(StoreError, match="no such table: requant_items"):
                pytest.fail(f"{name} returned {call()}")
        sql(path, "DROP TABLE requant_collections")
        for call in (
            db.collections,
            lambda: db.collection("notes"),
            lambda: db.create_collection("other", 3),
            lambda: db.drop_collection("notes"),
        ):
            with pytest.raises(StoreError, match="no such table: requant_collections"):
                call()


# A disk that is full, a folder that cannot be written


FULL = """
import sys, warnings, resource, numpy as np, requant
from requant.errors import IndexWarning, RequantError, StoreError, EngineError
path, engine, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rng = np.random.default_rng(0)
with requant.open(path) as db:
    notes = db.collection("notes")
    notes.search(np.ones(64))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    for n in range(1000):
        try:
            notes.upsert([f"{n}-{i}" for i in range(500)], rng.standard_normal((500, 64)))
        except StoreError as error:
            assert "full" in str(error) or "disk I/O" in str(error), error
            break
        print(n, flush=True)
    else:
        raise SystemExit("the disk was never full")
    assert len(notes) == 200 + 500 * n
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexWarning)
        assert len(notes.search(np.ones(64), k=5)) == 5
    try:
        notes.flush()
    except (StoreError, EngineError) as error:
        print("flush refused", error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
"""


@pytest.mark.parametrize("engine", ["faiss", "usearch"])
def test_a_limit_to_the_size_of_files_leaves_the_store_whole(tmp_path, engine):
    path = tmp_path / "x"
    with requant.open(path) as db:
        notes = db.create_collection("notes", 64)
        notes.upsert(range(200), vectors(200, 64))
        notes.add_index("main", engine=engine, precision="float32")
    done = run(FULL, path, engine, 2_000_000)
    assert done.returncode == 0, done.stderr
    with requant.open(path) as db:
        notes = db.collection("notes")
        batches = [line for line in done.stdout.splitlines() if line.isdigit()]
        assert len(notes) == 200 + 500 * len(batches)
        assert held(notes) == expected(notes)
        assert notes.verify(deep=True).ok
        notes.upsert(["more"], vectors(1, 64))
        notes.flush()


WRITE_REFUSED = """
import sys, os, numpy as np, requant
with requant.open(":memory:") as db:  # whoever is root now cannot import anything later
    notes = db.create_collection("notes", 8)
    notes.upsert(["a"], np.ones((1, 8)))
    notes.add_index("main", engine="usearch")
from requant.errors import StoreError
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
path = sys.argv[1]
try:
    with requant.open(path) as db:
        notes = db.collection("notes")
        print(len(notes.search(np.ones(8))))
        try:
            notes.upsert(["a"], np.ones((1, 8)))
        except StoreError as error:
            print("refused", error)
except StoreError as error:
    print("refused", error)
"""


def test_a_folder_that_cannot_be_written_is_left_as_it_is(tmp_path):
    for parent in [tmp_path, *tmp_path.parents][:-2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    folder = tmp_path / "read only"
    folder.mkdir()
    path = make(folder / "x", engine="usearch")
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    for item in [folder, *folder.rglob("*")]:
        item.chmod(0o555 if item.is_dir() else 0o444)
    done = run(WRITE_REFUSED, path, cwd="/")
    folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "refused cannot" in done.stdout
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_an_index_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(inside.PUBLISH_ROWS, 10)
    path = make(tmp_path / "x", engine="usearch")
    with requant.open(path) as db:
        notes = db.collection("notes")
        notes.search(np.ones(8))
        before = notes.indexes
        # A file in the place of the folder refuses whoever one is.
        shutil.rmtree(inside.folder_of(db))
        inside.folder_of(db).write_text("in the way")
        notes.upsert(range(100, 150), vectors(50, seed=1))
        assert notes.search(vectors(50, seed=1)[7], k=1)[0].id == 107
        with pytest.warns(IndexWarning, match=r"cannot write index 'main'.*not on disk"):
            notes.upsert([107], vectors(1, seed=2))
        # It is said once, and not with every write.
        notes.upsert([107], vectors(50, seed=1)[7:8])
        assert notes.search(vectors(50, seed=1)[8], k=1)[0].id == 108
        for call in (notes.flush, lambda: notes.add_index("other", engine="faiss")):
            with pytest.raises(StoreError, match="cannot write index"):
                call()
        assert [info.name for info in notes.indexes] == ["main"]
        assert notes.indexes[0].items == before[0].items
        inside.folder_of(db).unlink()
        notes.flush()
        assert notes.indexes[0].items == 150


# An engine that is missing


MISSING = """
import sys, numpy as np
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[2:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
import requant
from requant.adapters import registry
with requant.open(sys.argv[1]) as db:
    notes = db.collection("notes")
    for call in (
        lambda: notes.search(np.ones(8)),
        lambda: notes.add_index("more", engine="faiss"),
        lambda: notes.flush(),
        lambda: notes.verify(),
    ):
        try:
            call()
        except requant.EngineMissingError as error:
            assert "pip install 'requant[faiss]'" in str(error), error
            assert isinstance(error, ImportError)
        else:
            raise SystemExit("not noticed")
    assert notes.search(np.ones(8), k=3, exact=True)
    assert notes.search(np.ones(8), k=3, index="other")
    notes.upsert(["new"], np.ones((1, 8)))
    notes.delete([1])
    assert notes.get(["new"]) and len(notes) == 100
    assert [i.name for i in notes.indexes] == ["main", "other"]
    assert not registry.status("faiss").usable and registry.status("usearch").usable
    assert "requant[faiss]" in registry.status("faiss").reason
"""


def test_an_engine_that_is_missing_harms_nothing_else(tmp_path):
    path = make(tmp_path / "x", engine="faiss")
    with requant.open(path) as db:
        db.collection("notes").add_index("other", engine="usearch")
    done = run(MISSING, path, "faiss")
    assert done.returncode == 0, done.stderr
    with requant.open(path) as db:
        notes = db.collection("notes")
        assert notes.search(np.ones(8), k=1)[0].id == "new"
        assert notes.verify(deep=True).ok


# Handles


def test_a_collection_that_was_dropped_elsewhere(tmp_path):
    path = make(tmp_path / "x", engine="usearch")
    with requant.open(path) as one, requant.open(path) as two:
        stale = one.collection("notes")
        stale.search(np.ones(8))
        two.drop_collection("notes")
        new = two.create_collection("notes", 3)
        new.upsert(["a"], np.ones((1, 3)))
        before = dump(two)
        calls = {
            "search": lambda: stale.search(np.ones(8)),
            "search_many": lambda: stale.search_many(np.ones((2, 8)), exact=True),
            "upsert": lambda: stale.upsert(["b"], np.ones((1, 8))),
            "add": lambda: stale.add(["b"], np.ones((1, 8))),
            "delete": lambda: stale.delete(["a"]),
            "delete where": lambda: stale.delete(where={"n": 1}),
            "get": lambda: stale.get(["a"]),
            "vectors": lambda: stale.vectors(["a"]),
            "iter": lambda: list(stale.iter()),
            "len": lambda: len(stale),
            "stats": stale.stats,
            "verify": stale.verify,
            "rebuild": stale.rebuild,
            "add_index": lambda: stale.add_index("x", engine="usearch"),
        }
        for name, call in calls.items():
            with pytest.raises(UnknownCollectionError, match="'notes' has been dropped"):
                pytest.fail(f"{name} returned {call()}")
        stale.flush()
        assert dump(two) == before
        assert one.collection("notes").get(["a"])[0].id == "a"


def test_closing_twice_and_empty_handed(tmp_path):
    db = requant.open(tmp_path / "x")
    db.create_collection("notes", 8).add_index("main", engine="usearch")
    db.close()
    db.close()
    memory = requant.open(":memory:")
    home = inside.folder_of(memory).parent
    assert home.exists()
    memory.close()
    memory.close()
    assert not home.exists()


def test_a_close_that_cannot_publish_warns_and_closes(tmp_path):
    path = make(tmp_path / "x", engine="usearch")
    db = requant.open(path)
    notes = db.collection("notes")
    notes.upsert(["new"], vectors(1, seed=3))
    notes.search(np.ones(8))
    shutil.rmtree(inside.folder_of(db))
    inside.folder_of(db).write_text("in the way")
    with pytest.warns(IndexWarning, match="cannot write index 'main'"):
        db.close()
    db.close()
    inside.folder_of(db).unlink()
    with requant.open(path) as again, warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexWarning)
        assert again.collection("notes").search(vectors(1, seed=3)[0], k=1)[0].id == "new"


FORK = """
import os, sys, numpy as np, requant
db = requant.open(sys.argv[1], folder=sys.argv[2])
notes = db.collection("notes")
first = notes.search(np.ones(8), k=5)
pid = os.fork()
if pid == 0:
    try:
        assert notes.search(np.ones(8), k=5) == first
        assert db.collection("notes").search_many(np.ones((2, 8)), k=5).ids[0] == [
            hit.id for hit in first
        ]
        notes.upsert(["child"], np.full((1, 8), 5.0))
        assert notes.search(np.ones(8), k=1)[0].id == "child"
        assert db.collections() == ["notes"]
        notes.flush()
        assert notes.verify(deep=True).ok
        db.close()
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
for n in range(20):
    notes.upsert([f"parent {n}"], -np.full((1, 8), 1.0 + n))
    notes.search(np.ones(8), k=5)
_, status = os.waitpid(pid, 0)
assert status == 0, status
assert notes.search(np.ones(8), k=1)[0].id == "child"
assert len(notes) == 121
assert notes.verify(deep=True).ok
db.close()
"""


@pytest.mark.parametrize("engine", ["faiss", "usearch"])
def test_a_fork_in_the_middle(any_db, engine):
    notes = any_db.create_collection("notes", 8)
    notes.upsert(range(100), vectors(100))
    notes.add_index("main", engine=engine)
    done = run(
        FORK, any_db.engine.url.render_as_string(False), inside.folder_of(any_db), timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert held(notes) == expected(notes)
    assert len(notes) == 121
    assert notes.verify(deep=True).ok

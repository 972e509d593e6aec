"""A database that came from somebody else: what it says of files and places is not believed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import struct
from contextlib import closing

import faiss
import numpy as np
import pytest

import requant
from requant.adapters.faiss import FaissBackend
from requant.adapters.protocol import IndexSpec
from requant.errors import CorruptDataError, CorruptIndexError, EngineError, IndexWarning
from requant.quantizers import factory
from requant.quantizers.codes import CodeSpec
from tests import inside
from tests.databases import vectors

N = 300


@pytest.fixture
def path(tmp_path):
    return tmp_path / "here" / "x.db"


def fill(path, **options):
    path.parent.mkdir(exist_ok=True)
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N))
        notes.add_index("main", **({"engine": "faiss"} | options))


def tamper(path, *statements):
    """Write into the tables as somebody else's program could."""
    with closing(sqlite3.connect(path)) as raw:
        for statement, *parameters in statements:
            raw.execute(statement, parameters)
        raw.commit()


def config_of(path):
    with closing(sqlite3.connect(path)) as raw:
        return json.loads(raw.execute("SELECT config FROM requant_indexes").fetchone()[0])


def is_right(path):
    with requant.open(path) as db:
        notes = db.collection("notes")
        for query in vectors(5, seed=1):
            found = [hit.id for hit in notes.search(query, k=5, oversample=8)]
            assert found == [hit.id for hit in notes.search(query, k=5, exact=True)]


def test_a_file_outside_the_folder_is_not_read(path, tmp_path):
    fill(path)
    (ours,) = (path.parent / "x.db.indexes" / "1").iterdir()
    outside = tmp_path / "outside.bin"
    shutil.copy(ours, outside)
    for name in ("../../../outside.bin", str(outside)):
        tamper(path, ("UPDATE requant_generations SET file = ?", name))
        with pytest.warns(IndexWarning, match="no name that requant gives"):
            is_right(path)
        assert outside.exists()


def test_an_index_behind_a_link_is_neither_read_nor_removed(path, tmp_path):
    fill(path)
    folder, elsewhere = path.parent / "x.db.indexes" / "1", tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    (elsewhere / "letters.txt").write_text("mine")
    os.utime(elsewhere / "letters.txt", (1, 1))
    before = sorted(elsewhere.iterdir())
    with requant.open(path) as db:
        notes = db.collection("notes")
        with pytest.raises(EngineError, match="is a link"):
            notes.search(vectors(1)[0])
        assert notes.search(vectors(1)[0], k=1, exact=True)[0].id == 0
        notes.drop_index("main")
    assert sorted(elsewhere.iterdir()) == before
    assert (elsewhere / "letters.txt").read_text() == "mine"


def test_a_file_that_is_a_link_is_not_read(path, tmp_path):
    fill(path)
    (ours,) = (path.parent / "x.db.indexes" / "1").iterdir()
    outside = tmp_path / "outside.bin"
    ours.rename(outside)
    ours.symlink_to(outside)
    with requant.open(path) as db, pytest.raises(EngineError, match="is a link"):
        db.collection("notes").search(vectors(1)[0])


def test_what_is_not_ours_stays_when_an_index_is_dropped(path):
    fill(path)
    folder = path.parent / "x.db.indexes" / "1"
    (folder / "letters.txt").write_text("mine")
    with requant.open(path) as db:
        db.collection("notes").drop_index("main")
    assert [entry.name for entry in folder.iterdir()] == ["letters.txt"]


def test_a_lock_that_is_a_link_truncates_nothing(path, tmp_path):
    fill(path, engine="lancedb")
    lock, keys = path.parent / "x.db.indexes" / "1" / "turn.lock", tmp_path / "keys"
    keys.write_text("mine")
    lock.unlink(missing_ok=True)
    lock.symlink_to(keys)
    with requant.open(path) as db, pytest.raises(EngineError, match="is a link"):
        db.collection("notes").search(vectors(1)[0])
    assert keys.read_text() == "mine"


def test_a_name_that_leads_elsewhere_removes_nothing(path, tmp_path):
    """Of a live index: dropping it let the engine remove whatever the table named."""
    fill(path, engine="lancedb")
    other = tmp_path / "other" / "x.db"
    fill(other, engine="lancedb")
    (place,) = (p for p in (other.parent / "x.db.indexes" / "1").iterdir() if p.is_dir())
    name = os.path.relpath(place, path.parent / "x.db.indexes" / "1")
    tamper(
        path,
        ("UPDATE requant_locations SET name = ?", name),
        ("UPDATE requant_generations SET file = ?", name),
    )
    with requant.open(path) as db:
        with pytest.warns(IndexWarning, match="nothing is removed"):
            db.collection("notes").drop_index("main")
        assert not inside.orphans(db)
    assert place.is_dir()
    is_right(other)


CONFIGS = [
    ({"command": "rm"}, "'command'"),
    ({"engine": 7}, "'engine'"),
    ({"params": []}, "'params'"),
    ({"options": {"sample": [1]}}, "'sample'"),
    ({"options": {"bits": "2"}}, "'bits'"),
    ({"mmap": "yes"}, "'mmap'"),
    ({"url": "http://me:secret@host"}, "plain URL"),
    ({"url": "http://127.0.0.1\\@evil.example"}, "plain URL"),
    ({"url": "http://host", "remote_name": "../other"}, "no name"),
]


@pytest.mark.parametrize(("change", "said"), CONFIGS)
def test_a_config_that_requant_does_not_write(path, change, said):
    fill(path)
    tamper(path, ("UPDATE requant_indexes SET config = ?", json.dumps(config_of(path) | change)))
    with requant.open(path) as db:
        with pytest.raises(CorruptDataError, match=said) as told:
            db.collection("notes").search(vectors(1)[0])
        assert "secret" not in str(told.value)


COLUMNS = [
    ("UPDATE requant_indexes SET config = ?", "no json"),
    ("UPDATE requant_indexes SET config = ?", "[]"),
    ("UPDATE requant_indexes SET config = ?", "{}"),
    ("UPDATE requant_generations SET spec = ?", '{"metric": "ip", "expected": 1, "more": 1}'),
    ("UPDATE requant_generations SET spec = ?", '{"metric": "ip", "expected": "many"}'),
    ("UPDATE requant_generations SET item_count = ?", "many"),
    ("UPDATE requant_generations SET file = ?", b"\x00"),
    ("UPDATE requant_collections SET dim = ?", 1 << 40),
    ("UPDATE requant_collections SET metric = ?", "other"),
]


@pytest.mark.parametrize(("statement", "value"), COLUMNS)
def test_a_column_that_requant_does_not_write(path, statement, value):
    fill(path)
    tamper(path, (statement, value))
    with requant.open(path) as db, pytest.raises(CorruptDataError):
        db.collection("notes").search(vectors(1)[0])


ITEMS = [
    ("UPDATE requant_items SET id_kind = ?", 1),
    ("UPDATE requant_items SET id_kind = ?", 2),
    ("UPDATE requant_items SET id_kind = ?", "many"),
    ("UPDATE requant_items SET ext_id = CAST(ext_id || ? AS BLOB)", "x"),
    ("UPDATE requant_items SET document = ?", b"\x00"),
    ("UPDATE requant_items SET metadata = ?", "{"),
    ("UPDATE requant_items SET metadata = ?", ""),
    ("UPDATE requant_items SET metadata = ?", b"\xff"),
    ("UPDATE requant_items SET metadata = ?", "[1]"),
    ("UPDATE requant_items SET metadata = ?", "[" * 100_000),
]


@pytest.mark.parametrize(("statement", "value"), ITEMS)
def test_an_item_that_requant_does_not_write(path, statement, value):
    path.parent.mkdir()
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(["a", "b"], vectors(2), documents=["a", "b"])
    tamper(path, (statement, value))
    with requant.open(path) as db:
        notes = db.collection("notes")
        for call in (lambda: notes.search(np.ones(8)), lambda: list(notes.iter())):
            with pytest.raises(CorruptDataError):
                call()


@pytest.mark.parametrize("value", [7, "text", None, b"123", b""])
def test_a_vector_that_requant_does_not_write(path, value):
    path.parent.mkdir()
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(["a", "b"], vectors(2), documents=["a", "b"])
    statement = "UPDATE requant_vectors SET vec = ?"
    if value is None:
        statement, value = "UPDATE requant_vectors SET vec = zeroblob(?)", 33
    tamper(path, (statement, value))
    with requant.open(path) as db:
        notes = db.collection("notes")
        for call in (
            lambda: notes.search(np.ones(8)),
            lambda: list(notes.iter()),
            lambda: notes.vectors(["a"]),
        ):
            with pytest.raises(CorruptDataError, match="another size"):
                call()


def test_what_is_wrong_with_one_index_is_no_matter_to_another(path):
    fill(path)
    with requant.open(path) as db:
        db.collection("notes").add_index("other", engine="usearch")
    tamper(path, ("UPDATE requant_indexes SET config = ? WHERE name = 'other'", "no json"))
    is_right(path)
    with requant.open(path) as db:
        notes = db.collection("notes")
        with pytest.raises(CorruptDataError):
            notes.search(np.ones(8), index="other")
        notes.drop_index("main")


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE requant_indexes SET config = ? WHERE name = 'other'", "no json"),
        ("UPDATE requant_indexes SET config = ? WHERE name = 'other'", b"\x00"),
        ("UPDATE requant_generations SET item_count = ? WHERE index_id = 2", "many"),
    ],
)
@pytest.mark.parametrize("engine", ["faiss", "lancedb"])
def test_a_damaged_index_is_told_and_can_be_dropped(path, engine, statement, value):
    fill(path)
    with requant.open(path) as db:
        db.collection("notes").add_index("other", engine=engine)
    tamper(path, (statement, value))
    with requant.open(path) as db:
        notes = db.collection("notes")
        main, other = notes.indexes
        assert (main.name, main.problem, main.items) == ("main", None, notes.count())
        assert other.name == "other"
        assert "index 2" in other.problem
        told = notes.verify()
        assert not told.ok
        (problem,) = told.problems
        assert problem.startswith("index 'other': ")
        assert any("'main'" in line for line in told.checked)
        assert not other.current
        notes.upsert(["one more"], vectors(1))
        if "config" in statement:
            with pytest.warns(IndexWarning, match="'other' .* is left out"):
                notes.flush()
        notes.drop_index("other")
        notes.flush()
        assert [(one.name, one.current) for one in notes.indexes] == [("main", True)]
        assert not (inside.index_folder(notes) / "2").exists()
        notes.add_index("other", engine=engine)
        assert notes.verify().ok


def test_a_collection_of_a_name_that_no_user_could_give(path):
    fill(path)
    tamper(path, ("UPDATE requant_collections SET name = ?", "../x"))
    with requant.open(path) as db, pytest.raises(CorruptDataError, match="not allowed"):
        db.collections()


def lists_elsewhere(path, other):
    """Write an index whose lists are in the file `other`; return its spec."""
    codes = np.random.default_rng(0).integers(-127, 128, (500, 16)).astype(np.int8)
    spec = IndexSpec(CodeSpec("int8", 16), "l2", "ivf", {"nlist": 4})
    made = FaissBackend.create(spec, sample=codes)
    made.upsert(np.arange(500), codes)
    made.flush(str(path))
    index = faiss.read_index(str(path))
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(other))
    index.replace_invlists(lists)
    index.add_with_ids(codes.astype(np.float32), np.arange(500))
    faiss.write_index(index, str(path))
    return spec


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_lists_in_another_file_are_not_opened(tmp_path, mmap, beside, capfd):
    other = tmp_path / ("lists" if beside else "elsewhere/lists")
    other.parent.mkdir(exist_ok=True)
    spec = lists_elsewhere(tmp_path / "index", other)
    before = other.read_bytes()
    with pytest.raises(CorruptIndexError, match="another file"):
        FaissBackend.open(spec, str(tmp_path / "index"), mmap=mmap)
    assert other.read_bytes() == before
    capfd.readouterr()


def quantizer_bytes(header, arrays=b""):
    text = json.dumps(header).encode()
    body = struct.pack("<4sHI", b"RQNT", 1, len(text)) + text + arrays
    return body + hashlib.sha256(body).digest()


BOMBS = [
    {"kind": "float", "fields": {"dim": 1 << 40, "format": "float32"}, "arrays": []},
    {"kind": "binary", "fields": {"dim": 1 << 40, "bits": 1, "sigma": 1.0}, "arrays": []},
    {"kind": "binary", "fields": {"dim": 8, "bits": 1 << 40, "sigma": 1.0}, "arrays": []},
    {"kind": "scalar", "fields": {}, "arrays": [["centre", "<f4", [1 << 40]]]},
    {"kind": "scalar", "fields": {}, "arrays": [["centre", "<f4", [1 << 33, 1 << 33]]]},
    {"kind": "scalar", "fields": {}, "arrays": [["centre", "<f4", [1 << 40, 0]]]},
    {"kind": "scalar", "fields": {}, "arrays": [["centre", "<f4", [-1]]]},
    {"kind": "scalar", "fields": {}, "arrays": 7},
    {"kind": "float", "fields": {"dim": "8", "format": "float32"}, "arrays": []},
    {"kind": ["float"], "fields": {}, "arrays": []},
    {"kind": "float"},
    [],
]


@pytest.mark.parametrize("header", BOMBS)
def test_a_quantizer_is_not_larger_than_its_bytes(header):
    with pytest.raises(CorruptDataError):
        factory.from_bytes(quantizer_bytes(header))


def test_a_quantizer_that_cannot_be_is_made_again(path):
    fill(path)
    tamper(path, ("UPDATE requant_quantizers SET body = ?", quantizer_bytes(BOMBS[0])))
    with pytest.warns(IndexWarning, match="made again"):
        is_right(path)

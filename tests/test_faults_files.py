"""Index files that are cut, changed or gone: noticed, said, and made again from the store."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
import warnings
from pathlib import Path

import numpy as np
import pytest

import requant
from requant.adapters.faiss import FaissBackend
from requant.errors import IndexWarning
from requant.quantizers.codes import CodeSpec
from tests import inside
from tests.databases import expected, held, vectors

CONFIGS = [
    {"engine": "faiss", "precision": "int8"},
    {"engine": "faiss", "precision": "binary", "index_type": "hnsw"},
    {"engine": "usearch", "precision": "binary"},
    {"engine": "usearch", "precision": "int8", "index_type": "hnsw"},
    {"engine": "usearch", "precision": "int8", "mmap": True},
    {"engine": "turbovec", "precision": "native"},
]
N = 300


def cut(path: Path):
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path):
    path.write_bytes(b"")


def lengthen(path: Path):
    path.write_bytes(path.read_bytes() + b"\0")


def flip(path: Path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def flip_header(path: Path):
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(bytes(data))


def exchange(path: Path):
    path.write_bytes(b"not an index" * (path.stat().st_size // 12 + 1))


DAMAGES = [cut, empty, lengthen, flip, flip_header, exchange, Path.unlink]


@pytest.fixture(params=CONFIGS, ids=lambda c: "-".join(map(str, c.values())))
def path(request, tmp_path):
    """A database whose index has been published twice."""
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N))
        notes.add_index("main", **request.param)
        notes.upsert(range(10), vectors(10, seed=1))
        notes.delete([20, 21])
        notes.flush()
    return tmp_path / "x"


def index_files(path, newest_first=True):
    """The files of the index, in the order in which they were published."""
    with requant.open(path) as db:
        return inside.published_files(db, db.collection("notes"))


def check_right(path, warned):
    """Open, and compare everything with the store; the first search may warn."""
    with requant.open(path) as db:
        notes = db.collection("notes")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            hits = notes.search(vectors(10, seed=1)[3], k=1)
        assert hits[0].id == 3
        assert [w.category for w in caught] == [IndexWarning] * warned
        for warning in caught:
            assert "'main' of 'notes'" in str(warning.message)
            assert "made again" in str(warning.message)
        assert held(notes) == expected(notes)
        assert notes.verify(deep=True).ok


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_damaged_file_is_noticed_and_replaced(path, damage):
    newest, _ = index_files(path)
    damage(newest)
    check_right(path, warned=1)
    check_right(path, warned=0)
    assert newest not in index_files(path)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink], ids=lambda d: d.__name__)
def test_both_generations_damaged(path, damage):
    for file in index_files(path):
        damage(file)
    check_right(path, warned=2)
    check_right(path, warned=0)


def test_a_missing_folder(path):
    shutil.rmtree(f"{path}.indexes")
    check_right(path, warned=2)
    check_right(path, warned=0)


def test_an_older_file_in_the_place_of_the_newest(path):
    newest, older = index_files(path)
    shutil.copy(older, newest)
    check_right(path, warned=1)


def test_damaged_quantizers(path):
    for warned, body in ((2, b""), (1, b"RQNT"), (1, b"x" * 500)):
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE requant_quantizers SET body = ?", (body,))
        connection.close()
        check_right(path, warned)
        check_right(path, warned=0)


def test_a_quantizer_that_did_not_make_the_codes(path):
    from requant import quantizers

    other = quantizers.to_bytes(quantizers.fit("int8", vectors(50, 8, seed=9)))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE requant_quantizers SET body = ?", (other,))
    connection.close()
    check_right(path, warned=2)


def test_what_is_damaged_while_in_use_is_not_missed(path):
    with requant.open(path) as db:
        notes = db.collection("notes")
        notes.search(np.ones(8))
        for file in index_files(path):
            file.unlink()
        notes.upsert([5], vectors(1, seed=7))
        for _ in range(2):  # the second one follows
            assert notes.search(vectors(1, seed=7)[0], k=1)[0].id == 5
        notes.upsert(range(10), vectors(10, seed=1))
    check_right(path, warned=0)


def test_strange_files_in_the_folder_are_left_alone(path):
    newest, _ = index_files(path)
    stranger = newest.with_name("notes.txt")
    stranger.write_text("not ours")
    check_right(path, warned=0)
    with requant.open(path) as db:
        notes = db.collection("notes")
        notes.upsert([1], vectors(1))
        notes.flush()
    assert stranger.read_text() == "not ours"


def test_what_a_killed_publication_left_is_swept_later(path):
    import os

    newest, _ = index_files(path)
    name = f"{uuid.uuid4().hex}.faiss"
    partial, orphan = newest.with_name(f".{name}.1.partial"), newest.with_name(name)
    strangers = newest.with_name("orphan.faiss")
    for left in (partial, orphan, strangers):
        left.write_bytes(b"half")
        os.utime(left, (1, 1))
    with requant.open(path) as db:
        notes = db.collection("notes")
        notes.upsert([1], vectors(1))
        notes.flush()
    assert not partial.exists()
    assert not orphan.exists()
    assert strangers.exists()


def test_a_file_that_goes_between_the_row_and_the_open_is_no_damage(path, monkeypatch):
    """Another process publishes twice: what we were told of is no more, and that is right."""
    calls = []

    def publish_first():
        if not calls:
            calls.append(None)
            with requant.open(path) as other:
                notes = other.collection("notes")
                for n in range(2):
                    notes.upsert(range(10), vectors(10, seed=n))
                    notes.flush()

    inside.before_a_generation_is_opened(monkeypatch, publish_first)
    with requant.open(path) as db:
        notes = db.collection("notes")
        assert notes.search(vectors(10, seed=1)[3], k=1)[0].id == 3
        assert held(notes) == expected(notes)
    assert len(calls) == 1


def test_faiss_files_can_be_opened_as_often_as_one_likes(tmp_path):
    from requant.adapters.protocol import IndexSpec

    spec = IndexSpec(CodeSpec("int8", 4), "ip")
    index = FaissBackend.create(spec)
    index.upsert(np.arange(3), np.eye(3, 4, dtype=np.int8))
    for n in range(200):
        index.flush(str(tmp_path / str(n)))
        index = FaissBackend.open(spec, str(tmp_path / str(n)), mmap=bool(n % 2))
        assert len(index) == 3

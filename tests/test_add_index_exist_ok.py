"""An index that is there already, and is the one that is asked for."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import requant
from requant.errors import ExistsError, InputError, ReadOnlyError, UnsupportedError
from tests import inside, processes
from tests.databases import dump, expected, held, vectors

DIM = 8
MAIN = {"engine": "faiss", "precision": "int8"}


@pytest.fixture
def notes(any_db):
    collection = any_db.create_collection("notes", DIM, "l2")
    collection.upsert(range(300), vectors(300))
    return collection


def test_the_same_index_is_left_alone(any_db, notes):
    notes.add_index("main", exist_ok=True, **MAIN)
    before = dump(any_db)
    notes.add_index("main", exist_ok=True, **MAIN)
    assert dump(any_db) == before
    notes.rebuild("main")
    before = dump(any_db)
    notes.add_index("main", exist_ok=True, overwrite=True, **MAIN)
    assert dump(any_db) == before
    with pytest.raises(ExistsError, match="index 'main' already exists in this collection"):
        notes.add_index("main", **MAIN)


def test_parameters_as_they_come_back_from_the_store(notes):
    params = {"M": np.int64(8), "efConstruction": 40}
    graph = {"engine": "faiss", "precision": "int8", "index_type": "hnsw"}
    notes.add_index("graph", exist_ok=True, params=params, **graph)
    reverse = dict(reversed(params.items()))
    notes.add_index("graph", exist_ok=True, params=reverse, **graph)
    with pytest.raises(ExistsError, match=r"another one: params M is 8, not 16$"):
        notes.add_index("graph", exist_ok=True, params={**params, "M": 16}, **graph)


OTHER = {
    "engine": ({"engine": "usearch"}, "engine is 'faiss', not 'usearch'$"),
    "precision": ({"precision": "int2"}, "precision is 'int8', not 'int2'$"),
    "index_type": ({"index_type": "hnsw"}, "index_type is 'flat', not 'hnsw'$"),
    "rotate": ({"rotate": True}, "rotate is None, not True$"),
    "mmap": ({"mmap": True}, "mmap is False, not True$"),
    "two": (
        {"precision": "binary", "bits": 1},
        "bits is None, not 1; precision is 'int8', not 'binary'$",
    ),
}


@pytest.mark.parametrize("case", OTHER.values(), ids=OTHER.keys())
def test_another_index_is_told_from_it(db, case):
    change, text = case
    notes = db.create_collection("notes", DIM, "l2")
    notes.upsert(range(300), vectors(300))
    notes.add_index("main", **MAIN)
    before = dump(db)
    with pytest.raises(ExistsError, match=f"'main' already exists, another one: {text}"):
        notes.add_index("main", exist_ok=True, **{**MAIN, **change})
    assert dump(db) == before


def test_what_cannot_be_is_refused_all_the_same(notes):
    notes.add_index("main", **MAIN)
    with pytest.raises(InputError):
        notes.add_index("../main", exist_ok=True, **MAIN)
    with pytest.raises(UnsupportedError):
        notes.add_index("new", exist_ok=True, engine="usearch", precision="int2")
    assert [info.name for info in notes.indexes] == ["main"]


def test_an_attached_index_is_another_one(tmp_path):
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexIDMap2(faiss.IndexFlatL2(DIM))
    index.add_with_ids(vectors(300), np.arange(300))
    faiss.write_index(index, str(tmp_path / "foreign.faiss"))
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", DIM, "l2")
        notes.upsert(range(300), vectors(300))
        notes.attach_index("main", location=tmp_path / "foreign.faiss")
        with pytest.raises(ExistsError, match="precision is 'attached', not 'int8'"):
            notes.add_index("main", exist_ok=True, **MAIN)


def test_the_index_in_use_stays_in_use(notes):
    notes.add_index("main", **MAIN)
    notes.add_index("other", exist_ok=True, engine="usearch", precision="int8")
    notes.use_index("other")
    notes.add_index("main", exist_ok=True, **MAIN)
    assert [info.name for info in notes.indexes if info.active] == ["other"]


def test_of_an_empty_collection(any_db):
    notes = any_db.create_collection("notes", DIM, "l2")
    for _ in range(3):
        notes.add_index("main", exist_ok=True, **MAIN)
    notes.upsert(range(50), vectors(50))
    assert held(notes) == expected(notes)


def test_read_only(tmp_path):
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", DIM, "l2")
        notes.upsert(range(300), vectors(300))
        notes.add_index("main", **MAIN)
    with requant.open(tmp_path / "x", read_only=True) as db:
        db.collection("notes").add_index("main", exist_ok=True, **MAIN)
        with pytest.raises(ReadOnlyError):
            db.collection("notes").add_index("other", exist_ok=True, **MAIN)


def add(path, told):
    with requant.open(path) as db:
        notes = db.collection("notes")
        notes.add_index("main", exist_ok=True, **MAIN)
        told.send([(info.name, info.items, info.active) for info in notes.indexes])


def test_two_processes_and_two_threads(tmp_path):
    path = str(tmp_path / "x")
    with requant.open(path) as db:
        notes = db.create_collection("notes", DIM, "l2")
        notes.upsert(range(20_000), vectors(20_000))
        ends = [processes.pipe() for _ in range(2)]
        started = [processes.start(add, path, tell) for _, tell in ends]
        heard, failed = [], []

        def add_here():
            try:
                notes.add_index("main", exist_ok=True, **MAIN)
                heard.append([(info.name, info.items, info.active) for info in notes.indexes])
            except Exception as error:  # seen below
                failed.append(error)

        threads = [threading.Thread(target=add_here) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for hear, _ in ends:
            assert hear.poll(60)
            heard.append(hear.recv())
        for process in started:
            process.join(60)
        assert failed == []
        assert heard == [[("main", 20_000, True)]] * 4
        assert held(notes) == expected(notes)


def test_searches_that_were_rolled_back_stay_exact(notes):
    notes.migrate("main", **MAIN)
    assert notes.rollback() is None
    notes.add_index("main", exist_ok=True, **MAIN)
    assert [info.active for info in notes.indexes] == [False]


def test_what_a_killed_process_left_unfinished_is_built(notes):
    inside.record_index(notes, "main", **MAIN)  # it was recorded, and no more
    assert [info.items for info in notes.indexes] == [None]
    notes.add_index("main", exist_ok=True, **MAIN)
    assert [(info.items, info.active) for info in notes.indexes] == [(300, True)]
    assert held(notes) == expected(notes)

"""A collection that is emptied: its indexes, other handles and processes go on, and are right."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest

import requant
from requant.errors import IndexWarning
from tests import inside, processes
from tests.databases import brute_force, dump, expected, held, vectors

DIM = 8
ENGINES = [
    {"engine": "faiss", "precision": "int8"},
    {"engine": "faiss", "precision": "binary", "index_type": "hnsw"},
    {"engine": "usearch", "precision": "int8", "mmap": True},
    {"engine": "qdrant", "precision": "int8"},
    {"engine": "lancedb", "precision": "int8"},
]
every_engine = pytest.mark.parametrize(
    "config", ENGINES, ids=lambda c: "-".join(map(str, c.values()))
)


def fill(notes, n=300, seed=0, first=0):
    notes.upsert(range(first, first + n), vectors(n, DIM, seed), metadata=[{"seed": seed}] * n)


def right(notes, n, seed, first=0):
    """Assert that searches find what `fill` has written, and nothing else."""
    stored = vectors(n, DIM, seed)
    for query in vectors(5, DIM, seed=77):
        best, _ = brute_force(query, stored, notes.metric, 10)
        for options in ({"oversample": n}, {"exact": True}):
            hits = notes.search(query, k=10, **options)
            assert [hit.id - first for hit in hits] == best
            assert all(hit.metadata == {"seed": seed} for hit in hits)


def empty(notes):
    assert len(notes) == 0
    assert list(notes.iter()) == []
    for options in ({}, {"exact": True}, {"index": "main"}):
        assert notes.search(np.ones(DIM), k=5, **options) == []
    assert notes.search_many(np.ones((2, DIM)), k=5).ids == [[], []]


@pytest.fixture
def notes(any_db):
    collection = any_db.create_collection("notes", DIM, "l2")
    fill(collection)
    collection.add_index("main", engine="faiss", precision="int8")
    return collection


def test_everything_is_gone_and_comes_anew(any_db, notes):
    other = any_db.create_collection("other", DIM, "l2")
    fill(other, 50, seed=5)
    assert notes.clear() == 300
    empty(notes)
    assert notes.clear() == 0
    assert notes.verify(deep=True).ok
    right(other, 50, 5)
    fill(notes, 400, seed=1)
    right(notes, 400, 1)
    assert held(notes) == expected(notes)
    assert [info.name for info in notes.indexes] == ["main"]
    notes.flush()
    (info,) = notes.indexes
    assert (info.items, info.current, info.active) == (400, True, True)


@every_engine
def test_every_engine(tmp_path, config):
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", DIM, "l2")
        fill(notes)
        notes.add_index("main", **config)
        right(notes, 300, 0)
        assert notes.clear() == 300
        empty(notes)
        assert notes.verify(deep=True).ok
        notes.flush()
        fill(notes, 1, seed=3)  # of one vector nothing can be learned
        assert [hit.id for hit in notes.search(np.ones(DIM))] == [0]
        fill(notes, 200, seed=1)
        right(notes, 200, 1)
        assert held(notes) == expected(notes)
        notes.clear()
        fill(notes, 250, seed=2, first=1000)
    with requant.open(tmp_path / "x") as db:
        notes = db.collection("notes")
        right(notes, 250, 2, first=1000)
        assert held(notes) == expected(notes)
        assert notes.verify(deep=True).ok
        notes.flush()
        notes.clear()
    with requant.open(tmp_path / "x") as db:  # beside what was published before
        empty(db.collection("notes"))
        db.collection("notes").drop_index("main")


@every_engine
def test_a_published_index_is_not_believed(tmp_path, config):
    """The store alone was open when it was cleared and filled again with the same ids."""
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", DIM, "l2")
        fill(notes)
        notes.add_index("main", **config)
        notes.flush()
    with requant.open(tmp_path / "x") as db:
        notes = db.collection("notes")
        notes.clear()
        fill(notes, 300, seed=4)
    with requant.open(tmp_path / "x") as db:
        right(db.collection("notes"), 300, 4)
        assert db.collection("notes").verify(deep=True).ok


@pytest.mark.parametrize("config", [ENGINES[0], ENGINES[4]], ids=["faiss", "lancedb"])
def test_another_handle(tmp_path, config):
    with requant.open(tmp_path / "x") as one, requant.open(tmp_path / "x") as two:
        mine = one.create_collection("notes", DIM, "l2")
        fill(mine)
        mine.add_index("main", **config)
        theirs = two.collection("notes")
        right(theirs, 300, 0)
        for seed in range(1, 4):
            assert mine.clear() == 300
            if seed == 2:
                empty(theirs)
            fill(theirs, 300, seed=seed)
            right(mine, 300, seed)
            right(theirs, 300, seed)
            mine, theirs = theirs, mine
        assert held(theirs) == expected(theirs)
        assert mine.verify(deep=True).ok


def clear_and_fill(path, told):
    with requant.open(path) as db:
        notes = db.collection("notes")
        told.send(notes.clear())
        fill(notes, 120, seed=9)
        told.send(len(notes))


def test_another_process(tmp_path):
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", DIM, "l2")
        fill(notes)
        notes.add_index("main", engine="usearch", precision="int8")
        right(notes, 300, 0)
        hear, tell = processes.pipe()
        process = processes.start(clear_and_fill, str(tmp_path / "x"), tell)
        assert hear.poll(60)
        assert (hear.recv(), hear.recv()) == (300, 120)
        process.join(60)
        right(notes, 120, 9)
        assert held(notes) == expected(notes)


def test_in_the_callers_transaction(any_db, notes):
    before = dump(any_db)
    with any_db.engine.connect() as connection:
        transaction = connection.begin()
        assert notes.clear(connection=connection) == 300
        assert notes.get([5], connection=connection) == []
        right(notes, 300, 0)  # as others see it
        notes.upsert([5], np.ones((1, DIM)), connection=connection)
        transaction.rollback()
    assert dump(any_db) == before
    loaded = inside.loaded_of(notes, "main")
    right(notes, 300, 0)
    assert inside.loaded_of(notes, "main") is loaded  # there was nothing to do
    with any_db.engine.begin() as connection:
        point = connection.begin_nested()
        notes.clear(connection=connection)
        point.rollback()
        notes.upsert([1000], np.full((1, DIM), 9), connection=connection)
    assert len(notes) == 301
    assert notes.search(np.full(DIM, 9), k=1)[0].id == 1000
    with any_db.engine.begin() as connection:
        notes.clear(connection=connection)
        notes.upsert(
            range(200), vectors(200, DIM, 6), metadata=[{"seed": 6}] * 200, connection=connection
        )
    right(notes, 200, 6)
    assert held(notes) == expected(notes)


def test_changes_before_and_after_in_one_transaction(any_db, notes):
    with any_db.engine.begin() as connection:
        notes.upsert([1, 2], [None, np.ones(DIM)], connection=connection)
        notes.clear(connection=connection)
        notes.upsert([1, 2], vectors(2, DIM, 8), connection=connection)
        notes.upsert([1], vectors(1, DIM, 9), connection=connection)
    np.testing.assert_array_equal(notes.vectors([1]), vectors(1, DIM, 9))
    assert {hit.id for hit in notes.search(np.ones(DIM), k=9)} == {1, 2}
    assert held(notes) == expected(notes)


def test_a_reader_goes_on_with_what_it_saw(notes):
    items = notes.iter(batch=50)
    first = next(items)
    notes.clear()
    assert len([first, *items]) == 300
    empty(notes)


def test_where_the_vectors_came_from_is_forgotten(any_db, notes):
    notes.note_origin("old.faiss", "faiss", "lossy")
    with any_db.engine.connect() as connection, connection.begin() as transaction:
        notes.clear(connection=connection)
        transaction.rollback()
    assert len(notes.stats().origins) == 1
    notes.clear()
    assert notes.stats().origins == []


def test_without_an_index(any_db):
    notes = any_db.create_collection("notes", DIM, "l2")
    fill(notes)
    assert notes.clear() == 300
    fill(notes, 100, seed=2)
    right(notes, 100, 2)
    notes.add_index("main", engine="faiss", precision="int8")
    right(notes, 100, 2)
    assert held(notes) == expected(notes)


def test_an_attached_index_is_not_asked_any_more(tmp_path):
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexIDMap2(faiss.IndexFlatL2(DIM))
    index.add_with_ids(vectors(300, DIM), np.arange(300))
    faiss.write_index(index, str(tmp_path / "foreign.faiss"))
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", DIM, "l2")
        fill(notes)
        notes.attach_index("main", location=tmp_path / "foreign.faiss")
        right(notes, 300, 0)
        notes.clear()
        fill(notes, 300, seed=1)
        with pytest.warns(IndexWarning, match="searches are exact"):
            right(notes, 300, 1)


def test_a_quantizer_learns_from_all_of_what_came_after(db, monkeypatch):
    monkeypatch.setattr("requant.indexes.sampling.SAMPLE_ROWS", 100)
    monkeypatch.setattr("requant.indexes.sampling.ENOUGH_ROWS", 60)
    notes = db.create_collection("notes", 2, "l2")
    notes.upsert(range(2000), np.ones((2000, 2)))
    notes.clear()
    assert len(inside.sample_of(notes)) == 0
    notes.upsert(range(300), [[n, 0] for n in range(300)])
    rows = inside.sample_of(notes)
    assert len(rows) == 100
    assert rows[:, 0].max() == 299


@pytest.mark.parametrize("config", [ENGINES[0], ENGINES[4]], ids=["faiss", "lancedb"])
def test_beside_searches(tmp_path, config):
    """Whoever searches meanwhile finds the items of one time: all of them or none."""
    n, wrong, done = 60, [], threading.Event()

    def search():
        with requant.open(tmp_path / "x") as db:
            notes = db.collection("notes")
            while not done.is_set():
                hits = notes.search(np.ones(DIM), k=n)
                seeds = {hit.metadata["seed"] for hit in hits}
                if len(hits) not in (0, n) or len(seeds) > 1:
                    wrong.append((len(hits), seeds))

    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", DIM, "l2")
        fill(notes, n)
        notes.add_index("main", **config)
        threads = [threading.Thread(target=search) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for seed in range(1, 15):
                assert notes.clear() == n
                fill(notes, n, seed=seed)
                right(notes, n, seed)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert wrong == []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IndexWarning)
            assert held(notes) == expected(notes)

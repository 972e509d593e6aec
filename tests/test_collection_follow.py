"""An index follows the store: through every kind of write, and whoever it was that wrote."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest

import requant
from tests import inside
from tests.databases import expected, held, vectors

CONFIGS = [
    {"engine": "faiss", "precision": "int8"},
    {"engine": "faiss", "precision": "int2"},
    {"engine": "faiss", "precision": "binary", "index_type": "hnsw"},
    {"engine": "usearch", "precision": "binary"},
    {"engine": "usearch", "precision": "int8", "index_type": "hnsw"},
]
every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: "-".join(c.values()))


def write_at_random(collection, chance, model):
    """One write of some kind, done to `model` as well, a dict of vectors by id."""
    ids = chance.sample(range(60), chance.randint(1, 8))
    kind = chance.choice(["upsert", "upsert", "delete", "metadata", "where"])
    if kind == "upsert":
        given = vectors(len(ids), seed=chance.randrange(2**32))
        collection.upsert(ids, given, metadata=[{"n": i} for i in ids])
        model.update(zip(ids, given, strict=True))
    elif kind == "delete":
        collection.delete(ids)
        for i in ids:
            model.pop(i, None)
    elif kind == "where":
        collection.delete(where={"n": ids[0]})
        model.pop(ids[0], None)
    elif model:
        collection.upsert(list(model)[:3], documents=["new"] * len(list(model)[:3]))


@every_config
@pytest.mark.parametrize("seed", range(3))
def test_random_writes_through_two_databases(tmp_path, config, seed):
    chance = random.Random(seed)
    model = {}
    with requant.open(tmp_path / "x") as one, requant.open(tmp_path / "x") as two:
        first = one.create_collection("notes", 8, "l2")
        first.add_index("main", **config)
        second = two.collection("notes")
        for _ in range(25):
            write_at_random(chance.choice([first, second]), chance, model)
            if chance.random() < 0.3:
                chance.choice([first, second]).flush()
            reader = chance.choice([first, second])
            assert len(reader) == len(model)
            if model:
                wanted = chance.choice(list(model))
                assert reader.search(model[wanted], k=1)[0].id == wanted
        for collection in (first, second):
            ids = list(model)
            np.testing.assert_array_equal(collection.vectors(ids), [model[i] for i in ids])
            assert held(collection) == expected(collection)
            assert collection.verify(deep=True).ok


@every_config
def test_each_kind_of_write_is_followed(db, config):
    notes = db.create_collection("notes", 8, "l2")
    notes.upsert(range(50), vectors(50))
    notes.add_index("main", **config)
    target = np.full(8, 9.0)
    notes.upsert(["new"], [target])
    assert notes.search(target, k=1)[0].id == "new"
    notes.upsert(["new"], [-target])
    assert notes.search(-target, k=1)[0].id == "new"
    assert notes.search(target, k=1)[0].id != "new"
    notes.delete(["new"])
    assert notes.search(-target, k=1)[0].id != "new"
    notes.upsert(["late"], documents=["vector follows"])
    notes.search(target)
    notes.upsert(["late"], [target])
    assert notes.search(target, k=1)[0].id == "late"
    assert held(notes) == expected(notes)


def test_an_index_that_has_not_been_asked_catches_up_at_once(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(50), vectors(50))
    notes.add_index("one", engine="usearch")
    notes.add_index("two", engine="faiss", precision="binary")
    notes.delete(range(0, 50, 2))
    notes.upsert(range(25, 40), vectors(15, seed=5))
    assert held(notes) == expected(notes)
    assert notes.verify().ok


def test_closing_publishes_and_opening_takes_up(tmp_path):
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", 8)
        notes.add_index("main", engine="usearch")
        notes.upsert(range(50), vectors(50))
        notes.search(vectors(1)[0])
        assert notes.indexes[0].current
        notes.upsert(range(50, 60), vectors(10, seed=1))
        notes.search(vectors(1)[0])
        assert not notes.indexes[0].current
    with requant.open(tmp_path / "x") as db:
        notes = db.collection("notes")
        assert notes.indexes[0].current
        assert notes.indexes[0].items == 60
        assert held(notes) == expected(notes)


def test_whoever_writes_publishes_what_was_followed_if_it_is_much(db, monkeypatch):
    monkeypatch.setattr(inside.PUBLISH_ROWS, 100)
    notes = db.create_collection("notes", 8)
    notes.upsert(range(500), vectors(500))
    notes.add_index("main", engine="usearch")
    notes.upsert(range(500, 550), vectors(50, seed=1))
    notes.search(vectors(1)[0], oversample=3)
    notes.upsert(range(550, 650), vectors(100, seed=2))
    notes.search(vectors(1)[0], oversample=3)
    assert notes.indexes[0].items == 500  # no search waits for that
    notes.upsert([0], vectors(1, seed=3))
    assert notes.indexes[0].items == 650
    monkeypatch.setattr(inside.SEARCH_PUBLISH_ROWS, 100)
    notes.upsert(range(650, 1350), vectors(700, seed=4))
    searches = (notes.search(vectors(1)[0], oversample=3) for _ in range(100))
    # More than half of it is not there, and nobody else has done so.
    assert any(notes.indexes[0].items > 650 for _ in searches)


CHILD = """
import sys, numpy as np, requant
with requant.open(sys.argv[1]) as db:
    notes = db.collection("notes")
    notes.upsert(["theirs"], [np.full(8, 7.0)])
    notes.upsert([0], [np.full(8, -7.0)])
    notes.delete([1])
    assert notes.search(np.full(8, 7.0), k=1)[0].id == "theirs"
    if sys.argv[2] == "flush":
        notes.flush()
"""


@pytest.mark.parametrize("mode", ["flush", "leave"])
def test_another_process_writes(tmp_path, mode):
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", 8, "l2")
        notes.upsert(range(50), vectors(50))
        notes.add_index("main", engine="faiss", precision="int8")
        notes.search(vectors(1)[0])
        subprocess.run([sys.executable, "-c", CHILD, str(tmp_path / "x"), mode], check=True)
        assert notes.search(np.full(8, 7.0), k=1)[0].id == "theirs"
        assert notes.search(np.full(8, -7.0), k=1)[0].id == 0
        assert 1 not in [hit.id for hit in notes.search(vectors(50)[1], k=50)]
        assert held(notes) == expected(notes)
        assert notes.verify(deep=True).ok


def test_indexes_chosen_and_dropped_elsewhere(tmp_path):
    with requant.open(tmp_path / "x") as one, requant.open(tmp_path / "x") as two:
        first = one.create_collection("notes", 8)
        first.upsert(range(50), vectors(50))
        second = two.collection("notes")
        second.add_index("a", engine="usearch")
        second.add_index("b", engine="faiss", precision="binary")
        assert [i.name for i in first.indexes] == ["a", "b"]
        first.search(vectors(1)[0])
        second.use_index("b")
        second.drop_index("a")
        assert [(i.name, i.active) for i in first.indexes] == [("b", True)]
        assert first.search(vectors(1)[0], k=1)[0].id == 0
        second.drop_index("b")
        second.add_index("b", engine="usearch", precision="float32")
        assert first.search(vectors(1)[0], k=1)[0].id == 0
        assert first.verify().ok

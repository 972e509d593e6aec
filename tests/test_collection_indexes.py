"""Several indexes of a collection: added, chosen, dropped, rebuilt, and made for what there is."""

from __future__ import annotations

import numpy as np
import pytest

import requant
from requant.errors import (
    EngineMissingError,
    ExistsError,
    InputError,
    UnknownEngineError,
    UnknownIndexError,
    UnsupportedError,
)
from tests import inside
from tests.databases import dump, files, vectors


@pytest.fixture
def notes(db):
    collection = db.create_collection("notes", 8)
    collection.upsert(range(200), vectors(200))
    return collection


def newest(collection, name):
    """What `indexes` says of one index."""
    return next(info for info in collection.indexes if info.name == name)


def test_the_first_index_is_used_and_the_others_when_told(notes):
    notes.add_index("one", engine="faiss", precision="int8")
    notes.add_index("two", engine="usearch", precision="binary", bits=3, index_type="hnsw")
    assert [(i.name, i.active) for i in notes.indexes] == [("one", True), ("two", False)]
    notes.use_index("two")
    assert [(i.name, i.active) for i in notes.indexes] == [("one", False), ("two", True)]
    two = newest(notes, "two")
    assert (two.engine, two.precision, two.index_type) == ("usearch", "binary", "hnsw")
    assert (two.options, two.items, two.current) == ({"bits": 3}, 200, True)
    assert two.bytes > 0


def test_searches_ask_the_index_they_are_told_to(notes, monkeypatch):
    asked = []
    inside.tell_searches(
        monkeypatch, lambda loaded: asked.append(loaded and loaded.backend.spec.code.format)
    )
    notes.search(vectors(1)[0])
    notes.add_index("one", engine="faiss", precision="int8")
    notes.add_index("two", engine="usearch", precision="float16")
    notes.search(vectors(1)[0])
    notes.search(vectors(1)[0], index="two")
    notes.search_many(vectors(2), index="two")
    notes.search(vectors(1)[0], exact=True)
    notes.use_index("two")
    notes.search(vectors(1)[0])
    assert asked == [None, "int8", "float16", "float16", None, "float16"]


def test_dropping_the_index_in_use_moves_on_to_the_oldest(notes):
    for name in ("one", "two", "three"):
        notes.add_index(name, engine="usearch")
    notes.use_index("three")
    notes.drop_index("three")
    assert newest(notes, "one").active
    notes.drop_index("two")
    assert newest(notes, "one").active
    notes.drop_index("one")
    assert notes.indexes == []
    assert len(notes.search(vectors(1)[0], k=5)) == 5


def test_a_dropped_index_leaves_no_file(db, notes):
    before = dump(db)
    notes.add_index("one", engine="usearch")
    mark = {"requant.json"}  # the folder itself stays ours
    assert files(inside.folder_of(db)).keys() > mark
    notes.drop_index("one")
    assert files(inside.folder_of(db)).keys() == mark
    left = {name: rows for name, rows in dump(db).items() if "sequence" not in name}
    changed = {name for name in left if left[name] != before.get(name)}
    # What the next index would share is swept with the next publication.
    assert changed <= {"requant_quantizers"} | mark


def test_a_name_is_free_again_once_dropped(notes):
    notes.add_index("one", engine="usearch", precision="int8")
    with pytest.raises(ExistsError, match="'one' already exists"):
        notes.add_index("one", engine="faiss", precision="binary")
    assert newest(notes, "one").engine == "usearch"
    notes.drop_index("one")
    notes.add_index("one", engine="faiss", precision="binary")
    assert newest(notes, "one").engine == "faiss"


@pytest.mark.parametrize("call", ["use_index", "drop_index", "rebuild", "search"])
def test_an_unknown_index_is_answered_with_those_there_are(notes, call):
    calls = {
        "use_index": notes.use_index,
        "drop_index": notes.drop_index,
        "rebuild": notes.rebuild,
        "search": lambda name: notes.search(vectors(1)[0], index=name),
    }
    with pytest.raises(UnknownIndexError, match=r"no index 'x' .* none yet"):
        calls[call]("x")
    notes.add_index("one", engine="usearch")
    with pytest.raises(UnknownIndexError, match=r"no index 'x' .*'one'"):
        calls[call]("x")


def test_rebuild_fits_anew(notes):
    with pytest.raises(UnknownIndexError, match="'notes' has no index"):
        notes.rebuild()
    notes.add_index("one", engine="usearch", precision="int8")
    before = files_of(notes)
    notes.upsert(range(200), vectors(200) * 5 + 3)
    notes.rebuild()
    assert notes.verify().ok
    assert files_of(notes) != before
    assert newest(notes, "one").current
    seen = []
    notes.rebuild("one", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (200, 200)


def files_of(collection):
    """Digests of the collection's index files."""
    return files(inside.index_folder(collection))


def test_an_index_of_an_empty_collection_begins_with_the_second_vector(any_db):
    notes = any_db.create_collection("notes", 8)
    notes.add_index("main", engine="faiss", precision="int2")
    assert newest(notes, "main").items is None
    assert notes.search(np.ones(8)) == []
    assert notes.verify().ok
    notes.upsert(["bare"], documents=["no vector"])
    assert notes.search(np.ones(8)) == []
    notes.upsert(["a"], vectors(1))
    assert [hit.id for hit in notes.search(np.ones(8))] == ["a"]
    notes.flush()
    assert newest(notes, "main").items is None
    notes.upsert(["z"], vectors(1, seed=9))
    assert {hit.id for hit in notes.search(np.ones(8))} == {"a", "z"}
    notes.flush()
    assert newest(notes, "main").items == 2
    notes.delete(["a", "z"])
    assert notes.search(np.ones(8)) == []
    assert notes.verify(deep=True).ok
    notes.upsert(["b"], vectors(1, seed=1))
    assert [hit.id for hit in notes.search(np.ones(8))] == ["b"]
    assert notes.verify(deep=True).ok


@pytest.mark.parametrize("precision", ["int8", "int2", "binary"])
def test_the_quantizer_grows_with_the_collection(db, precision):
    notes = db.create_collection("notes", 8, "l2")
    notes.upsert(["first"], vectors(1))
    notes.add_index("main", engine="faiss", precision=precision)
    fitted = []
    stored = vectors(5000, seed=1) * 10 + 50
    for start in range(0, 5000, 250):
        notes.upsert(range(start, start + 250), stored[start : start + 250])
        notes.search(np.ones(8))
        fitted.append(inside.loaded_of(notes, "main").fit_rows)
    assert fitted == sorted(fitted)
    assert fitted[-1] >= 1000
    assert len(set(fitted)) < 8
    assert notes.verify(deep=True).ok
    hits = notes.search(stored[7], k=1)
    assert hits[0].id == 7


def test_metrics_that_codes_cannot_rank_are_refused_with_an_alternative(db):
    notes = db.create_collection("notes", 8, "ip")
    for engine in ("faiss", "usearch"):
        with pytest.raises(UnsupportedError, match=r"uint8.*'ip'.*use precision 'int8'"):
            notes.add_index("main", engine=engine, precision="uint8")
    assert notes.indexes == []


NOT_TO_BE = {
    "an unknown engine": ({"engine": "pinecone"}, UnknownEngineError, "pinecone.*faiss"),
    "an unknown precision": ({"precision": "int3"}, InputError, "int3.*int8"),
    "an unknown type": ({"index_type": "lsh"}, UnsupportedError, "int8/lsh.*int8/flat"),
    "an unknown dialect": ({"dialect": "x"}, InputError, "unknown dialect 'x'"),
    "bits of int8": ({"bits": 2}, InputError, "bits"),
    "five bits": ({"precision": "binary", "bits": 5}, InputError, "not 5"),
    "text as bits": ({"precision": "binary", "bits": "2"}, InputError, "not '2'"),
    "levels in usearch": ({"precision": "int2"}, UnsupportedError, "usearch has no int2/flat"),
    "a foreign parameter": ({"params": {"M": 8}}, UnsupportedError, "no parameter 'M'.*threads"),
    "text as a parameter": (
        {"params": {"connectivity": "8"}, "index_type": "hnsw"}, InputError, "connectivity",
    ),
    "parameters in a list": ({"params": [1]}, InputError, "params"),
    "a name that climbs": ({"name": "../x"}, InputError, "'../x' is not allowed"),
    "an empty name": ({"name": ""}, InputError, "'' is not allowed"),
    "no name": ({"name": None}, InputError, "'None' is not allowed"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_TO_BE)
def test_what_cannot_be_built_leaves_nothing_behind(db, notes, case):
    options, error, text = NOT_TO_BE[case]
    before = dump(db)
    with pytest.raises(error, match=text):
        notes.add_index(**{"name": "main", "engine": "usearch"} | options)
    assert dump(db) == before
    assert not inside.folder_of(db).exists()


def test_numpy_integers_are_parameters_too(notes):
    params = {"connectivity": np.int64(8)}
    notes.add_index("main", engine="usearch", index_type="hnsw", params=params)
    assert newest(notes, "main").params == {"connectivity": 8}


def test_a_build_that_is_interrupted_leaves_nothing_behind(db, notes, monkeypatch):
    before = dump(db)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        notes.add_index("main", engine="usearch", progress=interrupt)
    assert notes.indexes == []
    left = {name: rows for name, rows in dump(db).items() if "sequence" not in name}
    assert all(rows == before[name] for name, rows in left.items())


def test_an_engine_that_is_missing_is_named_with_its_extra(notes, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "usearch.index", None)
    monkeypatch.setitem(__import__("sys").modules, "requant.adapters.usearch", None)
    with pytest.raises(EngineMissingError, match=r"pip install 'requant\[usearch\]'"):
        notes.add_index("main", engine="usearch")
    assert notes.indexes == []


def test_mapped_indexes_answer_and_follow(tmp_path):
    stored = vectors(3000)
    for engine in ("faiss", "usearch"):
        with requant.open(tmp_path / engine) as db:
            notes = db.create_collection("notes", 8)
            notes.upsert(range(3000), stored)
            notes.add_index("main", engine=engine, mmap=True)
        with requant.open(tmp_path / engine) as db:
            notes = db.collection("notes")
            assert notes.search(stored[5], k=1)[0].id == 5
            notes.upsert([5], [-stored[5]])
            notes.delete([6])
            assert notes.search(-stored[5], k=1)[0].id == 5
            assert notes.verify(deep=True).ok

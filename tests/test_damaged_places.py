"""Folders of live engines that lose files, before they are opened and while they are in use."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import requant
from requant.errors import IndexWarning
from tests import inside
from tests.databases import expected, held, vectors

N = 400


def files(place, pattern):
    found = sorted(path for path in place.rglob(pattern) if path.is_file())
    assert found, f"nothing in {place} is called {pattern}"
    return found


def removed(pattern):
    def damage(place):
        for path in files(place, pattern):
            path.unlink()

    return damage


def truncated(pattern):
    def damage(place):
        for path in files(place, pattern):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def zeroed(pattern):
    def damage(place):
        for path in files(place, pattern):
            path.write_bytes(bytes(path.stat().st_size))

    return damage


def torn(length):
    """Leave so much of the newest manifest, as a power failure may."""

    def damage(place):
        newest = files(place, "*.manifest")[0]  # their numbers count down
        newest.write_bytes(newest.read_bytes()[:length])

    return damage


def emptied(place):
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


DAMAGES = {
    "the folder": ("both", shutil.rmtree),
    "everything in it": ("both", emptied),
    "the mark": ("both", removed("requant.json")),
    "the note": ("both", removed("requant.note")),
    "a note without sense": ("both", zeroed("requant.note")),
    "manifests": ("lancedb", removed("*.manifest")),
    "half of the manifests": ("lancedb", truncated("*.manifest")),
    "all of the newest manifest": ("lancedb", torn(0)),
    "all but a byte of it": ("lancedb", torn(1)),
    "all but a sector of it": ("lancedb", torn(512)),
    "data files": ("lancedb", removed("*.lance")),
    "half of the data": ("lancedb", truncated("*.lance")),
    "deletions": ("lancedb", removed("*.arrow")),
    "the shard": ("qdrant", lambda place: shutil.rmtree(place / "shard")),
    "segments": ("qdrant", lambda place: shutil.rmtree(place / "shard" / "segments")),
    "chunks": ("qdrant", removed("chunk_*.mmap")),
    "the state of segments": ("qdrant", removed("segment.json")),
    "the configuration": ("qdrant", removed("edge_config.json")),
}
CASES = [
    (engine, name)
    for name, (whose, _) in DAMAGES.items()
    for engine in ("lancedb", "qdrant")
    if whose in ("both", engine)
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.db"


def make(db, engine):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(N), vectors(N))
    notes.add_index("main", engine=engine, precision="int8")
    notes.delete(range(20))
    notes.search(np.ones(8))
    notes.flush()
    return notes


def place_of(db) -> Path:
    (name,) = inside.place_names(db, 1)
    return inside.folder_of(db) / "1" / name


def answers(notes):
    for query in vectors(10, seed=1):
        hits = notes.search(query, k=10, oversample=3)
        best = notes.search(query, k=10, exact=True)
        assert [hit.id for hit in hits] == [hit.id for hit in best]


def is_well_again(notes):
    """Whatever happened: nothing but warnings, right answers, and in the end none of either."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexWarning)
        answers(notes)
        notes.upsert(range(10, 30), vectors(20, seed=3))
        answers(notes)
        notes.upsert([1000], vectors(1, seed=4))
        answers(notes)
        notes.flush()
        answers(notes)
    assert held(notes) == expected(notes)
    assert notes.verify().ok


@pytest.mark.parametrize(("engine", "name"), CASES)
def test_damage_is_mended_on_opening(path, engine, name):
    with requant.open(path) as db:
        make(db, engine)
        place = place_of(db)
    DAMAGES[name][1](place)
    with requant.open(path) as db:
        is_well_again(db.collection("notes"))
    with requant.open(path) as db:
        answers(db.collection("notes"))


@pytest.mark.parametrize(("engine", "name"), CASES)
def test_damage_is_mended_while_it_is_open(path, engine, name, monkeypatch):
    monkeypatch.setattr(*inside.ASK_AT_ONCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexWarning)
        with requant.open(path) as db:
            notes = make(db, engine)
            answers(notes)
            DAMAGES[name][1](place_of(db))
            answers(notes)
            notes.upsert(range(10, 30), vectors(20, seed=3))
            answers(notes)
        # What an engine has open it may not miss before it is opened again.
        with requant.open(path) as db:
            is_well_again(db.collection("notes"))
    with requant.open(path) as db:
        answers(db.collection("notes"))


def test_an_index_that_another_process_drops_is_no_error(path):
    with requant.open(path) as db, requant.open(path) as other:
        notes, theirs = make(db, "lancedb"), other.collection("notes")
        answers(theirs)
        notes.drop_index("main")
        answers(theirs)
        notes.add_index("main", engine="lancedb")
        answers(theirs)
        notes.drop_index("main")
        with pytest.raises(requant.UnknownIndexError):
            theirs.search(np.ones(8), index="main")

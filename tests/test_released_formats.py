"""What an earlier version has written is opened, and every answer is found in it."""

from __future__ import annotations

import json
import runpy
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import requant
from requant.store import SCHEMA_VERSION
from tests import inside
from tests.databases import brute_force, held

HERE = Path(__file__).parent / "data"
MAKE = runpy.run_path(str(HERE / "make_released.py"))
RELEASED = sorted(path.name for path in (HERE / "released").glob("*.tar.xz"))


@pytest.fixture(scope="module", params=RELEASED)
def unpacked(request, tmp_path_factory):
    """A released database, which the tests of this file share."""
    folder = tmp_path_factory.mktemp("released")
    with tarfile.open(HERE / "released" / request.param) as archive:
        archive.extractall(folder, filter="data")
    return folder


def schema(folder):
    with closing(sqlite3.connect(folder / "notes.requant")) as connection:
        query = "SELECT value FROM requant_meta WHERE name = 'schema'"
        return int(connection.execute(query).fetchone()[0])


def kept(db, engines):
    """Where indexes of these engines are kept."""
    every = inside.folder_of(db).glob("*/*")
    return sorted(str(path) for path in every if path.suffix[1:] in engines)


def test_there_is_the_first_format_and_the_one_of_today(tmp_path):
    schemas = set()
    for name in RELEASED:
        with tarfile.open(HERE / "released" / name) as archive:
            archive.extract("notes.requant", tmp_path, filter="data")
        schemas.add(schema(tmp_path))
    assert {2, 3, 4, 5, SCHEMA_VERSION} <= schemas


# Warnings are errors: none is given, and so no index was found damaged and made again.
def test_every_answer_is_found(unpacked):
    current = schema(unpacked) == SCHEMA_VERSION
    expected = json.loads((unpacked / "expected.json").read_text())
    rows, gone = MAKE["vectors"](), (7, 8)
    rows[9] = rows[7]
    left = [row for row in range(len(rows)) if row not in gone]
    with requant.open(unpacked / "notes.requant") as db:
        # Nothing is built again, but for what live engines keep in a format that lacks something.
        engines = {"faiss", "usearch", *(["lancedb", "qdrant"] if current else [])}
        before = kept(db, engines)
        notes = db.collection("notes")
        items = list(notes.iter())
        assert [item.id for item in items] == [f"id {row}" for row in left]
        assert len(items) == len(notes) == expected["items"]
        for item, row in zip(items, left, strict=True):
            assert item.document == (f"Größe {row}" if row % 3 else None)
            assert item.metadata == {"n": row, "even": row % 2 == 0, "deep": {"x": [row]}}
            assert np.array_equal(item.vector, rows[row])
        assert [index.name for index in notes.indexes] == expected["indexes"]
        for index in notes.indexes:
            for query in rows[::20] + np.float32(0.01):
                hits = notes.search(query, k=10, index=index.name, oversample=20)
                best, scores = brute_force(query, rows[left], "cosine", 10)
                assert [hit.id for hit in hits] == [f"id {left[row]}" for row in best]
                np.testing.assert_allclose([hit.score for hit in hits], scores, rtol=1e-5)
        assert notes.verify(deep=True).ok
        assert set(held(notes)) == set(expected["indexes"])
        assert kept(db, engines) == before
        numbers = db.collection("numbers")
        assert (numbers.metric, [item.id for item in numbers.iter()]) == ("l2", [1, 2, 3])


def test_old_codes_keep_their_rule_until_they_are_made_anew(unpacked, tmp_path):
    shutil.copytree(unpacked, tmp_path / "copy", symlinks=True)
    with requant.open(tmp_path / "copy" / "notes.requant") as db:
        notes = db.collection("notes")
        query = MAKE["vectors"]()[20]
        kept = {}
        for name in {"int2", "binary"} & {index.name for index in notes.indexes}:
            notes.search(query, k=3, index=name, oversample=20)
            loaded = inside.loaded_of(notes, name)
            assert not loaded.quantizer.true_to_length
            kept[name] = loaded.backend.spec.metric
            notes.rebuild(name)
            loaded = inside.loaded_of(notes, name)
            assert loaded.quantizer.true_to_length
            found = notes.search(query, k=3, index=name, oversample=20)
            assert found[0].id == "id 20"
            assert loaded.backend.spec.metric == {"int2": "l2", "binary": "hamming"}[name]
        assert kept.get("int2", "ip") == "ip"
        assert notes.verify().ok


def test_indexed_fields_are_answered_from_as_they_are(unpacked):
    expected = json.loads((unpacked / "expected.json").read_text())
    with requant.open(unpacked / "notes.requant") as db:
        if "fields" not in expected:  # but they can be indexed now
            notes = db.collection("notes")
            notes.index_field("n")
            assert notes.ids({"n": {"$lt": 3}}) == ["id 0", "id 1", "id 2"]
            return
        listed = db.collection("listed")
        assert [field.name for field in listed.fields if field.ready] == expected["fields"]
        rows = [row for row in range(len(MAKE["vectors"]())) if row != 7]
        entries = {row: MAKE["entry"](row) for row in rows}
        for value in (14, 3.75, "text 2", True, False, None, "long" * 400):
            same = [row for row in rows if is_same(entries[row]["n"], value)]
            assert listed.ids({"n": value}) == same
            assert dict(map(typed, listed.distinct("n")))[type(value), value] == len(same)
        assert listed.count({"deep.x": {"$contains": 3}}) == sum(row % 5 == 3 for row in rows)
        noon = {"at": {"$lt": "2026-01-01T12:00:00Z"}}
        assert listed.ids(noon) == [row for row in rows if row % 28 == 0 and row % 12]


def is_same(one, other):
    return type(one) is type(other) and one == other


def typed(counted):
    return (type(counted.value), counted.value), counted.count


def test_it_is_written_to_as_before(unpacked):
    rows = MAKE["vectors"]()
    for _ in range(2):
        with requant.open(unpacked / "notes.requant") as db:
            notes = db.collection("notes")
            notes.upsert(["new"], -rows[:1])
            for index in notes.indexes:
                assert notes.search(-rows[0], k=1, index=index.name)[0].id == "new"
            assert notes.verify(deep=True).ok
            assert notes.delete(["new"]) == 1
    assert schema(unpacked) == SCHEMA_VERSION

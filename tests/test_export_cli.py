"""`requant export`, and `requant import` of what it made."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest

import requant
from requant.integration.cli import exporting
from requant.integration.export.job import FORMATS
from tests.cli import documented_keys, refused, run, spawn
from tests.databases import metadata, vectors
from tests.test_export_parquet import fill, flip, rows


@pytest.fixture
def db(tmp_path):
    path = tmp_path / "notes.requant"
    with requant.open(path) as opened:
        fill(opened.create_collection("notes", 8, "l2"))
    return path


def test_out_and_in_again(db, tmp_path):
    said = run("export", db, "notes", tmp_path / "out", "--to", "parquet", "--batch", "9").out
    assert re.match(r"Exported 67 rows of collection 'notes' to .*out \(parquet, .* kB\) in ", said)
    other = tmp_path / "other.requant"
    answer = run("import", tmp_path / "out", other, "notes", "--metric", "l2", "--json").json
    assert (answer["rows"], answer["without_vector"]) == (67, 2)
    with requant.open(db) as before, requant.open(other) as after:
        assert rows(after) == rows(before)


def test_a_damaged_export_makes_no_database(db, tmp_path):
    run("export", db, "notes", tmp_path / "out", "--to", "parquet")
    flip(tmp_path / "out" / "part-00000.parquet", 100)
    error = refused("import", tmp_path / "out", tmp_path / "other.requant", "notes")
    assert "part-00000.parquet is damaged: its SHA-256 is not the one written" in error
    assert not (tmp_path / "other.requant").exists()


@pytest.mark.parametrize("format", FORMATS)
def test_json_has_the_documented_keys(db, tmp_path, format):
    answer = run("export", db, "notes", tmp_path / "out", "--to", format, "--json").json
    assert set(answer) == documented_keys("export")
    assert answer["format"] == format
    assert answer["rows"] + answer["left_out"] == 67
    assert answer["bytes"] > 0
    assert answer["target"].startswith(str(tmp_path / "out"))
    error = refused("export", db, "notes", tmp_path / "out", "--to", format)
    assert "exists" in error
    run(
        "export", db, "notes", tmp_path / "out", "--to", format, "--overwrite",
        "--where", json.dumps({"n": {"$gte": 50}}),
    )  # fmt: skip


def test_notes_are_told(db, tmp_path):
    said = run("export", db, "notes", tmp_path / "out", "--to", "faiss", "--type", "hnsw").out
    assert "note: 2 items without a vector" in said


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("{db}", "notes", "{tmp}/x"), "--to"),
        (("{db}", "notes", "{tmp}/x", "--to", "csv"), "csv"),
        (("{db}", "none", "{tmp}/x", "--to", "parquet"), "no collection 'none'"),
        (("{tmp}/no", "notes", "{tmp}/x", "--to", "parquet"), "does not exist"),
        (("{db}", "notes", "{tmp}/x", "--to", "parquet", "--where", "{{"), "--where is not JSON"),
        (("{db}", "notes", "{tmp}/x", "--to", "usearch", "--type", "hnsw"), "only faiss has"),
        (("{db}", "notes", "{db}", "--to", "parquet", "--overwrite"), "is open here"),
        (("{db}", "notes", "http://localhost", "--to", "qdrant"), "names no collection"),
        (("{db}", "notes", "s3://b/x", "--to", "parquet"), "is no path"),
    ],
)
def test_what_cannot_be_exported(db, tmp_path, args, reason):
    filled = [arg.format(db=db, tmp=tmp_path) for arg in args]
    assert reason in refused("export", *filled)
    assert not (tmp_path / "x").exists()


def test_the_formats_are_those_of_the_library():
    assert tuple(format.value for format in exporting.FormatName) == FORMATS


@pytest.mark.parametrize(
    ("module", "format", "extra"),
    [
        ("pyarrow.parquet", "parquet", "arrow"),
        ("faiss", "faiss", "faiss"),
        ("usearch.index", "usearch", "usearch"),
        ("qdrant_edge", "qdrant", "qdrant"),
        ("lancedb", "lancedb", "lancedb"),
    ],
)
def test_without_a_package_the_extra_is_named(db, tmp_path, monkeypatch, module, format, extra):
    monkeypatch.setitem(sys.modules, module, None)
    error = refused("export", db, "notes", tmp_path / "out", "--to", format)
    assert f"pip install 'requant[{extra}]'" in error


def test_in_a_process_of_its_own(tmp_path):
    with requant.open(tmp_path / "a.requant") as opened:
        notes = opened.create_collection("notes", 8)
        notes.upsert(range(300), vectors(300), metadata=metadata(300))
        notes.add_index("main")
    done = spawn("export", tmp_path / "a.requant", "notes", tmp_path / "out", "--to", "parquet")
    assert (done.code, done.err) == (0, "")
    done = spawn("import", tmp_path / "out", tmp_path / "b.requant", "copy")
    assert (done.code, done.err) == (0, "")
    with requant.open(tmp_path / "b.requant") as opened:
        copy = opened.collection("copy")
        assert copy.vectors(range(300)).tobytes() == vectors(300).tobytes()
        assert np.isfinite(copy.search(vectors(1)[0], k=1)[0].score)

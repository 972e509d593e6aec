"""`requant index`: the library's indexes from the command line."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing

import pytest

import requant
from tests.cli import floats, refused, run


@pytest.fixture
def db(tmp_path):
    path = tmp_path / "notes.requant"
    with requant.open(path) as opened:
        opened.create_collection("notes", dim=16).upsert(range(300), floats(300, 16))
    return path


def test_a_collection_without_index_says_so(db):
    said = run("index", "list", db, "notes").out
    assert "no index and is searched exactly" in said
    assert f"Next: requant index add {db} notes main" in said
    assert run("index", "list", db, "notes", "--json").json == {
        "collection": "notes",
        "indexes": [],
    }


def test_add_list_use_rebuild_drop(db):
    said = run("index", "add", db, "notes", "main", "--precision", "int8").out
    assert said.startswith("Built index 'main' (faiss int8 flat): 300 vectors in ")
    assert said.endswith("searches ask it.\n")
    answer = run(
        "index", "add", db, "notes", "graph", "--engine", "usearch", "--precision", "binary",
        "--type", "hnsw", "--bits", "3", "--no-rotate", "--param", "connectivity=8", "--mmap",
        "--json",
    ).json["index"]  # fmt: skip
    assert answer["options"] == {"bits": 3, "rotate": False}
    assert answer["params"] == {"connectivity": 8}
    assert (answer["active"], answer["items"], answer["current"]) == (False, 300, True)

    assert "In use: index 'graph'" in run("index", "use", db, "notes", "graph").out
    listed = run("index", "list", db, "notes", "--json").json["indexes"]
    assert [(index["name"], index["active"]) for index in listed] == [
        ("main", False),
        ("graph", True),
    ]
    table = run("index", "list", db, "notes").out
    assert "ratio" in table
    star = next(line for line in table.splitlines() if "graph" in line)
    assert star.strip().startswith("*")

    rebuilt = run("index", "rebuild", db, "notes", "--json").json["index"]
    assert rebuilt["name"] == "graph"
    assert "Rebuilt index 'main'" in run("index", "rebuild", db, "notes", "main").out
    assert run("index", "drop", db, "notes", "main", "--json").json == {
        "collection": "notes",
        "dropped": "main",
    }
    assert "Dropped index 'graph'" in run("index", "drop", db, "notes", "graph").out
    assert run("index", "list", db, "notes", "--json").json["indexes"] == []


def test_the_dialect_reaches_the_index(db):
    command = ("index", "add", db, "notes", "st", "--dialect", "sentence-transformers", "--json")
    assert run(*command).json["index"]["options"] == {"dialect": "sentence-transformers"}


def test_an_index_of_an_empty_collection_waits(tmp_path):
    path = tmp_path / "empty.requant"
    with requant.open(path) as opened:
        opened.create_collection("notes", dim=4)
    said = run("index", "add", path, "notes", "main").out
    assert "it fills when the collection has vectors" in said


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("--engine", "fais"), "unknown engine 'fais': choose one of"),
        (("--engine", "usearch", "--precision", "int2"), "usearch has no int2/flat index"),
        (("--precision", "int3"), "unknown precision 'int3': choose one of"),
        (("--type", "tree"), "faiss has no int8/tree index"),
        (("--param", "nix=1"), "faiss has no parameter 'nix'"),
        (("--param", "nix"), "write it as KEY=VALUE"),
        (("--param", "=3"), "write it as KEY=VALUE"),
        (("--bits", "9", "--precision", "binary"), "bits"),
        (("--bits", "x"), "'--bits'"),
        (("--dialect", "klingon"), "unknown dialect 'klingon'"),
    ],
)
def test_what_cannot_be_built_leaves_nothing(db, args, reason):
    assert reason in refused("index", "add", db, "notes", "main", *args)
    assert run("index", "list", db, "notes", "--json").json["indexes"] == []


def test_names_that_are_taken_or_unknown(db):
    run("index", "add", db, "notes", "main")
    assert "main" in refused("index", "add", db, "notes", "main")
    for command in ("use", "drop", "rebuild"):
        assert "'nix'" in refused("index", command, db, "notes", "nix")
    assert "'../x' is not allowed" in refused("index", "add", db, "notes", "../x")


def test_rebuild_needs_an_index(db):
    assert "has no index" in refused("index", "rebuild", db, "notes")


def test_progress_is_reported_in_rows(db, monkeypatch):
    seen = []

    class Watching:
        def __init__(self, what):
            self.what = what

        def __enter__(self):
            return lambda done, total: seen.append((self.what, done, total))

        def __exit__(self, *_):
            return None

    indexing = sys.modules["requant.integration.cli.indexing"]
    monkeypatch.setattr(indexing, "progress", Watching)
    run("index", "add", db, "notes", "main")
    run("index", "rebuild", db, "notes", "main")
    assert seen == [("building main", 300, 300), ("rebuilding main", 300, 300)]


def test_a_damaged_index_is_told(db):
    with requant.open(db) as opened:
        opened.collection("notes").add_index("main")
        opened.collection("notes").add_index("other")
    with closing(sqlite3.connect(db)) as raw:
        raw.execute("UPDATE requant_indexes SET config = 'no json' WHERE name = 'other'")
        raw.commit()
    for command in (("index", "list", db, "notes"), ("stats", db)):
        said = run(*command).out
        assert "problem: other: the config of index 2 is not JSON" in said
        assert "problem: main" not in said
    (main, other) = run("index", "list", db, "notes", "--json").json["indexes"]
    assert main["problem"] is None
    assert "not JSON" in other["problem"]
    told = run("verify", db, code=1).out
    assert "problem: index 'other': the config of index 2 is not JSON" in told
    assert "index 'main'" in told
    run("index", "drop", db, "notes", "other")
    assert run("verify", db).out.endswith("ok\n")

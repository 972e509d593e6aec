"""`requant stats`, `verify` and `engines`."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

import requant
from requant.adapters import registry
from tests.cli import floats, refused, run


@pytest.fixture
def db(tmp_path):
    path = tmp_path / "notes.requant"
    with requant.open(path) as opened:
        notes = opened.create_collection("notes", dim=8)
        notes.upsert(range(50), floats(50, 8))
        notes.add_index("main", precision="float32")
        opened.create_collection("plain", dim=3, metric="l2")
    return path


def test_stats_of_all_and_of_one(db):
    answer = run("stats", db, "--json").json
    assert answer["database"] == str(db)
    assert [each["name"] for each in answer["collections"]] == ["notes", "plain"]
    notes = answer["collections"][0]
    assert (notes["items"], notes["dim"], notes["vector_bytes"]) == (50, 8, 1600)
    assert notes["indexes"][0]["name"] == "main"
    assert notes["indexes"][0]["current"] is True
    (only,) = run("stats", db, "plain", "--json").json["collections"]
    assert (only["metric"], only["items"], only["indexes"]) == ("l2", 0, [])
    said = run("stats", db).out
    assert "notes: 50 items, 8 dimensions, cosine, 1.6 kB of float32" in said
    assert "no index: searches are exact" in said
    assert "'nix'" in refused("stats", db, "nix")


def test_stats_show_an_index_that_lags(db):
    with requant.open(db) as opened:
        opened.collection("notes").upsert(range(50, 60), floats(10, 8))
    assert run("stats", db, "--json").json["collections"][0]["indexes"][0]["current"] is False
    line = next(line for line in run("stats", db).out.splitlines() if "main" in line)
    assert line.split()[-1] == "no"


def test_stats_of_an_empty_database(tmp_path):
    path = tmp_path / "empty.requant"
    requant.open(path).close()
    assert "has no collections yet" in run("stats", path).out
    assert run("stats", path, "--json").json["collections"] == []


@pytest.mark.parametrize("deep", [(), ("--deep",)])
def test_verify_says_what_it_looked_at(db, deep):
    answer = run("verify", db, *deep, "--json").json
    assert answer["ok"] is True
    assert [each["name"] for each in answer["collections"]] == ["notes", "plain"]
    assert "index 'main': 50 keys and codes" in answer["collections"][0]["checked"]
    said = run("verify", db, "notes", *deep).out
    assert said.splitlines()[0] == "notes:"
    assert said.splitlines()[-1] == "ok"


def test_verify_finds_a_changed_vector_and_exits_with_1(db):
    with closing(sqlite3.connect(db)) as connection, connection:
        # The change does not show in the file's structure, only in the checksum and the codes.
        connection.execute(
            "UPDATE requant_vectors SET vec = zeroblob(32) "
            "WHERE key = (SELECT min(key) FROM requant_vectors)"
        )
    for deep in ((), ("--deep",)):
        answer = run("verify", db, "notes", *deep, "--json", code=1).json
        assert answer["ok"] is False
        assert len(answer["collections"][0]["problems"]) == 1
    said = run("verify", db, code=1).out
    assert "problem: 1 code(s) of index 'main' are not those of the vectors" in said
    assert said.splitlines()[-1] == "not ok"


def test_verify_counts_an_index_that_had_to_be_made_anew_as_a_problem(db):
    (file,) = (db.parent / "notes.requant.indexes").glob("*/*.faiss")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    answer = run("verify", db, "--json", code=1).json
    (problem,) = answer["collections"][0]["problems"]
    assert "'main'" in problem
    assert "made again" in problem
    assert run("verify", db, "--json").json["ok"] is True


def test_engines_shows_what_each_can_do():
    answer = run("engines", "--json").json["engines"]
    assert [engine["name"] for engine in answer] == registry.names()
    faiss = next(engine for engine in answer if engine["name"] == "faiss")
    assert faiss["usable"] is True
    assert faiss["reason"] is None
    rows = {(row["format"], row["index_type"]) for row in faiss["capabilities"]["supports"]}
    assert {("int2", "flat"), ("binary", "hnsw"), ("int8", "ivf")} <= rows
    assert "nlist" in faiss["capabilities"]["params"]
    assert faiss["versions"] == {"faiss-cpu": faiss["version"]}
    assert faiss["capabilities"]["places"] == ["memory"]
    native = next(row for row in faiss["capabilities"]["supports"] if row["format"] == "native")
    assert native["lossy"] is True
    assert native["codes"] is False
    said = run("engines").out
    assert f"faiss (faiss-cpu {faiss['version']})\n  places: memory\n" in said
    assert "--param nlist=..." in said
    assert max(map(len, said.splitlines())) <= 80


def test_engines_shows_the_packages_and_secrets_of_servers():
    answer = {engine["name"]: engine for engine in run("engines", "--json").json["engines"]}
    qdrant = answer["qdrant"]
    assert set(qdrant["versions"]) == {"qdrant-client", "qdrant-edge-py"}
    assert qdrant["usable"] is True
    assert "server" in qdrant["capabilities"]["places"]
    assert "api_key" in qdrant["capabilities"]["secrets"]
    said = run("engines").out
    assert all(f"{name} {version}" in said for name, version in qdrant["versions"].items())
    assert "never stored: api_key  " in said


def test_a_missing_engine_is_shown_with_how_to_install_it():
    code = (
        "import sys; sys.modules['usearch'] = sys.modules['usearch.index'] = None\n"
        "from requant.integration.cli import main\n"
        "sys.argv = ['requant', 'engines']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usearch: not usable." in done.stdout
    assert "pip install 'requant[usearch]'" in done.stdout
    assert "\nfaiss" in f"\n{done.stdout}"

"""`requant demo` on the real example data."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import requant
from tests.cli import WORDNET, documented_keys, refused, run, spawn

ROOT = WORDNET.parents[1]


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    """What the demo finds, and the database that it leaves."""
    path = tmp_path_factory.mktemp("demo") / "kept.requant"
    return run("demo", "--data", WORDNET, "--keep", path, "--json").json, path


def test_it_loads_everything_and_verifies(answer):
    found, _ = answer
    assert set(found) == documented_keys("demo")
    assert (found["items"], found["dim"], found["vector_bytes"]) == (8000, 384, 8000 * 384 * 4)
    assert found["verify"] == {"ok": True, "problems": []}


def test_the_queries_find_what_a_reader_expects(answer):
    found, _ = answer
    best = {query["text"]: query["hits"][0] for query in found["queries"]}
    assert len(best) == 3
    assert best["great grandfather"]["document"] == "a father of your grandparent"
    assert best["great grandfather"]["metadata"]["lemmas"] == ["great grandfather"]
    seurat = best["Seurat, Georges Seurat, Georges Pierre Seurat"]
    assert seurat["metadata"]["lemmas"] == ["pointillism"]
    for query in found["queries"]:
        scores = [hit["score"] for hit in query["hits"]]
        assert scores == sorted(scores, reverse=True)


def test_the_table_measures_what_there_is_and_says_what_there_is_not(answer):
    found, _ = answer
    rows = {(row["engine"], row["precision"]): row for row in found["table"]}
    exact = rows.pop(("exact search", None))
    assert exact["recall"] == 1.0
    engines, precisions = ("faiss", "usearch", "qdrant", "lancedb"), ("int8", "int2", "binary")
    own = ("turbovec", "native")
    assert set(rows) == {own, *((engine, p) for engine in engines for p in precisions)}
    for engine in engines[1:]:
        gap = rows.pop((engine, "int2"))
        assert gap["available"] is False
        assert gap["reason"].startswith(f"{engine} has no int2/flat index; it has:")
        assert gap["recall"] is None
    shares = {"int8": 1 / 3.5, "int2": 1 / 13, "binary": 1 / 13, "native": 1 / 5}
    for (engine, precision), row in rows.items():
        assert row["recall"] >= 0.98
        assert row["cpu_ms"] > 0
        # Engines that keep their own folder keep more in it than the codes.
        if engine in ("faiss", "usearch", "turbovec"):
            assert row["share_of_float32"] < shares[precision]


def test_engines_agree_on_the_same_codes(answer):
    found, _ = answer
    recall = {(row["engine"], row["precision"]): row["recall"] for row in found["table"]}
    for precision in ("int8", "binary"):
        for engine in ("usearch", "qdrant", "lancedb"):
            # Where an engine hands back codes of bits, a third of the candidates is fetched.
            assert abs(recall["faiss", precision] - recall[engine, precision]) < 0.004


def test_the_kept_database_is_a_database(answer):
    _, path = answer
    with requant.open(path) as db:
        wordnet = db.collection("wordnet")
        assert len(wordnet) == 8000
        assert "faiss-int2" in {index.name for index in wordnet.indexes}
    error = refused("demo", "--data", WORDNET, "--keep", path)
    assert "is there already: choose another path" in error


def test_people_can_read_it_and_a_missing_engine_is_no_crash():
    code = (
        "import sys; sys.modules['usearch'] = sys.modules['usearch.index'] = None\n"
        "from requant.integration.cli import main\n"
        "sys.argv = ['requant', 'demo', '--engine', 'faiss', '--engine', 'usearch']\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout
    assert "8,000 definitions of WordNet from examples/wordnet, 384 dimensions" in said
    assert "pointillism" in said
    assert "recall@10" in said
    (line,) = [line for line in said.splitlines() if line.startswith("usearch: not available:")]
    assert "pip install 'requant[usearch]'" in line
    assert "verify: ok" in said


def test_without_data_it_says_where_to_get_it(tmp_path):
    ran = spawn("demo", cwd=tmp_path)
    assert ran.code == 2
    assert "the demo's data is not at examples/wordnet" in ran.err
    assert "name the folder with --data" in ran.err
    assert f"{tmp_path} lacks vectors_f16.npy" in refused("demo", "--data", tmp_path)


def test_data_that_does_not_belong_together_is_refused(tmp_path):
    for file in WORDNET.iterdir():
        shutil.copy(file, tmp_path)
    Path(tmp_path / "queries.json").write_text('[{"text": "one", "id": "x"}]')
    assert "200 query vectors for 1 query texts" in refused("demo", "--data", tmp_path)


def test_an_unknown_engine_lists_those_there_are():
    error = refused("demo", "--data", WORDNET, "--engine", "fais")
    assert "unknown engine 'fais': choose one of faiss" in error

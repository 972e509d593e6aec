"""kill -9 of `requant import` at any moment: the same command again ends exactly equal."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time

import faiss
import numpy as np
import pytest

import requant
from tests.cli import COMMAND, run, spawn
from tests.databases import vectors

ROWS, DIM = 30_000, 24


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A FAISS file with lists and ids of its own."""
    rows = vectors(ROWS, DIM)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(DIM), DIM, 16)
    index.train(rows)
    index.add_with_ids(rows, np.arange(ROWS) * 3 + 5)
    path = tmp_path_factory.mktemp("source") / "x.faiss"
    faiss.write_index(index, str(path))
    return path


def test_killed_at_25_moments(tmp_path, source):
    chance, path = random.Random(0), tmp_path / "x.db"
    command = [*COMMAND, "import", str(source), str(path), "notes", "--batch", "500"]
    for _ in range(25):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while not path.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 0.25))
        process.kill()
        process.wait()
        if path.exists():
            with requant.open(path) as db:
                if "notes" in db.collections():
                    assert len(db.collection("notes")) % 500 == 0
    answer = run("import", source, path, "notes", "--json").json
    assert (answer["rows"], answer["complete"], answer["fidelity"]) == (ROWS, True, "exact")
    with requant.open(path) as db:
        notes = db.collection("notes")
        ids = (np.arange(ROWS) * 3 + 5).tolist()
        assert len(notes) == ROWS
        np.testing.assert_array_equal(notes.vectors(ids), vectors(ROWS, DIM))
        assert notes.metric == "l2"
        assert [origin.fidelity for origin in notes.stats().origins] == ["exact"]
        assert notes.verify(deep=True).ok


def test_log_lines(tmp_path, source):
    done = spawn("import", source, tmp_path / "x.db", "notes", "--json", REQUANT_LOG="json")
    assert json.loads(done.out)["rows"] == ROWS
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert [lines[0]["event"], lines[-1]["event"]] == ["start", "done"]
    assert lines[-1]["done"] == lines[-1]["total"] == ROWS
    assert {"time", "what", "rate", "seconds", "seconds_left"} <= lines[-1].keys()


def test_what_was_lost_is_remembered(tmp_path):
    index = faiss.index_factory(DIM, "SQ8")
    index.train(vectors(ROWS, DIM))
    index.add(vectors(ROWS, DIM))
    faiss.write_index(index, str(tmp_path / "x.faiss"))
    done = run("import", tmp_path / "x.faiss", tmp_path / "x.db", "notes")
    assert "embed the documents again" in done.err
    assert "embedding again" in run("stats", tmp_path / "x.db").out
    (found,) = run("stats", tmp_path / "x.db", "--json").json["collections"]
    assert found["origins"][0]["fidelity"] == "lossy"
    assert os.fspath(tmp_path / "x.faiss") in found["origins"][0]["source"]

"""kill -9 at any moment: the database opens, and its indexes hold exactly what is stored."""

from __future__ import annotations

import random
import time

import pytest

import requant
from tests.databases import expected, held, vectors
from tests.processes import DIM, IDS, applied, pipe, same, start, stored, write_until_killed

KILLS_EACH = 10


def told_until_killed(path, seed, seconds):
    """Let another process write for a while, kill it, and return what it told."""
    receiver, sender = pipe()
    process = start(write_until_killed, path, seed, sender)
    sender.close()
    assert receiver.poll(30)
    receiver.recv()
    time.sleep(seconds)
    process.kill()
    process.join()
    told = []
    try:
        while receiver.poll():
            told.append(receiver.recv())
    except (EOFError, OSError):
        pass
    receiver.close()
    return told


@pytest.mark.parametrize("run", range(5))
def test_killed_at_random_moments(tmp_path, run, monkeypatch):
    chance = random.Random(run)
    path = tmp_path / "x"
    with requant.open(path) as db:
        notes = db.create_collection("notes", DIM)
        model = dict(enumerate(vectors(IDS, DIM, run)))
        notes.upsert(list(model), list(model.values()))
        notes.add_index("one", engine="faiss", precision="int8")
        notes.add_index("two", engine="usearch", precision="binary", index_type="hnsw")
    writes = 0
    for kill in range(KILLS_EACH):
        told = told_until_killed(str(path), 100 * run + kill, chance.uniform(0.001, 0.15))
        done = [write for what, write in told if what == "done"]
        for write in done:
            model = applied(model, write)
        writes += len(done)
        with requant.open(path) as db:
            notes = db.collection("notes")
            found = stored(notes)
            if len(told) % 2 and not same(found, model):  # killed before it could tell
                model = applied(model, told[-1][1])
            assert same(found, model)
            assert held(notes) == expected(notes)
            report = notes.verify(deep=True)
            assert report.ok, report.problems
            for number in list(model)[:3]:
                assert notes.search(model[number], k=1, index="one")[0].score > 0.9999
    assert writes > 20

"""kill -9 at any moment: the database opens, and its indexes hold exactly what is stored.

30 kills here; tests/torture has a thousand.
"""

from __future__ import annotations

import random
import time

import pytest

import requant
from tests.databases import expected, held, vectors
from tests.processes import DIM, IDS, applied, pipe, same, start, stored, write_until_killed

KILLS_EACH = 10


def told_until_killed(path, seed, least, seconds):
    """Let another process write until it has told so much, kill it later; return what it told."""
    receiver, sender = pipe()
    process = start(write_until_killed, path, seed, sender)
    sender.close()
    assert receiver.poll(30)
    receiver.recv()
    told = []
    while len(told) < least:
        assert receiver.poll(60), "it writes nothing any more"
        told.append(receiver.recv())
    time.sleep(seconds)
    process.kill()
    process.join()
    try:
        while receiver.poll():
            told.append(receiver.recv())
    except (EOFError, OSError):
        pass
    receiver.close()
    return told


FILES = [("faiss", "int8", "flat"), ("usearch", "binary", "hnsw")]
OWN = [("turbovec", "native", "flat"), ("faiss", "int8", "flat")]
LIVE = [("lancedb", "int8", "flat"), ("qdrant", "binary", "flat")]


@pytest.mark.parametrize(
    ("run", "indexes"),
    [(0, FILES), (2, OWN), (1, LIVE)],
    ids=lambda value: value if isinstance(value, int) else value[0][0],
)
def test_killed_at_random_moments(tmp_path, run, indexes):
    kill_and_look(tmp_path, run, indexes)


def kill_and_look(tmp_path, run, indexes):
    """Kill a process that writes KILLS_EACH times, and compare everything each time."""
    chance = random.Random(run)
    path = tmp_path / "x"
    with requant.open(path) as db:
        notes = db.create_collection("notes", DIM)
        model = dict(enumerate(vectors(IDS, DIM, run)))
        notes.upsert(list(model), list(model.values()))
        for name, (engine, precision, kind) in zip(("one", "two"), indexes, strict=True):
            notes.add_index(name, engine=engine, precision=precision, index_type=kind)
    # What it tells of a write: that it begins, and that it is done.
    writes, least_told = 0, 4 if indexes is LIVE else 10
    for kill in range(KILLS_EACH):
        # Each other one by the clock, which may be while it opens; the rest in the midst of writes,
        # however slow the machine is. Live engines take half a second to be imported.
        if kill % 2:
            least, seconds = chance.randint(least_told, 3 * least_told), chance.uniform(0, 0.02)
        else:
            least, seconds = 0, chance.uniform(0.001, 1 if indexes is LIVE else 0.15)
        told = told_until_killed(str(path), 100 * run + kill, least, seconds)
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
    assert writes >= KILLS_EACH // 2 * least_told // 2

"""What a parent or a child does at its end harms the other in nothing."""

from __future__ import annotations

import ctypes
import os
import threading
import time

import pytest

import requant
from tests import forks, inside
from tests.databases import vectors
from tests.forks import alone, fork, outcome
from tests.test_faults_store import run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

MEMORY = """
import gc, multiprocessing, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import numpy as np, requant
db = requant.open(":memory:")
notes = db.create_collection("notes", 8)
notes.upsert(range(50), np.random.default_rng(0).standard_normal((50, 8)))
for way in ("exits", "closes", "lets go"):
    pid = os.fork()
    if pid == 0:
        assert len(notes) >= 50
        notes.upsert([way], np.ones((1, 8)))
        if way == "closes":
            db.close()
        if way == "lets go":
            del db, notes
            gc.collect()
        sys.exit()  # not os._exit: with all that Python does at its end
    assert os.waitpid(pid, 0)[1] == 0, way

def work(number):
    notes.upsert([f"pool {number}"], np.ones((1, 8)))
    return len(notes)

with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(work, range(4), 1)
assert len(notes) == 57, len(notes)
(wait, go), (seen, told) = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    assert len(notes) == 57
    os.write(told, b"x")
    os.read(wait, 1)
    for verb in (lambda: len(notes), lambda: notes.upsert(["late"], np.ones((1, 8)))):
        try:
            verb()
        except requant.StoreError as error:
            assert "gone" in str(error)
        else:
            os._exit(1)
    os._exit(0)
os.read(seen, 1)
db.close()
os.write(go, b"x")
assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_database_in_memory_outlives_children():
    done = run(MEMORY, timeout=60)
    assert done.returncode == 0, done.stderr


SESSION = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import numpy as np, requant
db = requant.open(sys.argv[1], folder=sys.argv[2])
notes = db.create_collection("notes", 8)
with db.engine.begin() as connection:
    notes.upsert(["parent"], np.ones((1, 8)), connection=connection)
    pid = os.fork()
    if pid == 0:
        sys.exit()  # through the end of the block, which would roll back
    assert os.waitpid(pid, 0)[1] == 0
    notes.upsert(["parent 2"], np.ones((1, 8)), connection=connection)
items = notes.iter()
next(items)
pid = os.fork()
if pid == 0:
    del items, notes
    db.close()
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
assert len(list(items)) == 1
assert len(notes) == 2
db.close()
"""


def test_a_child_that_exits_ends_no_session(any_db, tmp_path):
    url = any_db.engine.url.render_as_string(False)
    done = run(SESSION, url, tmp_path / "indexes", timeout=60)
    assert done.returncode == 0, done.stderr
    assert {item.id for item in any_db.collection("notes").iter()} == {"parent", "parent 2"}


def dying_with_a_lock(path, engine, told):
    """End without a word while a child lives on that has inherited every lock."""
    db = requant.open(path)
    notes = forks.make(db, engine)
    notes.search(vectors(1, forks.DIM)[0])
    with inside.pinned(notes):
        process, _ = fork(lambda: time.sleep(60))
        told.send(process)
        os._exit(0)


@pytest.mark.parametrize("engine", ["lancedb", "qdrant"])
def test_a_child_keeps_no_lock_of_a_parent_that_died(tmp_path, engine):
    path = str(tmp_path / "x")
    receiver, sender = forks.pipe()
    parent = forks.start(dying_with_a_lock, path, engine, sender)
    child = receiver.recv()
    parent.join()
    try:
        with requant.open(path) as db:
            notes = db.collection("notes")
            forks.write(notes, 1000)
            assert notes.search(forks.vector_of(1000), k=1)[0].id == 1000
            notes.flush()
            assert notes.verify().ok
    finally:
        os.kill(child, 9)


def with_hooks(path):
    """An application that reads before every fork, forks from two threads, and from a child."""
    db = requant.open(path)
    notes = forks.make(db, "faiss")
    os.register_at_fork(before=lambda: len(notes), after_in_parent=lambda: len(notes))
    outcomes = []

    def fork_some():
        for _ in range(3):
            outcomes.append(outcome(fork(lambda: len(requant.open(path + " 2").collections()))))

    threads = [threading.Thread(target=fork_some) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def grandchild():
        kind, words = outcome(fork(lambda: forks.write(notes, 1000)))
        assert kind == "ok", words

    outcomes.append(outcome(fork(grandchild)))
    db.close()
    return outcomes


def test_nobody_waits_for_the_fork_itself(tmp_path):
    requant.open(tmp_path / "x 2").close()
    path = str(tmp_path / "x")
    outcomes = alone(with_hooks, path)
    assert [kind for kind, _ in outcomes] == ["ok"] * 7, outcomes
    assert forks.problems(path, f"{path}.indexes", [1000]) == []


def forked_by_others(path):
    """A fork that Python knows nothing of, as some servers do it in C."""
    db = requant.open(path)
    notes = forks.make(db, "faiss")
    outcomes = []
    for act in (
        lambda: forks.write(notes, 1000),
        lambda: forks.write(requant.open(path).collection("notes"), 1001),
    ):
        outcomes.append(outcome(fork(act, ctypes.PyDLL(None).fork)))
    forks.write(notes, 1002)
    db.close()
    return outcomes


def test_a_fork_behind_the_back_of_python_is_refused(tmp_path):
    path = str(tmp_path / "x")
    outcomes = alone(forked_by_others, path)
    assert [kind for kind, _ in outcomes] == ["forked"] * 2, outcomes
    assert forks.problems(path, f"{path}.indexes", [1002]) == []

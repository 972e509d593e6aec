"""Far behind: a search does a share of the catching up, answers whole, and others do the rest."""

from __future__ import annotations

import os
import threading
import time
import warnings

import numpy as np
import pytest

import requant
from requant.errors import InputError, ReadOnlyError, StoreError
from tests import inside
from tests.databases import expected, held, vectors
from tests.forks import alone, fork, outcome

ENGINES = ["faiss", "usearch", "qdrant", "lancedb"]
START, MORE, DIM = 2000, 3000, 16


@pytest.fixture
def notes(db):
    return db.create_collection("notes", DIM)


def right(collection, seed=5, **options):
    """Whether everything that is nearest is found, deleted and updated items included."""
    query = vectors(1, DIM, seed)[0]
    found = collection.search(query, k=20, oversample=40, **options)
    wanted = collection.search(query, k=20, exact=True)
    return [hit.id for hit in found] == [hit.id for hit in wanted]


def lag(collection, name="main"):
    """How many new rows an index has not seen, and how many writes."""
    loaded = inside.loaded_of(collection, name)
    state = inside.state_of(collection)
    return state.next_key - loaded.watermark.key, state.seq - loaded.watermark.seq


def place(collection):
    """How far an index has come, within a write as well."""
    return (*lag(collection), inside.loaded_of(collection, "main").logged)


@pytest.mark.parametrize("engine", ["faiss", "usearch"])
def test_a_few_changes_are_read_along_and_followed_later(notes, engine):
    notes.upsert(range(START), vectors(START, DIM))
    notes.add_index("main", engine=engine, precision="int8")
    notes.search(np.ones(DIM), oversample=4)
    query = vectors(1, DIM, 5)[0]
    notes.upsert([7, 8], np.stack([query, query + 0.01]))
    notes.delete([notes.search(query, k=3)[2].id])
    assert [hit.id for hit in notes.search(query, k=2)] == [7, 8]
    assert right(notes)
    assert lag(notes) == (0, 0)
    notes.upsert([9], -query[None])
    assert right(notes)
    assert lag(notes) == (0, 1)
    assert right(notes)
    assert lag(notes) == (0, 0)
    for n in range(40):  # more than what is left, and nobody searches twice
        notes.upsert([n], vectors(1, DIM, n + 100))
        assert right(notes)
        assert lag(notes)[1] <= 32
    notes.upsert(["new"], query[None])
    assert notes.search(query, k=1)[0].id == "new"
    assert lag(notes) == (0, 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_each_search_moves_the_index_on_and_is_whole(notes, engine, monkeypatch):
    monkeypatch.setattr(inside.SHARE_SECONDS, 1e-6)
    monkeypatch.setattr(inside.SHARE_OF_READING, 0.0)
    monkeypatch.setattr(inside.SHARE_LEAST_LIVE, 100)
    notes.upsert(range(START), vectors(START, DIM))
    notes.add_index("main", engine=engine, precision="int8")
    notes.search(np.ones(DIM), oversample=4)
    notes.upsert(range(START, START + MORE), vectors(MORE, DIM, seed=1))
    notes.upsert(range(500), vectors(500, DIM, seed=5))
    notes.delete(range(1000, 1200))
    before, searches = place(notes), 0
    while lag(notes) != (0, 0):
        assert right(notes, seed=searches)
        searches += 1
        assert place(notes) != before, "a search did nothing of its share"
        before = place(notes)
        if searches == 3:  # and again, while it is behind
            notes.upsert(range(2500, 2600), vectors(100, DIM, seed=searches))
            notes.delete(range(4000, 4100))
    assert searches > 20
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok


@pytest.mark.parametrize("most", [500, 1200, 10_000])
def test_what_is_ahead_is_kept_as_far_as_there_is_room(notes, most, monkeypatch):
    monkeypatch.setattr(inside.SHARE_SECONDS, 1e-6)
    monkeypatch.setattr(inside.SHARE_OF_READING, 0.0)
    monkeypatch.setattr(inside.NEARBY_FLOATS, most * DIM)
    monkeypatch.setattr(inside.BATCH_BYTES, 300 * DIM * 4)
    notes.upsert(range(START), vectors(START, DIM))
    notes.add_index("main", engine="faiss", precision="int8")
    notes.search(np.ones(DIM), oversample=4)
    end = START
    for turn in range(30):
        notes.upsert(range(end, end + 80), vectors(80, DIM, seed=turn))
        end += 80
        if turn % 9 == 8:  # of what is kept, and of what comes after
            notes.delete(range(end - 100, end - 60, 2))
            notes.upsert(range(end - 40, end - 30), vectors(10, DIM, seed=1000 + turn))
        assert right(notes, seed=turn)
        assert right(notes, seed=turn)
    assert lag(notes)[0] > 1000
    nearby = inside.loaded_of(notes, "main").nearby
    assert inside.rows_kept(nearby) <= most
    notes.flush()
    assert held(notes) == expected(notes)


def test_a_share_is_bounded_and_the_rest_is_done_by_flush(notes):
    notes.upsert(range(START), vectors(START, DIM))
    notes.add_index("main", engine="faiss", precision="int8", index_type="hnsw")
    notes.search(np.ones(DIM), oversample=4)
    notes.upsert(range(START, START + 20_000), vectors(20_000, DIM, seed=1))
    notes.search(np.ones(DIM), oversample=4)
    assert 0 < lag(notes)[0] < 20_000
    assert right(notes)
    notes.flush()
    assert lag(notes) == (0, 0)
    assert notes.indexes[0].current
    assert right(notes)


@pytest.mark.parametrize(("reading", "rows"), [(0.0, 64), (0.03, 64), (0.1, 200)])
def test_a_share_is_a_few_milliseconds_or_a_quarter_of_what_the_rest_takes(
    notes, reading, rows, monkeypatch
):
    notes.upsert(range(START), vectors(START, DIM))
    notes.add_index("main", engine="faiss", precision="int8")
    notes.search(np.ones(DIM), oversample=4)
    notes.upsert(range(START, START + MORE), vectors(MORE, DIM, seed=1))
    loaded = inside.loaded_of(notes, "main")
    # A clock by which each row that is followed takes an eighth of a millisecond.
    monkeypatch.setattr(inside.SHARE_NOW, lambda: loaded.watermark.key / 8000)
    loaded.seconds_a_row = 1 / 8000
    for seed in range(3):
        loaded.seconds_unfollowed = reading
        before = loaded.watermark.key
        assert right(notes, seed=seed)
        assert 0.7 * rows <= loaded.watermark.key - before <= rows


def test_a_share_that_ends_within_a_write_goes_on_there(notes, tmp_path, monkeypatch):
    monkeypatch.setattr(inside.SHARE_SECONDS, 1e-6)
    monkeypatch.setattr(inside.SHARE_OF_READING, 0.0)
    notes.upsert(range(START), vectors(START, DIM))
    notes.add_index("main", engine="faiss", precision="int8")
    notes.search(np.ones(DIM), oversample=4)
    notes.upsert(range(START), vectors(START, DIM, seed=1))
    for _ in range(5):
        assert right(notes)
    loaded = inside.loaded_of(notes, "main")
    assert loaded.unpublished == 5 * 8
    assert lag(notes) == (0, 1)
    assert held(notes) == expected(notes)


def test_a_reader_of_an_older_snapshot_does_not_set_an_index_back(db, notes, monkeypatch):
    monkeypatch.setattr(inside.SHARE_SECONDS, 1e-6)
    monkeypatch.setattr(inside.SHARE_OF_READING, 0.0)
    notes.upsert(range(START), vectors(START, DIM))
    notes.add_index("main", engine="faiss", precision="int8")
    notes.search(np.ones(DIM), oversample=4)
    notes.upsert(range(START, START + 500), vectors(500, DIM, seed=1))
    with inside.snapshot(notes) as (reader, state):
        notes.upsert(range(START, START + 500), vectors(500, DIM, seed=2))
        notes.delete(range(START + 100, START + 200))
        while lag(notes)[1]:
            notes.search(np.ones(DIM), oversample=4)
        behind = lag(notes)
        assert behind[0] > 0
        inside.index_of(notes, "main").sync(reader, state)
        assert lag(notes) == behind
    notes.flush()
    assert held(notes) == expected(notes)


def test_an_index_of_a_later_snapshot_is_told_from_an_earlier_one(notes, monkeypatch):
    """Half of a later write is in it, so that it cannot answer for the time before."""
    monkeypatch.setattr(inside.SHARE_SECONDS, 1e-6)
    monkeypatch.setattr(inside.SHARE_OF_READING, 0.0)
    notes.upsert(range(START), vectors(START, DIM))
    notes.add_index("main", engine="faiss", precision="int8")
    notes.search(np.ones(DIM), oversample=4)
    notes.upsert(range(1000), vectors(1000, DIM, seed=2))
    index = inside.index_of(notes, "main")
    with inside.snapshot(notes) as (reader, state):
        notes.delete(range(1000))
        with inside.snapshot(notes) as later:
            index.sync(*later)
        assert lag(notes)[1] == 2, "some of the log, and no whole write of it"
        assert index.sync(reader, state).is_ahead_of(state.seq)
    assert right(notes)


def until(condition):
    """Wait for what a thread is going to do."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nobody has done it"
        time.sleep(0.01)


@pytest.mark.parametrize("engine", ["faiss", "lancedb"])
def test_keep_up_follows_so_that_no_search_has_to(db, notes, engine):
    notes.upsert(range(START), vectors(START, DIM))
    notes.add_index("main", engine=engine, precision="int8")
    notes.search(np.ones(DIM), oversample=4)
    db.keep_up(seconds=0.01)
    notes.upsert(range(START, START + MORE), vectors(MORE, DIM, seed=1))
    notes.delete(range(100))
    until(lambda: lag(notes) == (0, 0))
    assert right(notes)
    db.keep_up(seconds=0.02)
    assert sum(thread.name == "requant keep_up" for thread in threading.enumerate()) == 1
    db.close()
    assert not any(thread.name == "requant keep_up" for thread in threading.enumerate())


def test_keep_up_survives_an_error_and_says_it(db, notes, monkeypatch):
    notes.upsert(range(START), vectors(START, DIM))
    notes.add_index("main", engine="faiss", precision="int8")
    notes.search(np.ones(DIM), oversample=4)
    failing = threading.Event()
    failing.set()
    inside.before_following(monkeypatch, lambda: fail_if(failing))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        db.keep_up(seconds=0.01)
        notes.upsert([0], vectors(1, DIM, seed=1))
        until(lambda: any("no space left" in str(one.message) for one in told))
        time.sleep(0.1)
        assert len(told) == 1, "said once, however often it is tried"
        failing.clear()
        until(lambda: notes.indexes and inside.is_in_use(notes, "main") and lag(notes) == (0, 0))
    assert held(notes) == expected(notes)


def fail_if(failing):
    if failing.is_set():
        raise StoreError("no space left")


def test_keep_up_goes_on_when_a_collection_is_closed(db, notes):
    others = db.create_collection("others", DIM)
    others.upsert(range(START), vectors(START, DIM))
    others.add_index("main", engine="faiss", precision="int8")
    others.search(np.ones(DIM), oversample=4)
    notes.upsert(range(START), vectors(START, DIM))
    notes.add_index("main", engine="faiss", precision="int8")
    db.keep_up(seconds=0.01)
    notes.close()
    time.sleep(0.1)
    others.upsert(range(100), vectors(100, DIM, seed=1))
    until(lambda: lag(others) == (0, 0))
    assert not inside.is_followed(notes)


def test_keep_up_rests_where_another_is_writing(db, notes, monkeypatch):
    notes.upsert(range(START), vectors(START, DIM))
    notes.add_index("main", engine="lancedb", precision="int8")
    notes.search(np.ones(DIM), oversample=4)
    notes.upsert(range(100), vectors(100, DIM, seed=1))
    with db.engine.begin() as connection:
        notes.upsert([1], vectors(1, DIM, seed=2), connection=connection)
        steps = notes.follow()
        assert sum(1 for _ in zip(steps, range(100), strict=False)) < 10
    assert list(notes.follow())
    assert lag(notes) == (0, 0)


def test_keep_up_is_refused_where_nothing_is_written(tmp_path):
    requant.open(tmp_path / "x").close()
    with (
        requant.open(tmp_path / "x", read_only=True) as db,
        pytest.raises(ReadOnlyError, match="read_only=True"),
    ):
        db.keep_up()


@pytest.mark.parametrize("seconds", [0, -1, "x", True, float("nan")])
def test_keep_up_takes_seconds(db, seconds):
    with pytest.raises(InputError, match="seconds must be a number above 0"):
        db.keep_up(seconds)


def test_a_forked_child_is_not_kept_up_and_may_ask_for_it(tmp_path):
    with requant.open(tmp_path / "x") as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(range(100), vectors(100, DIM))
        notes.add_index("main", engine="usearch", precision="int8")
        db.keep_up(seconds=0.001)
        for _ in range(5):
            notes.upsert(range(100), vectors(100, DIM))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
                child = os.fork()
            if not child:
                code = 1
                try:
                    alive = [t for t in threading.enumerate() if t.name == "requant keep_up"]
                    with requant.open(tmp_path / "x") as own:
                        own.collection("notes").upsert([1], vectors(1, DIM, seed=9))
                        own.keep_up(seconds=0.001)
                    code = len(alive)
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
        until(lambda: lag(notes) == (0, 0))
        assert held(notes) == expected(notes)


def fork_beside_a_lock(path):
    """Fork while the thread holds the lock of a live index; return what comes of the child."""
    inside_of_it, patch = threading.Event(), pytest.MonkeyPatch()

    def linger():
        inside_of_it.set()
        time.sleep(0.2)

    with patch.context() as patched, requant.open(path) as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(range(START), vectors(START, DIM))
        notes.add_index("main", engine="qdrant", precision="int8")
        notes.search(np.ones(DIM), oversample=4)
        inside.before_following(patched, linger)
        db.keep_up(seconds=0.001)
        for seed in range(100):  # a write may be followed all at once, just after a look
            notes.upsert(range(100), vectors(100, DIM, seed=seed))
            if inside_of_it.wait(0.2):
                break
        return outcome(fork(lambda: str(len(notes))))


def test_a_fork_waits_for_a_share_that_holds_a_lock(tmp_path):
    """filelock holds back at a fork whoever gives a lock back: only after our own waiting."""
    assert alone(fork_beside_a_lock, tmp_path / "x") == ("ok", str(START))


def fork_beside_a_build(path):
    with requant.open(path) as db:
        db.create_collection("notes", DIM)
        db.keep_up(seconds=0.001)
        with inside.share_of(db):
            first = outcome(fork(lambda: db.collection("notes").name))
            second = outcome(fork(lambda: outcome(fork(lambda: "grandchild"))[1]))
        return first, second


def test_a_fork_does_not_wait_for_a_long_share(tmp_path):
    wanted = (("ok", "notes"), ("ok", "grandchild"))
    assert alone(fork_beside_a_build, tmp_path / "x", seconds=30) == wanted


def test_an_index_of_few_is_fitted_anew_by_whoever_has_time(db, notes, monkeypatch):
    monkeypatch.setattr(inside.REFIT_SECONDS, 0.0)
    monkeypatch.setattr(inside.REFIT_ENOUGH, 100)
    notes.upsert(range(1100), vectors(1100, DIM))
    notes.add_index("main", engine="faiss", precision="int8")
    notes.search(np.ones(DIM), oversample=4)
    notes.upsert(range(1100, 9000), vectors(7900, DIM, seed=1))
    for _ in range(30):
        notes.search(np.ones(DIM), oversample=4)
    assert inside.loaded_of(notes, "main").fit_rows == 1100, "a search has built it anew"
    assert right(notes)
    notes.flush()
    assert inside.loaded_of(notes, "main").fit_rows == 9000
    again = inside.loaded_of(notes, "main")
    notes.flush()
    assert inside.loaded_of(notes, "main") is again
    assert right(notes)

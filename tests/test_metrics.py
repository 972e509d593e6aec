"""What `Database.metrics` counts, and what is told to observers and to the log."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import threading

import numpy as np
import pytest

import requant
from requant.errors import DuplicateIdError, IndexWarning, InputError
from requant.metrics import BOUNDS, Meters, SlowLog, Timing, warn
from tests import inside
from tests.databases import vectors

DIM = 16


def filled(db, count=2000, **index):
    notes = db.create_collection("notes", DIM)
    notes.upsert(range(count), vectors(count, DIM))
    if index:
        notes.add_index("main", **index)
    return notes


def of(db, name="notes"):
    return db.metrics().collections[name]


def test_nothing_was_done(any_db):
    found = any_db.metrics()
    assert found.collections == {}
    assert found.seconds >= 0
    assert (found.log_bytes is None) == (any_db.engine.dialect.name == "postgresql")
    any_db.create_collection("notes", 2)
    assert any_db.metrics().collections == {}


def test_a_search_by_its_index(any_db):
    notes = filled(any_db, precision="int8")
    before = of(any_db)
    assert (before.indexes["main"].builds.count, before.indexes["main"].items_built) == (1, 2000)
    assert before.indexes["main"].publications.count == 1
    assert before.searches.count == 0
    notes.search(vectors(1, DIM)[0], k=3, oversample=20)
    notes.search_many(vectors(5, DIM), k=3, oversample=20)
    found = of(any_db)
    assert (found.searches.count, found.queries) == (2, 6)
    assert (found.candidates, found.exact_searches, found.fallbacks) == (6 * 60, 0, 0)
    assert 60 <= found.fetched <= 6 * 60
    for stage in ("snapshot", "follow", "first_pass", "fetch", "rescore", "join"):
        assert getattr(found, stage).count == 2, stage
    assert (found.scan.count, found.filter.count, found.scanned) == (0, 0, 0)
    assert found.indexes["main"].first_pass == found.first_pass
    assert found.indexes["main"].candidates == found.candidates
    stages = (found.snapshot, found.follow, found.first_pass, found.fetch, found.rescore)
    assert 0 < sum(one.total for one in stages) <= found.searches.total


def test_a_search_without_an_index(any_db):
    notes = filled(any_db, 50)
    notes.search(vectors(1, DIM)[0])
    notes.search(vectors(1, DIM)[0], exact=True)
    found = of(any_db)
    assert (found.searches.count, found.exact_searches, found.fallbacks) == (2, 2, 0)
    assert (found.scanned, found.scan.count, found.candidates) == (100, 2, 0)
    assert found.indexes == {}


def test_an_empty_collection_falls_back_to_nothing(db):
    notes = db.create_collection("notes", DIM)
    notes.add_index("main")
    notes.search(vectors(1, DIM)[0])
    found = of(db)
    assert (found.searches.count, found.fallbacks) == (1, 0)
    assert "main" not in found.indexes or found.indexes["main"].builds.count == 0


def test_filters_are_timed(db):
    notes = filled(db, precision="int8")
    notes.update(range(1000), metadata={"lang": "en"})
    notes.flush()
    notes.search(vectors(1, DIM)[0], where={"lang": "en"})
    assert of(db).filter.count == 1


def test_what_a_search_reads_beside_its_index(db, tmp_path):
    notes = filled(db, precision="int8")
    notes.search(vectors(1, DIM)[0])
    with requant.open(tmp_path / "notes.requant", read_only=True) as other:
        beside = other.collection("notes")
        notes.upsert(range(5000, 5040), vectors(40, DIM))
        beside.search(vectors(1, DIM)[0], oversample=10)
        found = of(other)
        assert (found.scanned, found.searches.count, found.exact_searches) == (40, 1, 0)


def test_catching_up_and_publishing(any_db):
    notes = filled(any_db, precision="int8")
    notes.upsert(range(1000, 3000), vectors(2000, DIM))
    notes.delete([0, 1])
    notes.flush()
    notes.flush()
    index = of(any_db).indexes["main"]
    assert index.catch_up.count == 1
    assert index.rows_followed == 1000 + 1000 + 2
    assert index.publications.count == 2
    assert (index.outrun, index.damaged) == (0, 0)


def test_searches_follow_by_shares(db):
    notes = filled(db, precision="int8")
    notes.upsert(range(2000, 2500), vectors(500, DIM))
    while len(notes) and of(db).indexes["main"].rows_followed < 500:
        notes.search(vectors(1, DIM)[0])
    assert of(db).indexes["main"].rows_followed == 500
    assert of(db).indexes["main"].catch_up.total <= of(db).follow.total


def test_writes(any_db):
    notes = any_db.create_collection("notes", DIM)
    notes.upsert(range(10), vectors(10, DIM))
    notes.update([1, 2], metadata={"a": 1})
    notes.update(where={"a": 1}, metadata={"a": 2})
    notes.delete([1, 3, 99])
    notes.delete(where={"a": 2})
    with pytest.raises(DuplicateIdError):
        notes.add([5], vectors(1, DIM))
    notes.clear()
    found = of(any_db)
    assert (found.writes.count, found.failed_writes) == (6, 1)
    assert found.rows_written == 10 + 2 + 2 + 1  # one of them was refused
    assert found.rows_removed == 2 + 1 + 7
    assert found.write_wait.count == 6
    assert found.write_wait.total < found.writes.total


def test_writes_in_a_transaction_of_the_caller(any_db):
    notes = any_db.create_collection("notes", DIM)
    with any_db.engine.connect() as connection:
        notes.upsert(range(10), vectors(10, DIM), connection=connection)
        connection.rollback()
    assert (of(any_db).writes.count, of(any_db).rows_written, len(notes)) == (1, 10, 0)


def test_failed_searches(db):
    notes = filled(db, 10)
    with pytest.raises(requant.UnknownIdError):
        notes.more_like(["nobody"])
    assert (of(db).searches.count, of(db).failed_searches) == (0, 1)


def test_reranking_is_a_stage(db):
    notes = filled(db, 50)
    notes.search(vectors(1, DIM)[0], rerank=lambda query, found: [0.0] * len(found))
    assert of(db).rerank.count == 1


def damaged(tmp_path):
    """A database whose index file is not what it was."""
    path = tmp_path / "notes.requant"
    with requant.open(path) as db:
        filled(db, precision="int8")
    folder = tmp_path / "notes.requant.indexes"
    (file,) = [one for one in folder.glob("*/*") if one.is_file()]
    file.write_bytes(b"x" * file.stat().st_size)
    return path


def test_damage_is_counted_and_logged(tmp_path, caplog):
    with requant.open(damaged(tmp_path)) as db, caplog.at_level(logging.INFO, "requant"):
        with pytest.warns(IndexWarning, match="made again"):
            db.collection("notes").search(vectors(1, DIM)[0])
        index = of(db).indexes["main"]
        assert (index.damaged, index.builds.count, of(db).fallbacks) == (1, 1, 0)
    said = [(one.name, one.levelname) for one in caplog.records]
    assert said == [("requant.indexes", level) for level in ("WARNING", "INFO", "INFO")]
    assert "made again" in caplog.records[0].getMessage()
    assert "built, 2000 items" in caplog.records[1].getMessage()
    assert "published, 2000 items" in caplog.records[2].getMessage()


def test_falling_back_is_counted_and_logged_once(tmp_path, caplog):
    path = damaged(tmp_path)
    with requant.open(path, read_only=True) as db, caplog.at_level(logging.INFO, "requant.search"):
        notes = db.collection("notes")
        with pytest.warns(IndexWarning, match="searches are exact"):
            notes.search(vectors(1, DIM)[0])
        notes.search(vectors(1, DIM)[0])
        notes.search(vectors(1, DIM)[0])
        assert (of(db).fallbacks, of(db).exact_searches, of(db).scanned) == (3, 3, 6000)
    said = [one.getMessage() for one in caplog.records if one.name == "requant.search"]
    assert said == ["searches of 'notes' are exact: its index is not at hand"]


def test_collections_apart_and_by_name(db):
    filled(db, 10)
    db.create_collection("other", 2).upsert(["a"], [[1, 0]])
    assert set(db.metrics().collections) == {"notes", "other"}
    assert of(db, "other").rows_written == 1
    db.drop_collection("notes")
    db.create_collection("notes", 3).upsert(["a"], [[1, 0, 0]])
    assert of(db).rows_written == 11  # since the database was opened


def test_every_thread_is_counted(db):
    notes = filled(db, 300)
    query = vectors(1, DIM)[0]
    threads = [
        threading.Thread(target=lambda: [notes.search(query) for _ in range(50)]) for _ in range(8)
    ]
    for one in threads:
        one.start()
    while any(one.is_alive() for one in threads):
        assert of(db).searches.count <= 400
    for one in threads:
        one.join()
    found = of(db)
    assert (found.searches.count, found.queries, found.scanned) == (400, 400, 400 * 300)
    assert sum(found.searches.buckets) == 400


def test_nobody_waits_while_numbers_are_read():
    meters = Meters()
    meter = meters.of("notes")
    with inside.reading(meter):
        for _ in range(100):
            with meter.operation("search"):
                pass
    assert meter.read().searches.count == 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_begins_at_zero(db):
    notes = filled(db, 50)
    notes.search(vectors(1, DIM)[0])
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        try:
            empty = db.metrics().collections
            notes.search(vectors(1, DIM)[0])
            told = [len(empty), of(db).searches.count, of(db).writes.count]
            os.write(sending, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(sending)
    assert json.loads(os.read(receiving, 100)) == [0, 1, 0]
    os.waitpid(child, 0)
    os.close(receiving)
    assert (of(db).searches.count, of(db).writes.count) == (1, 1)


def test_as_plain_numbers(db):
    notes = filled(db, precision="int8")
    notes.search(vectors(1, DIM)[0])
    found = json.loads(json.dumps(db.metrics().as_dict()))
    assert found["collections"]["notes"]["indexes"]["main"]["first_pass"]["count"] == 1
    assert found["log_bytes"] > 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        of(db).queries = 7


def test_they_stay_after_the_end(tmp_path):
    with requant.open(tmp_path / "notes.requant") as db:
        filled(db, 10)
    assert of(db).rows_written == 10
    assert db.metrics().log_bytes is None


# Timings


def test_quantiles():
    assert Timing().quantile(0.5) == 0.0
    assert Timing().mean == 0.0
    meter = Meters().of("notes")
    rng = np.random.default_rng(0)
    known = np.sort(rng.uniform(0.0002, 0.02, 1000))
    for seconds in known.tolist():
        one = meter.operation("search")
        one.seconds = seconds
        meter.add(one)
    found = meter.read().searches
    assert found.count == 1000
    assert sum(found.buckets) == 1000
    assert len(found.buckets) == len(BOUNDS) + 1
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        true = float(known[min(int(share * 1000), 999)])
        assert true / 2.5 <= found.quantile(share) <= min(true * 2.5, found.max)


# Observers


class Noted:
    def __init__(self):
        self.began, self.ended = [], []

    def begins(self, operation):
        self.began.append((operation.name, operation.collection))
        return len(self.began)

    def ends(self, operation, begun):
        self.ended.append((operation.name, begun, operation.error))


def test_an_observer_hears_of_everything(db):
    noted = Noted()
    stop = db.observe(noted)
    notes = filled(db, precision="int8")
    notes.search(vectors(1, DIM)[0])
    with pytest.raises(requant.UnknownIdError):
        notes.more_like(["nobody"])
    names = ["upsert", "build", "publish", "search", "search"]
    assert noted.began == [(name, "notes") for name in names]
    assert [name for name, _, _ in noted.ended] == names
    assert sorted(begun for _, begun, _ in noted.ended) == [1, 2, 3, 4, 5]
    assert noted.ended[-1][2] == "UnknownIdError"
    stop()
    stop()
    notes.search(vectors(1, DIM)[0])
    assert len(noted.began) == 5


def test_what_happens_in_passing_is_within(db):
    noted = Noted()
    notes = filled(db, precision="int8")
    notes.upsert(["new"], vectors(1, DIM))
    db.observe(noted)
    notes.search(vectors(1, DIM)[0])
    assert [name for name, _ in noted.began] == ["search", "catch_up"]
    assert [name for name, _, _ in noted.ended] == ["catch_up", "search"]


@pytest.mark.parametrize("fails_in", ["begins", "ends"])
def test_an_observer_that_fails_spoils_nothing(db, caplog, fails_in):
    class Failing(Noted):
        def begins(self, operation):
            return super().begins(operation) if fails_in == "ends" else 1 / 0

        def ends(self, operation, begun):
            return super().ends(operation, begun) if fails_in == "begins" else 1 / 0

    after = Noted()
    db.observe(Failing())
    db.observe(after)
    notes = filled(db, 10)
    assert len(notes.search(vectors(1, DIM)[0])) == 10
    assert [name for name, _, _ in after.ended] == ["upsert", "search"]
    assert of(db).searches.count == 1
    assert "an observer failed" in caplog.text


def test_slow_searches_in_the_log(db, caplog):
    notes = filled(db, precision="int8")
    stop = db.observe(SlowLog(3600))
    notes.search(vectors(1, DIM)[0])
    assert caplog.records == []
    stop()
    db.observe(SlowLog(0))
    notes.search(vectors(1, DIM)[0], rerank=lambda query, found: [0.0] * len(found))
    notes.upsert([1], vectors(1, DIM))
    search, write = caplog.records
    assert (search.name, search.levelname) == ("requant.search", "WARNING")
    assert "slow search of 'notes' by index 'main'" in search.getMessage()
    for part in ("first_pass", "rerank", "candidates"):
        assert part in search.getMessage()
    assert write.name == "requant.store"
    assert "slow upsert of 'notes'" in write.getMessage()


@pytest.mark.parametrize("seconds", [-1, "1", True, float("nan"), None])
def test_a_bad_threshold(seconds):
    with pytest.raises(InputError, match="seconds must be"):
        SlowLog(seconds)


def test_the_library_prints_nothing_of_itself(db, capfd):
    with pytest.warns(IndexWarning):
        warn("indexes", "said once")
    assert "said once" not in capfd.readouterr().err

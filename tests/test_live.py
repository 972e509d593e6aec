"""Indexes that their engine keeps: followed, shared, built anew, removed."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import IndexWarning, InputError, LocationTakenError, UnsupportedError
from requant.testing import FailingBackend, WrapperBackend
from tests import inside
from tests.databases import expected, held, vectors
from tests.qdrant_server import running
from tests.wrapped import wrapped

LIVE = ["lancedb", "qdrant"]
N = 300


@pytest.fixture(params=LIVE)
def engine(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.db"


def make(db, engine, **options):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(N), vectors(N))
    notes.add_index("main", engine=engine, precision="int8", **options)
    return notes


def places(db):
    """Return the names of the places that the store knows of, and of those on disk."""
    with db.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT name FROM requant_locations").scalars()
        noted = sorted(rows)
    found = [p.name for p in inside.folder_of(db).glob("*/*") if p.name != "turn.lock"]
    return noted, sorted(name.removesuffix(".lance") for name in found)


def answers_are_exact(notes, seed=1):
    for query in vectors(10, seed=seed):
        hits = notes.search(query, k=10, oversample=5)
        best = notes.search(query, k=10, exact=True)
        assert [hit.id for hit in hits] == [hit.id for hit in best]


def test_a_life(path, engine):
    with requant.open(path) as db:
        notes = make(db, engine)
        answers_are_exact(notes)
        notes.upsert(range(250, 400), vectors(150, seed=2))
        notes.delete(range(0, 50))
        answers_are_exact(notes)
        assert held(notes) == expected(notes)
        (info,) = notes.indexes
        assert (info.engine, info.items) == (engine, N)
        notes.flush()
        (info,) = notes.indexes
        assert info.items == 350
        assert info.current
        assert info.bytes > 350 * 8
        assert notes.verify(deep=True).ok
    with requant.open(path) as db:
        notes = db.collection("notes")
        answers_are_exact(notes)
        assert held(notes) == expected(notes)
        notes.drop_index("main")
        assert places(db) == ([], [])
        answers_are_exact(notes)


def test_a_rebuild_keeps_the_old_place_for_those_who_use_it(path, engine):
    with requant.open(path) as db:
        notes = make(db, engine)
        before, _ = places(db)
        notes.rebuild()
        both, found = places(db)
        assert set(before) < set(both)
        assert len(found) == len(both) == 2
        answers_are_exact(notes)
        notes.upsert(range(400, 420), vectors(20, seed=3))
        notes.flush()
        answers_are_exact(notes)
        noted, found = places(db)
        assert noted == found == sorted(set(both) - set(before))
    with requant.open(path) as db:
        answers_are_exact(db.collection("notes"))


def test_a_dropped_collection_takes_its_places_with_it(path, engine):
    with requant.open(path) as db:
        notes = make(db, engine)
        notes.add_index("second", engine=engine, precision="binary")
        answers_are_exact(notes)
        db.drop_collection("notes")
        assert places(db) == ([], [])


def test_growth_fits_the_quantizer_again(path, engine):
    with requant.open(path) as db:
        notes = make(db, engine)
        notes.upsert(range(N, 6 * N), vectors(5 * N, seed=4))
        answers_are_exact(notes)
        notes.flush()
        assert len(places(db)[0]) <= 2
        assert held(notes) == expected(notes)


def test_an_index_before_its_first_items(path, engine):
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.add_index("main", engine=engine)
        assert notes.search(np.ones(8)) == []
        notes.upsert(range(N), vectors(N))
        answers_are_exact(notes)


def test_what_was_removed_behind_our_back_is_made_again(path, engine):
    with requant.open(path) as db:
        make(db, engine)
        ((name,), _) = places(db)
        index = inside.folder_of(db) / "1"
    for place in index.glob(f"{name}*"):
        shutil.rmtree(place)
    with requant.open(path) as db:
        notes = db.collection("notes")
        with pytest.warns(IndexWarning, match="made again"):
            answers_are_exact(notes)
        answers_are_exact(notes)
        assert held(notes) == expected(notes)
        assert name not in places(db)[0]


def test_a_catch_up_that_fails_is_done_again(path, engine, monkeypatch):
    failing = wrapped(monkeypatch, engine, FailingBackend)
    with requant.open(path) as db:
        notes = make(db, engine)
        notes.upsert(range(100, 500), vectors(400, seed=5))
        notes.delete(range(20))
        lost = requant.EngineError("the connection was lost")
        failing.fail_at("upsert", error=lost, after=True)
        answers_are_exact(notes)
        assert failing.calls["open"] == 1
        assert held(notes) == expected(notes)


def test_a_build_that_fails_leaves_nothing(path, engine, monkeypatch):
    failing = wrapped(monkeypatch, engine, FailingBackend)
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N))
        failing.fail_at("upsert", error=requant.EngineError("the disk is full"))
        with pytest.raises(requant.EngineError, match="full"):
            notes.add_index("main", engine=engine)
        assert places(db) == ([], [])
        assert notes.indexes == []
        answers_are_exact(notes)


def test_native_is_one_parameter_away(path, engine):
    with requant.open(path) as db:
        notes = db.create_collection("notes", 64, metric="ip")
        rows = vectors(2000, dim=64)
        notes.upsert(range(2000), rows)
        notes.add_index("own", engine=engine, precision="native")
        found = 0
        for query in vectors(20, dim=64, seed=1):
            best = {hit.id for hit in notes.search(query, k=10, exact=True)}
            found += len(best & {hit.id for hit in notes.search(query, k=10, oversample=20)})
        assert found >= 190
        assert notes.verify().ok


# Several processes, or several databases in one: what LanceDB allows and Qdrant's folder does not.


def test_two_databases_share_an_index(path):
    with requant.open(path) as db, requant.open(path) as other:
        notes, theirs = make(db, "lancedb"), other.collection("notes")
        answers_are_exact(theirs)
        notes.upsert(range(100, 500), vectors(400, seed=6))
        answers_are_exact(theirs)
        answers_are_exact(notes)
        theirs.delete(range(30))
        answers_are_exact(notes)
        answers_are_exact(theirs)
        theirs.rebuild()
        answers_are_exact(notes)
        notes.upsert(range(600, 700), vectors(100, seed=7))
        answers_are_exact(theirs)
        assert held(theirs) == expected(theirs)
        assert held(notes) == expected(notes)


def test_a_search_waits_for_nobody_who_writes_to_the_index(path):
    with requant.open(path) as db, requant.open(path) as other:
        notes, theirs = make(db, "lancedb"), other.collection("notes")
        answers_are_exact(theirs)
        with inside.pinned(notes):
            theirs.upsert(range(290, 400), vectors(110, seed=8))
            theirs.delete(range(100))
            # The index does not know of that yet; what it lacks is read from the store.
            answers_are_exact(theirs)
            where = {"n": 1}
            theirs.upsert([399], vectors(1, seed=9), metadata=[where])
            assert [hit.id for hit in theirs.search(np.ones(8), where=where)] == [399]
            assert inside.loaded_of(theirs, "main").watermark.seq < 4
        answers_are_exact(theirs)
        assert held(theirs) == expected(theirs)


def test_a_search_during_a_transaction_of_somebody_else_waits_for_nobody(path):
    with requant.open(path) as db:
        notes = make(db, "lancedb")
        notes.upsert(range(400, 450), vectors(50, seed=9))
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        answers_are_exact(notes)
        writer.execute("ROLLBACK")
        writer.close()
        answers_are_exact(notes)
        assert held(notes) == expected(notes)


def test_a_snapshot_older_than_the_index_is_taken_again(path, monkeypatch):
    """Between the snapshot and the answer another process deletes the best, and catches up."""
    meanwhile = []

    class Interrupted(WrapperBackend):
        def search(self, *args, **options):
            if meanwhile:
                query = meanwhile.pop()
                theirs.delete([17])
                theirs.upsert([1000], [query])
                theirs.search(query)
            return super().search(*args, **options)

    wrapped(monkeypatch, "lancedb", Interrupted)
    with requant.open(path) as db, requant.open(path) as other:
        notes, theirs = make(db, "lancedb"), other.collection("notes")
        query = vectors(N)[17]
        assert notes.search(query, k=1)[0].id == 17
        meanwhile.append(query)
        assert notes.search(query, k=1, oversample=4)[0].id == 1000
        assert not meanwhile


def test_a_name_of_ones_own(path, tmp_path):
    url = str(tmp_path / "served")
    with requant.open(path) as db:
        notes = make(db, "lancedb", url=url, remote_name="notes")
        assert Path(url, "notes").is_dir()
        answers_are_exact(notes)
        with pytest.raises(LocationTakenError, match="notes"):
            notes.add_index("second", engine="lancedb", url=url, remote_name="notes")
        assert [info.name for info in notes.indexes] == ["main"]
        assert Path(url, "notes").is_dir()
        answers_are_exact(notes)
        notes.rebuild()
        notes.upsert([5000], vectors(1))
        notes.flush()
        assert not Path(url, "notes").exists()
        answers_are_exact(notes)
        notes.drop_index("main")
        assert not any(Path(url).iterdir())


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_not_ours_is_left_as_it_is(path, tmp_path, overwrite):
    import lancedb

    url = str(tmp_path / "served")
    table = lancedb.connect(f"{url}/notes").create_table("t", data=[{"text": "theirs"}])
    with requant.open(path) as db:
        with pytest.raises(LocationTakenError, match="notes"):
            make(db, "lancedb", url=url, remote_name="notes", overwrite=overwrite)
        assert table.to_arrow().to_pylist() == [{"text": "theirs"}]
        assert db.collection("notes").indexes == []


def test_an_index_of_ones_own_is_replaced_when_asked(path, tmp_path):
    url = str(tmp_path / "served")
    with requant.open(tmp_path / "other.db") as db:
        make(db, "lancedb", url=url, remote_name="notes")
    with requant.open(path) as db:
        with pytest.raises(LocationTakenError, match="notes"):
            make(db, "lancedb", url=url, remote_name="notes")
        notes = db.collection("notes")
        notes.add_index("main", engine="lancedb", url=url, remote_name="notes", overwrite=True)
        answers_are_exact(notes)


def test_a_place_that_cannot_be_removed_is_removed_later(path, tmp_path, monkeypatch):
    failing = wrapped(monkeypatch, "lancedb", FailingBackend)
    with requant.open(path) as db:
        notes = make(db, "lancedb", url=str(tmp_path / "served"))
        failing.fail_at("drop", error=requant.EngineError("the server is down"))
        with pytest.warns(IndexWarning, match="server is down.*tried again"):
            notes.drop_index("main")
        assert len(inside.orphans(db)) == 1
        assert any((tmp_path / "served").iterdir())
        notes.add_index("elsewhere", engine="faiss")
        notes.drop_index("elsewhere")
        assert len(inside.orphans(db)) == 1
        notes.add_index("other", engine="lancedb", url=str(tmp_path / "served"))
        notes.drop_index("other")
        assert inside.orphans(db) == []
        assert not any((tmp_path / "served").iterdir())


def test_secrets_are_never_stored(path, tmp_path):
    with requant.open(path, secrets={"lancedb": {"storage_options": {}}}) as db:
        notes = db.create_collection("notes", 8)
        with pytest.raises(InputError, match=r"requant\.open"):
            notes.add_index("main", engine="qdrant", params={"api_key": "hush"})
        assert notes.indexes == []
        notes.upsert(range(N), vectors(N))
        notes.add_index("main", engine="lancedb")
        answers_are_exact(notes)
    assert b"storage_options" not in path.read_bytes()
    with pytest.raises(InputError, match="dict of dicts"):
        requant.open(path, secrets={"qdrant": "hush"})


def test_what_has_no_server_takes_no_url(path):
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        with pytest.raises(UnsupportedError, match="url"):
            notes.add_index("main", engine="faiss", url="http://localhost:1")
        with pytest.raises(InputError, match="remote_name"):
            notes.add_index("main", engine="lancedb", remote_name="notes")


def test_a_database_of_schema_1_is_brought_up_to_date(path):
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N))
        with db.engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE requant_locations"))
            connection.execute(sa.text("UPDATE requant_meta SET value = '1' WHERE name = 'schema'"))
    with requant.open(path) as db:
        notes = db.collection("notes")
        notes.add_index("main", engine="lancedb")
        answers_are_exact(notes)


def test_two_databases_share_an_index_over_any_store(any_db):
    """In PostgreSQL, whose turn it is to write is told by an advisory lock."""
    url = any_db.engine.url.render_as_string(False)
    with requant.open(url, folder=inside.folder_of(any_db)) as other:
        notes, theirs = make(any_db, "lancedb"), other.collection("notes")
        answers_are_exact(theirs)
        with inside.pinned(notes):
            theirs.upsert(range(290, 400), vectors(110, seed=8))
            theirs.delete(range(100))
            answers_are_exact(theirs)
        answers_are_exact(notes)
        answers_are_exact(theirs)
        assert held(theirs) == expected(theirs)
        notes.rebuild()
        answers_are_exact(theirs)
        any_db.drop_collection("notes")
        assert inside.orphans(any_db) == []


# Found by reviewers


def test_an_index_that_cannot_be_added_removes_nothing_of_others(path, tmp_path):
    with running() as server, requant.open(tmp_path / "other.db") as db:
        theirs = make(db, "qdrant", url=server.url, remote_name="served")
        with requant.open(path) as ours:
            notes = ours.create_collection("notes", 8)
            notes.upsert(range(N), vectors(N))
            served = {"engine": "qdrant", "url": server.url, "remote_name": "served"}
            with pytest.raises(InputError, match="bogus"):
                notes.add_index("x", precision="native", params={"quantization": "bogus"}, **served)
            server.fail(503, 1)
            with pytest.raises(requant.EngineError):
                notes.add_index("x", params={"retries": 0}, **served)
            assert inside.orphans(ours) == []
        answers_are_exact(theirs)


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://user:hush@localhost:1"},
        {"url": "http://localhost:1/?api_key=hush"},
        {"url": "localhost:6333"},
        {"url": ""},
        {"url": 7},
        {"url": "ftp://hush/x"},
        {"url": "http://localhost:1", "remote_name": "../hush"},
        {"url": "http://localhost:1", "params": {"timeout": "hush"}},
    ],
    ids=str,
)
def test_an_address_that_cannot_be_is_refused_and_leaves_nothing(path, options):
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N))
        notes.add_index("good")
        with pytest.raises(InputError):
            notes.add_index("bad", engine="qdrant", **options)
        assert [info.name for info in notes.indexes] == ["good"]
        notes.drop_index("good")
        assert places(db) == ([], [])
    assert b"hush" not in path.read_bytes()


def test_searches_go_on_while_an_index_is_built(path, monkeypatch):
    """Of this index or of another one, and whatever is written meanwhile."""
    hold, entered = threading.Event(), threading.Event()

    class Held(WrapperBackend):
        def upsert(self, keys, codes):
            if threading.current_thread() is not threading.main_thread():
                entered.set()
                assert hold.wait(30)
            super().upsert(keys, codes)

    wrapped(monkeypatch, "usearch", Held)
    with requant.open(path) as db, requant.open(path) as other:
        notes, theirs = make(db, "usearch"), other.collection("notes")
        with ThreadPoolExecutor(1) as pool:
            for build in (
                lambda: notes.rebuild("main"),
                lambda: notes.add_index("second", engine="usearch"),
            ):
                entered.clear()
                building = pool.submit(build)
                assert entered.wait(30)
                theirs.upsert(range(280, 320), vectors(40, seed=11))
                theirs.delete(range(10))
                answers_are_exact(notes)
                assert not building.done()
                hold.set()
                building.result(30)
                hold.clear()
        answers_are_exact(notes)
        assert held(notes) == expected(notes)


def test_a_rebuilt_place_replaces_the_old_one_when_flushed(path, engine):
    with requant.open(path) as db:
        notes = make(db, engine)
        notes.rebuild()
        notes.flush()
        assert len(places(db)[0]) == len(places(db)[1]) == 1
        answers_are_exact(notes)

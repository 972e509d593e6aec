"""A server that is down, slow, restarted or not ours: a clear error, and nothing is lost."""

from __future__ import annotations

import os
import uuid

import pytest

import requant
from requant.errors import EngineError, IndexWarning, LocationTakenError
from tests import inside
from tests.databases import expected, held, vectors
from tests.qdrant_server import QdrantServer

N = 300
QUICK = {"timeout": 2, "retries": 1}


@pytest.fixture
def server():
    running = QdrantServer()
    yield running
    running.stop()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.db"


def fill(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(N), vectors(N))
    return notes


def add(notes, url, **options):
    params = QUICK | options.pop("params", {})
    notes.add_index("main", engine="qdrant", url=url, params=params, **options)


def is_right(notes):
    for query in vectors(5, notes.dim, seed=1):
        found = [hit.id for hit in notes.search(query, k=10, oversample=5)]
        assert found == [hit.id for hit in notes.search(query, k=10, exact=True)]
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok


def test_served(server, path):
    with requant.open(path) as db:
        notes = fill(db)
        add(notes, server.url)
        notes.upsert(range(250, 350), vectors(100, seed=2))
        notes.delete(range(20))
        is_right(notes)
        (collection,) = server.client.get_collections().collections
        assert collection.name.startswith("requant-notes-main-")
        assert server.client.count(collection.name).count == 330
    with requant.open(path) as db:
        notes = db.collection("notes")
        is_right(notes)
        notes.rebuild()
        notes.upsert([7], vectors(1, seed=3))
        notes.flush()
        assert len(server.client.get_collections().collections) == 1
        is_right(notes)
        db.drop_collection("notes")
    assert server.client.get_collections().collections == []


def test_two_databases_share_a_server(server, path):
    with requant.open(path) as db, requant.open(path) as other:
        notes, theirs = fill(db), other.collection("notes")
        add(notes, server.url)
        is_right(theirs)
        theirs.upsert(range(280, 400), vectors(120, seed=4))
        theirs.delete(range(40))
        is_right(notes)
        is_right(theirs)


def test_down_while_an_index_is_added(server, path):
    with requant.open(path) as db:
        notes = fill(db)
        server.stop()
        with (
            pytest.raises(EngineError, match=server.url),
            pytest.warns(IndexWarning, match="cannot be removed"),
        ):
            add(notes, server.url)
        assert notes.indexes == []
        assert len(notes.search(vectors(1)[0])) == 10
        server.start()
        add(notes, server.url)
        is_right(notes)
        # What might have been made on the server is removed with the next index.
        notes.drop_index("main")
        assert inside.orphans(db) == []


def test_down_while_it_is_searched(server, path):
    with requant.open(path) as db:
        notes = fill(db)
        add(notes, server.url)
        is_right(notes)
        server.stop()
        notes.upsert(range(200, 360), vectors(160, seed=5))
        notes.delete(range(10))
        for _ in range(2):
            with pytest.raises(EngineError, match=server.url):
                notes.search(vectors(1)[0])
        assert len(notes.search(vectors(1)[0], exact=True)) == 10
        server.start()
        is_right(notes)


def test_down_when_the_database_is_opened_and_closed(server, path):
    with requant.open(path) as db:
        notes = fill(db)
        add(notes, server.url)
        notes.upsert([1], vectors(1, seed=6))
        notes.search(vectors(1)[0])
        server.stop()
    with requant.open(path) as db:
        notes = db.collection("notes")
        with pytest.raises(EngineError, match=server.url):
            notes.search(vectors(1)[0])
        # An index that cannot be reached is no reason to build it again.
        assert len(inside.place_names(db, 1)) == 1
        server.start()
        is_right(notes)
        assert len(server.client.get_collections().collections) == 1


def test_restarted_in_the_middle_of_an_upload(server, path, monkeypatch):
    monkeypatch.setattr(inside.QDRANT_VALUES, 500 * 8)  # else a request holds some 65,000 points
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(3_000), vectors(3_000))
        writes = []

        def go_down():
            writes.append(1)
            if len(writes) == 2:
                server.cut(1)
                server.restart_after(0.3)

        server.on_write = go_down
        add(notes, server.url, params={"retries": 6})
        assert len(writes) > 2
        is_right(notes)


def test_gone_for_good_in_the_middle_of_a_catch_up(server, path, monkeypatch):
    monkeypatch.setattr(inside.QDRANT_VALUES, 500 * 8)
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(2_000), vectors(2_000))
        add(notes, server.url)
        notes.upsert(range(1_000, 4_000), vectors(3_000, seed=7))
        writes = []

        def go_down():
            writes.append(1)
            if len(writes) == 2:
                server.stop()

        server.on_write = go_down
        with pytest.raises(EngineError, match=server.url):
            notes.flush()  # a search would do a share of it
        server.on_write = None
        server.start()
        is_right(notes)


def test_too_slow(server, path):
    with requant.open(path) as db:
        notes = fill(db)
        add(notes, server.url, params={"timeout": 1, "retries": 0})
        server.delay = 1.5
        with pytest.raises(EngineError, match=server.url):
            notes.search(vectors(1)[0], oversample=4)  # else so few are searched exactly
        server.delay = 0.0
        is_right(notes)


def test_a_wrong_key(server, path, monkeypatch):
    monkeypatch.delenv("REQUANT_QDRANT_API_KEY", raising=False)
    server.key = "right"
    with requant.open(path, secrets={"qdrant": {"api_key": "wrong"}}) as db:
        notes = fill(db)
        with (
            pytest.raises(EngineError, match="key") as caught,
            pytest.warns(IndexWarning, match="cannot be removed"),
        ):
            add(notes, server.url)
        assert "'wrong'" not in str(caught.value)
        assert notes.indexes == []
    with requant.open(path, secrets={"qdrant": {"api_key": "right"}}) as db:
        notes = db.collection("notes")
        add(notes, server.url)
        is_right(notes)
    assert b"right" not in path.read_bytes()


def test_a_collection_that_is_not_ours(server, path):
    from qdrant_client import models

    server.client.create_collection(
        "notes", models.VectorParams(size=3, distance=models.Distance.DOT)
    )
    with requant.open(path) as db:
        notes = fill(db)
        with pytest.raises(LocationTakenError, match="notes"):
            add(notes, server.url, remote_name="notes")
        assert server.client.get_collection("notes").config.params.vectors.size == 3
        add(notes, server.url, remote_name="notes", overwrite=True)
        is_right(notes)


def test_removed_or_replaced_behind_our_back(server, path):
    from qdrant_client import models

    with requant.open(path) as db:
        notes = fill(db)
        add(notes, server.url, remote_name="notes")
    server.client.delete_collection("notes")
    server.client.create_collection(
        "notes", models.VectorParams(size=3, distance=models.Distance.DOT)
    )
    with requant.open(path) as db:
        notes = db.collection("notes")
        with pytest.warns(IndexWarning, match="made again"):
            assert len(notes.search(vectors(1)[0])) == 10
        is_right(notes)
        assert server.client.get_collection("notes").config.params.vectors.size == 3


@pytest.mark.skipif("REQUANT_QDRANT_URL" not in os.environ, reason="REQUANT_QDRANT_URL is not set")
def test_a_real_server(path):
    url = os.environ["REQUANT_QDRANT_URL"]
    with requant.open(path) as db:
        notes = fill(db)
        name = f"requant-test-{uuid.uuid4().hex}"
        add(notes, url, remote_name=name, params={"timeout": 30, "retries": 3})
        notes.upsert(range(250, 350), vectors(100, seed=2))
        notes.delete(range(20))
        is_right(notes)
        db.drop_collection("notes")

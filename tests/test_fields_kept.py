"""Indexed fields in copies, backups and forks; and what tells that one is missing."""

from __future__ import annotations

import os
import shutil
import warnings

import pytest

import requant
from requant.store.fields import matching
from tests.databases import vectors

N = 60


def ids(notes, **where):
    return [item.id for item in notes.iter(where=where)]


@pytest.fixture
def notes(any_db):
    notes = any_db.create_collection("notes", 8, index_fields=["n"])
    notes.upsert(range(N), vectors(N), metadata=[{"n": i % 5, "m": i} for i in range(N)])
    notes.index_field("at", kind="datetime")
    return notes


def still_good(notes):
    """Tell that the fields came along: they are asked, and go on."""
    assert [(field.name, field.kind, field.ready) for field in notes.fields] == [
        ("at", "datetime", True),
        ("n", None, True),
    ]
    assert ids(notes, n=3) == list(range(3, N, 5))
    notes.upsert([0], metadata=[{"n": 3, "at": "2024-05-01T00:00+01:00"}])
    assert ids(notes, n=3) == [0, *range(3, N, 5)]
    assert ids(notes, at="2024-04-30T23:00Z") == [0]
    notes.unindex_field("at")
    notes.index_field("m")
    assert ids(notes, m={"$lt": 3}) == [1, 2]


@pytest.mark.parametrize("back", ["sqlite", "postgresql"])
def test_a_backup_carries_them(notes, any_db, tmp_path, request, back):
    any_db.backup(tmp_path / "kept")
    folder = tmp_path / "other"
    if back == "sqlite":
        target = tmp_path / "back.db"
        requant.restore(tmp_path / "kept", target)
    else:
        target = request.getfixturevalue("postgres_url")
        any_db.close()
        requant.restore(tmp_path / "kept", target, overwrite=True, folder=folder)
    with requant.open(target, folder=folder) as db:
        still_good(db.collection("notes"))


def test_a_copy_of_the_file_has_them(tmp_path):
    with requant.open(tmp_path / "one.db") as db:
        notes = db.create_collection("notes", 8, index_fields=["n"])
        notes.upsert(range(N), metadata=[{"n": i % 5, "m": i} for i in range(N)])
        notes.index_field("at", kind="datetime")
    shutil.copy(tmp_path / "one.db", tmp_path / "two.db")
    with requant.open(tmp_path / "one.db") as one, requant.open(tmp_path / "two.db") as two:
        still_good(one.collection("notes"))
        still_good(two.collection("notes"))


def test_they_are_read_where_nothing_is_written(tmp_path):
    with requant.open(tmp_path / "x.db") as db:
        notes = db.create_collection("notes", 8, index_fields=["n"])
        notes.upsert(range(N), metadata=[{"n": i % 5} for i in range(N)])
    with requant.open(tmp_path / "x.db", read_only=True) as db:
        notes = db.collection("notes")
        assert ids(notes, n=3) == list(range(3, N, 5))
        with pytest.raises(requant.ReadOnlyError):
            notes.index_field("m")
        with pytest.raises(requant.ReadOnlyError):
            notes.unindex_field("n")


def test_a_child_keeps_them_in_step(tmp_path):
    with requant.open(tmp_path / "x.db") as db:
        notes = db.create_collection("notes", 8, index_fields=["n"])
        notes.upsert(range(N), metadata=[{"n": i % 5} for i in range(N)])
        assert len(ids(notes, n=3)) == N // 5
        child = os.fork()
        if not child:
            notes.upsert([0], metadata=[{"n": 3}])
            os._exit(0 if 0 in ids(notes, n=3) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert ids(notes, n=3) == [0, *range(3, N, 5)]


def test_what_is_remembered_of_a_filter_is_that_of_the_snapshot(notes):
    where = {"n": {"$in": [1, 2]}, "m": {"$lt": 50}}
    for _ in range(3):  # the second time it is remembered
        found = [hit.id for hit in notes.search(vectors(1)[0], N, where=where)]
        assert sorted(found) == [i for i in range(50) if i % 5 in (1, 2)]
    notes.update([1], metadata={"n": 4})
    found = [hit.id for hit in notes.search(vectors(1)[0], N, where=where)]
    assert sorted(found) == [i for i in range(2, 50) if i % 5 in (1, 2)]


def test_a_slow_filter_names_the_field_once(notes, monkeypatch):
    monkeypatch.setattr(matching, "SLOW_ITEMS", 1)
    monkeypatch.setattr(matching, "SLOW_SECONDS", 0)
    query = vectors(1)[0]
    with pytest.warns(requant.FilterWarning, match=r"index_field\('m'\)") as told:
        assert [notes.count({"m": value}) for value in range(3)] == [1, 1, 1]
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(notes.search(query, where={"n": 1})) == 10
        notes.index_field("m")
        assert notes.count({"m": 7}) == 1


def test_the_command_line_tells_which_are_indexed(tmp_path):
    from tests.cli import run

    with requant.open(tmp_path / "x.db") as db:
        db.create_collection("notes", 8, index_fields=["n"])
    assert "indexed fields: n" in run("stats", str(tmp_path / "x.db")).out
    (told,) = run("stats", str(tmp_path / "x.db"), "--json").json["collections"]
    assert told["fields"] == [{"name": "n", "kind": None, "ready": True}]

"""Which index searches use is always one that there is, whoever drops and switches meanwhile."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import UnknownIndexError
from tests import inside
from tests.databases import vectors

N = 200


def make(db, *names):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(N), vectors(N))
    for name in names:
        notes.add_index(name, engine="faiss")
    return notes


def active(db):
    with db.engine.connect() as connection:
        number = connection.execute(sa.text("SELECT active FROM requant_collections")).scalar()
        known = connection.execute(sa.text("SELECT id FROM requant_indexes")).scalars()
        return number, set(known)


def opened_again(db):
    return requant.open(db.engine.url.render_as_string(False), folder=inside.folder_of(db))


@pytest.mark.parametrize("switch", ["use", "migrate", "rollback"])
def test_a_switch_to_what_was_dropped_meanwhile_fails(any_db, switch, monkeypatch):
    notes = make(any_db, "a")
    notes.migrate("b", engine="faiss", precision="binary", switch=False)
    if switch == "rollback":
        notes.migrate("b", engine="faiss", precision="binary")
    gone = "a" if switch == "rollback" else "b"
    with opened_again(any_db) as other:
        theirs = other.collection("notes")
        inside.before_a_switch(monkeypatch, lambda: theirs.drop_index(gone))
        switches = {
            "use": lambda: notes.use_index("b"),
            "migrate": lambda: notes.migrate("b", engine="faiss", precision="binary"),
            "rollback": notes.rollback,
        }
        with pytest.raises(UnknownIndexError, match="dropped"):
            switches[switch]()
    number, known = active(any_db)
    assert number in known
    assert len(notes.search(np.ones(8), k=5)) == 5


def test_dropping_beside_switching(any_db):
    """Whoever comes first: what is in use is there, or nothing is in use."""
    with opened_again(any_db) as other:
        notes = make(any_db)
        theirs = other.collection("notes")
        for _ in range(8):
            notes.add_index("a", engine="faiss")
            notes.add_index("b", engine="faiss")
            start = threading.Barrier(2)

            def drop(start=start):
                start.wait()
                theirs.drop_index("b")

            thread = threading.Thread(target=drop)
            thread.start()
            start.wait()
            with contextlib.suppress(UnknownIndexError):
                notes.use_index("b")
            thread.join()
            number, known = active(any_db)
            assert number in known
            notes.drop_index("a")
            assert active(any_db) == (None, set())


def test_rollback_after_there_and_back_and_there(any_db):
    notes = make(any_db, "a")
    b = {"engine": "faiss", "precision": "binary"}
    notes.migrate("b", **b)
    notes.migrate("a", engine="faiss")
    notes.migrate("b", **b)
    assert notes.rollback() == "a"
    assert [index.name for index in notes.indexes if index.active] == ["a"]

"""A closed database says that it is closed, whatever is asked of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import requant
from requant.collection import Collection
from requant.database import Database
from requant.errors import StoreError
from tests.databases import vectors

VECTOR = np.ones(8)
DATABASE = {
    "create_collection": lambda db: db.create_collection("other", 8),
    "collection": lambda db: db.collection("notes"),
    "collections": lambda db: db.collections(),
    "drop_collection": lambda db: db.drop_collection("notes"),
    "engine": lambda db: db.engine,
    "keep_up": lambda db: db.keep_up(),
    "backup": lambda db: db.backup("closed.backup"),
    "is_at": lambda db: db.is_at(None),
}
COLLECTION = {
    "__len__": len,
    "upsert": lambda notes: notes.upsert(["a"], [VECTOR]),
    "add": lambda notes: notes.add(["a"], [VECTOR]),
    "upsert_texts": lambda notes: notes.upsert_texts(["a"], ["a"], lambda texts: [VECTOR]),
    "upsert_many": lambda notes: notes.upsert_many([{"id": "a", "vector": VECTOR}]),
    "upsert_table": lambda notes: notes.upsert_table(pa.table({"id": ["a"], "vector": [VECTOR]})),
    "export": lambda notes: notes.export("closed.parquet", format="parquet"),
    "update": lambda notes: notes.update([1], documents=["a"]),
    "clear": lambda notes: notes.clear(),
    "delete": lambda notes: notes.delete([1]),
    "get": lambda notes: notes.get([1]),
    "ids": lambda notes: notes.ids(),
    "count": lambda notes: notes.count(),
    "distinct": lambda notes: notes.distinct("n"),
    "extent": lambda notes: notes.extent("n"),
    "vectors": lambda notes: notes.vectors([1]),
    "iter": lambda notes: next(notes.iter()),
    "search": lambda notes: notes.search(VECTOR),
    "search_many": lambda notes: notes.search_many([VECTOR]),
    "search_text": lambda notes: notes.search_text("a", model=lambda texts: [VECTOR]),
    "search_documents": lambda notes: notes.search_documents("a"),
    "search_hybrid": lambda notes: notes.search_hybrid("a", VECTOR),
    "full_text": lambda notes: notes.full_text,
    "index_text": lambda notes: notes.index_text(),
    "unindex_text": lambda notes: notes.unindex_text(),
    "more_like": lambda notes: notes.more_like(1),
    "fields": lambda notes: notes.fields,
    "index_field": lambda notes: notes.index_field("n"),
    "unindex_field": lambda notes: notes.unindex_field("n"),
    "indexes": lambda notes: notes.indexes,
    "add_index": lambda notes: notes.add_index("new", engine="usearch"),
    "attach_index": lambda notes: notes.attach_index("new", location="file.faiss"),
    "migrate": lambda notes: notes.migrate("new", engine="usearch"),
    "plan_migration": lambda notes: notes.plan_migration("new", engine="usearch"),
    "rollback": lambda notes: notes.rollback(),
    "shadow": lambda notes: notes.shadow("main", 0.5),
    "migrations": lambda notes: notes.migrations,
    "calibrate": lambda notes: notes.calibrate(0.9),
    "use_index": lambda notes: notes.use_index("main"),
    "drop_index": lambda notes: notes.drop_index("main"),
    "rebuild": lambda notes: notes.rebuild(),
    "flush": lambda notes: notes.flush(),
    "stats": lambda notes: notes.stats(),
    "origins": lambda notes: notes.origins,
    "note_origin": lambda notes: notes.note_origin("a", "b", "c"),
    "verify": lambda notes: notes.verify(),
    "selected": lambda notes: notes.selected().__enter__(),
    "published": lambda notes: notes.published(),
}
# What tells of the object itself, and what ends it.
TOLD = {
    "name", "dim", "metric", "read_only", "closed", "close", "let_go", "follow", "deleting",
    "metrics", "observe",
}  # fmt: skip


@pytest.fixture
def notes(any_db):
    notes = any_db.create_collection("notes", 8)
    notes.upsert(range(20), vectors(20))
    notes.add_index("main", engine="usearch")
    return notes


def public(kind):
    return {name for name in vars(kind) if not name.startswith("_")}


def test_every_verb_is_here():
    assert public(Database) - TOLD == set(DATABASE)
    assert public(Collection) - TOLD == set(COLLECTION) - {"__len__"}


def test_a_closed_database(any_db, notes):
    any_db.close()
    for verb in DATABASE.values():
        with pytest.raises(StoreError, match="is closed: open it again"):
            verb(any_db)
    assert any_db.metrics().collections["notes"].rows_written == 20
    any_db.close()


@pytest.mark.parametrize("by", ["itself", "its database"])
def test_a_closed_collection(any_db, notes, by):
    assert not notes.closed
    (any_db if by == "its database" else notes).close()
    assert notes.closed
    for verb in COLLECTION.values():
        with pytest.raises(StoreError, match="collection 'notes' is closed"):
            verb(notes)
    notes.close()
    assert (notes.name, notes.dim, notes.metric) == ("notes", 8, "cosine")
    assert "notes" in repr(notes)


def test_a_collection_is_asked_for_again(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(20), vectors(20))
    notes.close()
    again = db.collection("notes")
    assert len(again) == 20
    assert db.collection("notes") is again


def test_what_was_under_way_is_refused_too(tmp_path):
    db = requant.open(tmp_path / "x")
    notes = db.create_collection("notes", 8)
    notes.upsert(range(20), vectors(20))
    items = notes.iter()
    next(items)
    db.close()
    with pytest.raises(StoreError, match="is closed"):
        notes.search(VECTOR)
    assert len(list(items)) == 19  # its snapshot had begun
    with requant.open(tmp_path / "x") as again:
        assert len(again.collection("notes")) == 20

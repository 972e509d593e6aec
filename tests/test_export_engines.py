"""FAISS and usearch files: the plain libraries open them and find the right neighbours."""

from __future__ import annotations

import gzip
import json
import uuid

import faiss
import numpy as np
import pytest
from usearch.index import Index

from requant.errors import ExistsError, InputError
from requant.integration.export import export
from requant.integration.export.errors import ExportError
from tests.databases import brute_force, metadata, vectors
from tests.inside import normalise
from tests.test_export_parquet import fill

BOTH = pytest.mark.parametrize("format", ["faiss", "usearch"])
METRICS = pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])


def items(path):
    """The lines beside an index."""
    with gzip.open(f"{path}.items.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def find(format, path, queries, k):
    """The labels that the plain library finds, `(q, k)`."""
    if format == "faiss":
        return faiss.read_index(str(path)).search(queries, k)[1]
    return np.stack([Index.restore(str(path)).search(q, k, exact=True).keys for q in queries])


def kept(format, path, label):
    """The vector under a label."""
    if format == "faiss":
        return faiss.read_index(str(path)).reconstruct(label)
    return Index.restore(str(path)).get(label)


@BOTH
@METRICS
def test_neighbours_under_their_own_ids(db, tmp_path, format, metric):
    notes = db.create_collection("notes", 8, metric)
    ids = [*range(5, 195), 0, 2**53 + 1, 2**63 - 1]
    stored = vectors(len(ids))
    notes.upsert(ids, stored)
    report = export(notes, tmp_path / "index", format=format, batch=50)
    assert (report.rows, report.left_out) == (193, 0)
    assert report.bytes == sum(path.stat().st_size for path in tmp_path.glob("index*"))
    # Nothing to tell beside it, but for the lengths that FAISS is not given.
    beside = ["index.items.jsonl.gz"] if (format, metric) == ("faiss", "cosine") else []
    assert sorted(path.name for path in tmp_path.glob("index*")) == ["index", *beside]
    queries = vectors(20, seed=1)
    found = find(format, tmp_path / "index", queries, 5)
    for query, row in zip(queries, found, strict=True):
        best, _ = brute_force(query, stored, metric, 5)
        assert row.tolist() == [ids[place] for place in best]
    lost = format == "faiss" and metric == "cosine"
    unit = normalise(stored) if lost else stored
    for place in (0, 190, 192):
        assert kept(format, tmp_path / "index", ids[place]).tobytes() == unit[place].tobytes()
    assert any("lengths other than 1 are in" in note for note in report.notes) == lost


@BOTH
def test_row_numbers_where_ids_are_no_labels(db, tmp_path, format):
    notes = fill(db.create_collection("notes", 8, "l2"))
    report = export(notes, tmp_path / "index", format=format, batch=6)
    stored = list(notes.iter())
    there = [item for item in stored if item.vector is not None]
    assert (report.rows, report.left_out) == (len(there), 2)
    lines = items(tmp_path / "index")
    assert [line["label"] for line in lines if line["label"] is not None] == [*range(len(there))]
    for line, item in zip(lines, stored, strict=True):
        name = uuid.UUID(line["id"]) if line.get("id_type") == "uuid" else line["id"]
        assert (name, type(name)) == (item.id, type(item.id))
        assert line["document"] == item.document
        assert json.dumps(line["metadata"]) == json.dumps(item.metadata)
        assert (line["label"] is None) == (item.vector is None)
    for label in (0, 5, len(there) - 1):
        vector = there[label].vector
        assert kept(format, tmp_path / "index", label).tobytes() == vector.tobytes()
        assert find(format, tmp_path / "index", vector[None], 1) == [[label]]
    assert "labels are row numbers" in report.notes[0]
    assert "2 items without a vector" in report.notes[2]


@BOTH
@pytest.mark.parametrize("odd", [-1, 2**63, "7", uuid.UUID(int=1)])
def test_one_odd_id_is_enough(db, tmp_path, format, odd):
    notes = db.create_collection("notes", 8, "l2")
    notes.upsert([3, odd], vectors(2))
    export(notes, tmp_path / "index", format=format)
    assert [(line["label"], line["id"]) for line in items(tmp_path / "index")] == [
        (0, 3),
        (1, str(odd) if isinstance(odd, uuid.UUID) else odd),
    ]


@BOTH
def test_own_ids_with_documents(db, tmp_path, format):
    notes = db.create_collection("notes", 8, "l2")
    notes.upsert([9, 4], vectors(2), ["x", None])
    export(notes, tmp_path / "index", format=format)
    assert [(line["label"], line["document"]) for line in items(tmp_path / "index")] == [
        (9, "x"),
        (4, None),
    ]


@BOTH
def test_a_filter_an_empty_collection_and_overwriting(db, tmp_path, format):
    notes = db.create_collection("notes", 8, "l2")
    path = tmp_path / "index"
    assert export(notes, path, format=format).rows == 0
    assert (
        faiss.read_index(str(path)).ntotal if format == "faiss" else len(Index.restore(path))
    ) == 0
    notes.upsert([f"n{i}" for i in range(30)], vectors(30), metadata=metadata(30))
    with pytest.raises(ExistsError, match="exists"):
        export(notes, path, format=format)
    export(notes, path, format=format, overwrite=True, where={"even": True})
    assert [line["id"] for line in items(path)] == [f"n{i}" for i in range(0, 30, 2)]
    path.unlink()
    with pytest.raises(ExistsError, match=r"items.jsonl.gz exists"):
        export(notes, path, format=format)
    notes.delete(where={"n": {"$gte": 0}})
    notes.upsert([1], vectors(1))
    export(notes, path, format=format, overwrite=True)
    assert not path.with_name("index.items.jsonl.gz").exists()
    path.unlink()
    path.mkdir()
    (path / "thesis.txt").write_text("mine")
    with pytest.raises(ExistsError, match="the folder"):
        export(notes, path, format=format, overwrite=True)


@METRICS
def test_a_graph_of_faiss(db, tmp_path, metric):
    notes = db.create_collection("notes", 8, metric)
    stored = vectors(500)
    notes.upsert(range(1000, 1500), stored)
    export(notes, tmp_path / "index", format="faiss", index_type="hnsw")
    index = faiss.read_index(str(tmp_path / "index"))
    assert isinstance(faiss.downcast_index(index), faiss.IndexIDMap2)
    assert isinstance(faiss.downcast_index(index.index), faiss.IndexHNSWFlat)
    queries = vectors(20, seed=1)
    found = index.search(normalise(queries) if metric == "cosine" else queries, 5)[1]
    truth = [{1000 + row for row in brute_force(q, stored, metric, 5)[0]} for q in queries]
    hits = sum(len(best & set(row.tolist())) for best, row in zip(truth, found, strict=True))
    assert hits >= 90


@BOTH
def test_what_an_engine_drops_is_noticed(db, tmp_path, format, monkeypatch):
    notes = db.create_collection("notes", 8, "l2")
    notes.upsert(range(20), vectors(20))
    if format == "usearch":
        monkeypatch.setattr(Index, "add", lambda *_: None)
    else:
        monkeypatch.setattr(faiss.IndexIDMap2, "add_with_ids", lambda *_: None)
    with pytest.raises(ExportError, match="holds 0 of 20 vectors"):
        export(notes, tmp_path / "index", format=format)
    assert list(tmp_path.glob("*index*")) == []


@BOTH
def test_a_file_of_another_kind_is_never_replaced(db, tmp_path, format):
    notes = db.create_collection("notes", 8, "l2")
    notes.upsert(range(20), vectors(20), ["text"] * 20)
    before = (tmp_path / "notes.requant").read_bytes()
    with pytest.raises(InputError, match=r"notes.requant itself, which is open here"):
        export(notes, tmp_path / "notes.requant", format=format, overwrite=True)
    assert (tmp_path / "notes.requant").read_bytes() == before
    (tmp_path / "index.items.jsonl.gz").write_bytes(b"mine")
    with pytest.raises(ExistsError, match=r"items.jsonl.gz is no export"):
        export(notes, tmp_path / "index", format=format, overwrite=True)
    (tmp_path / "index").write_bytes(b"")  # as mktemp makes one
    (tmp_path / "index.items.jsonl.gz").unlink()
    export(notes, tmp_path / "index", format=format, overwrite=True)
    other = {"faiss": "usearch", "usearch": "faiss"}[format]
    with pytest.raises(ExistsError, match=r"the file .*index is no export"):
        export(notes, tmp_path / "index", format=other, overwrite=True)

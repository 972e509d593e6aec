"""Indexes of other programs as a first pass: asked where they stand, never written to."""

from __future__ import annotations

import uuid

import faiss
import lancedb
import numpy as np
import pyarrow as pa
import pytest
import qdrant_edge
import usearch.index
from qdrant_client import models

import requant
from requant.errors import ExistsError, InputError, UnsupportedError
from tests.databases import files, vectors
from tests.qdrant_server import running

N, DIM = 500, 16
ROWS = vectors(N, DIM)
UNIT = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)


@pytest.fixture
def db(tmp_path):
    with requant.open(tmp_path / "x.db") as opened:
        yield opened


def fill(db, ids, metric="cosine"):
    notes = db.create_collection("notes", DIM, metric)
    notes.upsert(ids, ROWS)
    return notes


def is_right(notes, k=10):
    for query in vectors(10, DIM, seed=1):
        found = [hit.id for hit in notes.search(query, k, oversample=4)]
        assert found == [hit.id for hit in notes.search(query, k, exact=True)]


def faiss_file(path, index, ids=None):
    if ids is not None:
        index = faiss.IndexIDMap2(index)
        index.add_with_ids(UNIT, ids)
    else:
        index.add(UNIT)
    faiss.write_index(index, str(path))
    return str(path)


def test_faiss_by_its_own_ids(db, tmp_path):
    ids = np.arange(N) * 7 + 10**12
    (tmp_path / "theirs").mkdir()
    where = faiss_file(tmp_path / "theirs" / "x.index", faiss.IndexFlatIP(DIM), ids)
    before = files(tmp_path / "theirs")
    notes = fill(db, ids.tolist())
    assert notes.attach_index("main", engine="faiss", location=where) == 1.0
    (info,) = notes.indexes
    assert (info.engine, info.precision, info.items, info.active) == ("faiss", "attached", N, True)
    is_right(notes)
    assert files(tmp_path / "theirs") == before


def test_faiss_by_position(db, tmp_path):
    where = faiss_file(
        tmp_path / "x.index", faiss.IndexHNSWFlat(DIM, 16, faiss.METRIC_INNER_PRODUCT)
    )
    names = [f"note-{i}" for i in range(N)]
    notes = fill(db, names)
    assert notes.attach_index("main", engine="faiss", location=where, ids=names) > 0.95
    notes.flush()
    assert notes.verify(deep=True).ok
    hits = notes.search(UNIT[7], k=1)
    assert hits[0].id == "note-7"


def test_what_is_written_later_is_found_too(db, tmp_path):
    where = faiss_file(tmp_path / "x.index", faiss.IndexFlatIP(DIM))
    before = files(tmp_path)["x.index"]
    notes = fill(db, range(N))
    notes.attach_index("main", engine="faiss", location=where)
    notes.upsert(range(450, 600), vectors(150, DIM, seed=2))
    notes.delete(range(100))
    is_right(notes)
    hits = notes.search(vectors(150, DIM, seed=2)[3], k=1, where=None)
    assert hits[0].id == 453
    with pytest.raises(UnsupportedError, match="never written to"):
        notes.rebuild("main")
    notes.flush()
    assert notes.migrate("own", engine="faiss", precision="int8").ok
    is_right(notes)
    notes.drop_index("main")
    assert files(tmp_path)["x.index"] == before
    is_right(notes)


def test_it_is_there_after_opening_again(tmp_path):
    where = faiss_file(tmp_path / "x.index", faiss.IndexFlatIP(DIM))
    with requant.open(tmp_path / "x.db") as db:
        fill(db, range(N)).attach_index("main", engine="faiss", location=where)
    with requant.open(tmp_path / "x.db") as db:
        notes = db.collection("notes")
        is_right(notes)
        assert notes.indexes[0].active
        notes.upsert([1000], UNIT[3:4])
        assert {hit.id for hit in notes.search(UNIT[3], k=2)} == {3, 1000}


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_usearch(db, tmp_path, dtype):
    index = usearch.index.Index(ndim=DIM, metric="cos", dtype=dtype)
    index.add(np.arange(N), ROWS)
    index.save(str(tmp_path / "x.usearch"))
    notes = fill(db, range(N))
    location = tmp_path / "x.usearch"
    assert notes.attach_index("main", engine="usearch", location=location) > 0.95
    assert notes.search(ROWS[9], k=1)[0].id == 9


def test_qdrant_on_a_server(db):
    ids = [uuid.uuid5(uuid.NAMESPACE_DNS, str(i)) for i in range(N)]
    with running() as server:
        server.client.create_collection(
            "theirs", models.VectorParams(size=DIM, distance=models.Distance.COSINE)
        )
        points = models.Batch(ids=[str(one) for one in ids], vectors=ROWS.tolist())
        server.client.upsert("theirs", points)
        notes = fill(db, ids)
        location = f"{server.url}/theirs"
        assert notes.attach_index("main", engine="qdrant", location=location) == 1.0
        is_right(notes)
        assert notes.search(ROWS[4], k=1)[0].id == ids[4]


def test_qdrant_in_a_folder(db, tmp_path):
    config = qdrant_edge.EdgeConfig(
        vectors=qdrant_edge.EdgeVectorParams(size=DIM, distance=qdrant_edge.Distance.Cosine)
    )
    (tmp_path / "shard").mkdir()
    shard = qdrant_edge.EdgeShard.create(str(tmp_path / "shard"), config)
    points = [qdrant_edge.Point(i, row) for i, row in enumerate(ROWS.tolist())]
    shard.update(qdrant_edge.UpdateOperation.upsert_points(points))
    shard.flush()
    shard.close()
    notes = fill(db, range(N))
    location = tmp_path / "shard"
    assert notes.attach_index("main", engine="qdrant", location=location) == 1.0
    is_right(notes)


def test_lancedb(db, tmp_path):
    names = [f"note-{i}" for i in range(N)]
    values = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), DIM)
    rows = pa.table({"id": names, "text": names, "vector": values})
    lancedb.connect(tmp_path / "theirs").create_table("t", rows)
    notes = fill(db, names, "l2")
    location = tmp_path / "theirs" / "t.lance"
    assert notes.attach_index("main", engine="lancedb", location=location) == 1.0
    is_right(notes)


def test_what_does_not_fit_is_refused_and_leaves_nothing(db, tmp_path):
    notes = fill(db, range(N))
    other = faiss.IndexFlatIP(DIM)
    other.add(vectors(N, DIM, seed=9))
    faiss.write_index(other, str(tmp_path / "other"))
    narrow = faiss.IndexFlatIP(8)
    faiss.write_index(narrow, str(tmp_path / "narrow"))
    few = faiss.IndexFlatIP(DIM)
    few.add(UNIT[:100])
    faiss.write_index(few, str(tmp_path / "few"))
    for name, text in (("other", "it holds others"), ("narrow", "8 dimensions"), ("few", "100")):
        with pytest.raises(InputError, match=text):
            notes.attach_index("main", engine="faiss", location=tmp_path / name)
        assert notes.indexes == []
    with pytest.raises(requant.CorruptIndexError):
        notes.attach_index("main", engine="faiss", location=tmp_path / "nothing")
    where = faiss_file(tmp_path / "x.index", faiss.IndexFlatIP(DIM))
    notes.attach_index("main", engine="faiss", location=where)
    with pytest.raises(ExistsError):
        notes.attach_index("main", engine="faiss", location=where)
    db.drop_collection("notes")
    assert (tmp_path / "x.index").exists()
    flat = db.create_collection("products", DIM, "l2")
    flat.upsert(range(N), ROWS)
    with pytest.raises(InputError, match="compares by ip"):
        flat.attach_index("main", engine="faiss", location=where)


# Found by reviewers


def test_two_of_its_ids_for_one_item_are_one_result(db, tmp_path):
    names = [f"note-{i}" for i in range(N)]
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.tile(ROWS.ravel(), 2)), DIM)
    rows = pa.table({"id": names * 2, "vector": values})
    lancedb.connect(tmp_path / "theirs").create_table("t", rows)
    notes = fill(db, names, "l2")
    notes.attach_index("main", engine="lancedb", location=tmp_path / "theirs" / "t.lance")
    is_right(notes)


def test_other_ids_are_noticed(db, tmp_path):
    where = faiss_file(tmp_path / "x.index", faiss.IndexFlatIP(DIM))
    notes = fill(db, [f"note-{i}" for i in range(N)])
    for ids in (None, ["x"] * N, [], [f"note-{N - 1 - i}" for i in range(N)]):
        with pytest.raises(InputError, match="themselves"):
            notes.attach_index("main", engine="faiss", location=where, ids=ids)
    for ids in ("abc", 7):
        with pytest.raises(InputError, match="ids must be"):
            notes.attach_index("main", engine="faiss", location=where, ids=ids)
    assert notes.indexes == []


def test_what_was_replaced_behind_our_back_is_noticed(tmp_path):
    where = faiss_file(tmp_path / "x.index", faiss.IndexFlatIP(DIM))
    with requant.open(tmp_path / "x.db") as db:
        fill(db, range(N)).attach_index("main", engine="faiss", location=where)
    other = faiss.IndexFlatIP(DIM)
    other.add(np.ascontiguousarray(UNIT[::-1]))
    faiss.write_index(other, where)
    with (
        requant.open(tmp_path / "x.db") as db,
        pytest.raises(requant.CorruptIndexError, match="attach it again"),
    ):
        db.collection("notes").search(UNIT[0])


def test_what_lost_half_of_its_items_is_refused(tmp_path):
    where = faiss_file(tmp_path / "x.index", faiss.IndexFlatIP(DIM), np.arange(N))
    with requant.open(tmp_path / "x.db") as db:
        fill(db, range(N)).attach_index("main", engine="faiss", location=where)
    half = faiss.IndexIDMap2(faiss.IndexFlatIP(DIM))
    half.add_with_ids(UNIT[::2], np.arange(0, N, 2))
    faiss.write_index(half, where)
    with requant.open(tmp_path / "x.db") as db:
        notes = db.collection("notes")
        with pytest.raises(requant.CorruptIndexError, match="holds 250 vectors"):
            notes.search(UNIT[1])
        assert not notes.verify().ok


def test_a_table_with_a_few_rows_less_is_refused(tmp_path):
    base = lancedb.connect(tmp_path / "lance")
    rows = pa.table(
        {
            "id": [str(i) for i in range(N)],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(UNIT.reshape(-1)), DIM),
        }
    )
    table = base.create_table("t", rows)
    with requant.open(tmp_path / "x.db") as db:
        notes = fill(db, range(N))
        notes.attach_index("main", engine="lancedb", location=str(tmp_path / "lance" / "t"))
    table.delete("id in ('3', '7')")
    with (
        requant.open(tmp_path / "x.db") as db,
        pytest.raises(requant.CorruptIndexError, match="holds 498 vectors"),
    ):
        db.collection("notes").search(UNIT[3])


def test_what_was_changed_and_is_as_good_is_told_and_used(tmp_path):
    where = faiss_file(tmp_path / "x.index", faiss.IndexFlatIP(DIM), np.arange(N))
    with requant.open(tmp_path / "x.db") as db:
        notes = fill(db, range(N))
        notes.attach_index("main", engine="faiss", location=where)
        assert notes.verify().ok
    more = faiss.IndexIDMap2(faiss.IndexFlatIP(DIM))
    more.add_with_ids(np.concatenate([UNIT, -UNIT[:10]]), np.arange(N + 10))
    faiss.write_index(more, where)
    with requant.open(tmp_path / "x.db") as db:
        notes = db.collection("notes")
        with pytest.warns(requant.IndexWarning, match="finds 100% of 200 stored ones"):
            notes.search(UNIT[0])
        is_right(notes)
        (problem,) = notes.verify().problems
        assert "was changed since it was attached" in problem


def test_keys_are_not_stored(db, tmp_path):
    notes = fill(db, range(N))
    with pytest.raises(InputError, match=r"requant\.open"):
        notes.attach_index(
            "main", engine="qdrant", location="http://localhost:1/x", params={"api_key": "hush"}
        )
    assert b"hush" not in (tmp_path / "x.db").read_bytes()

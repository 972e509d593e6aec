"""LanceDB: tables that plain lancedb opens, with metadata as structs or as text."""

from __future__ import annotations

import json
import uuid

import lancedb
import numpy as np
import pytest

from requant.errors import ExistsError
from requant.integration.export import ExportError, export
from requant.integration.export.structs import struct_of
from tests.databases import brute_force, metadata, vectors
from tests.object_storage import BUCKET, running_object_storage
from tests.test_export_parquet import fill

DISTANCES = {"cosine": "cosine", "ip": "dot", "l2": "l2"}


@pytest.fixture(scope="module")
def storage():
    with running_object_storage() as running:
        yield running


@pytest.fixture(params=["folder", "s3"])
def target(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return str(tmp_path / "base")
    options = request.getfixturevalue("storage").options
    for name in ("aws_access_key_id", "aws_secret_access_key", "aws_region"):
        monkeypatch.setenv(name.upper(), options[name])
    monkeypatch.setenv("AWS_ENDPOINT", options["endpoint"])
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


def table(target, name="notes"):
    return lancedb.connect(target).open_table(name)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_neighbours_ids_texts_and_structs(db, target, metric):
    notes = db.create_collection("notes", 8, metric)
    stored, ids = vectors(60), [*range(58), "text", uuid.UUID(int=9)]
    entries = [entry | {"tags": ["a"] * (entry["n"] % 3)} for entry in metadata(60)]
    notes.upsert(ids, stored, [None, *("text" * 59)][:60], entries)
    report = export(notes, target, format="lancedb", batch=17)
    assert (report.rows, report.without_vector) == (60, 0)
    found = table(target)
    assert found.schema.names == ["id", "text", "metadata", "vector", "id_type"]
    rows = found.to_arrow().to_pylist()
    assert [row["id"] for row in rows] == [str(name) for name in ids]
    assert [row["metadata"] for row in rows] == entries
    assert [row["text"] for row in rows] == [item.document for item in notes.iter()]
    assert np.array([row["vector"] for row in rows], np.float32).tobytes() == stored.tobytes()
    for query in vectors(5, seed=1):
        search = found.search(query).distance_type(DISTANCES[metric]).limit(5)
        best, _ = brute_force(query, stored, metric, 5)
        assert [row["id"] for row in search.to_list()] == [str(ids[row]) for row in best]
    assert found.count_rows("metadata.even = true") == 30
    assert any("distance_type" in note for note in report.notes) == (metric != "l2")
    assert "ids are text; what they were is in the column id_type" in report.notes


def test_what_is_not_uniform_is_text_and_nulls_stay_null(db, target):
    notes = fill(db.create_collection("notes", 8, "l2"))
    report = export(notes, target, format="lancedb", batch=7)
    assert (report.rows, report.without_vector) == (len(notes), 2)
    rows = table(target).to_arrow().to_pylist()
    for row, item in zip(rows, notes.iter(), strict=True):
        assert row["id"] == str(item.id)
        assert row["text"] == item.document
        text = row["metadata"]
        assert json.dumps(text and json.loads(text)) == json.dumps(item.metadata)
        given = None if row["vector"] is None else np.array(row["vector"], np.float32).tobytes()
        assert given == (None if item.vector is None else item.vector.tobytes())
    assert any("metadata is JSON text" in note for note in report.notes)
    assert "2 rows without a vector: null" in report.notes


def test_empty_filtered_refused_and_overwritten(db, target):
    notes = db.create_collection("notes", 8, "l2")
    assert export(notes, target, format="lancedb").rows == 0
    assert table(target).count_rows() == 0
    notes.upsert(range(30), vectors(30), metadata=metadata(30))
    with pytest.raises(ExistsError, match="exists"):
        export(notes, target, format="lancedb")
    export(notes, target, format="lancedb", overwrite=True, where={"even": True})
    ids = [row["id"] for row in table(target).to_arrow().to_pylist()]
    assert ids == [str(n) for n in range(0, 30, 2)]
    table(target).add(table(target).to_arrow())  # by its owner, which does not make it theirs
    export(notes, target, format="lancedb", overwrite=True)
    assert table(target).count_rows() == 30


def test_a_table_of_somebody_else_is_left_alone(db, target):
    lancedb.connect(target).create_table("notes", [{"vector": [1.0, 2.0]}])
    lancedb.connect(target).create_table("other", [{"vector": [1.0, 2.0]}])
    notes = db.create_collection("notes", 8, "l2")
    with pytest.raises(ExistsError, match="is no export"):
        export(notes, target, format="lancedb", overwrite=True)
    assert table(target).count_rows() == 1
    mine = db.create_collection("mine", 8, "l2")
    export(mine, target, format="lancedb")
    assert table(target, "other").count_rows() == 1


class StoppedError(BaseException):
    """Neither an error nor an exit."""


@pytest.mark.parametrize("kind", [StoppedError, KeyboardInterrupt, ValueError])
def test_stopped_midway_leaves_what_there_was(db, target, kind):
    notes = db.create_collection("notes", 8, "l2")
    notes.upsert(range(300), vectors(300))

    def stop(done, _total):
        if done >= 200:
            raise kind("stop")

    with pytest.raises(kind, match="stop"):
        export(notes, target, format="lancedb", batch=20, progress=stop)
    with pytest.raises(Exception, match="not found"):
        table(target)
    notes.delete(range(290))
    export(notes, target, format="lancedb")
    notes.upsert(range(300), vectors(300))
    with pytest.raises(kind, match="stop"):
        export(notes, target, format="lancedb", batch=20, progress=stop, overwrite=True)
    assert table(target).count_rows() == 10


def test_a_place_that_is_none(db, tmp_path):
    notes = db.create_collection("notes", 8, "l2")
    with pytest.raises(ExportError, match="cannot be opened"):
        export(notes, "nowhere://bucket/x", format="lancedb")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExistsError, match="a LanceDB database is a folder"):
        export(notes, tmp_path / "file", format="lancedb", overwrite=True)


@pytest.mark.parametrize(
    "page",
    [
        [{"a": 1}, {"a": 1.5}],
        [{"a": 1}, {"a": True}],
        [{"a": 1}, {"b": 1}],
        [{"a": 1, "b": 1}, {"b": 1, "a": 1}],
        [{"a": 1}, {}],
        [{"a": 1}, None],
        [{}],
        [{"a": 2**63}],
        [{"a.b": 1}],
        [{"a": 1, "A": 2}],
        [{"a": [1, "x"]}],
        [{"a": {"b": 1}}, {"a": None}],
        [None],
        [],
    ],
)
def test_what_is_no_struct(page):
    assert struct_of([page]) is None


def test_what_is_a_struct():
    pages = [[{"a": None, "b": {"c": []}}], [{"a": [2**63 - 1], "b": {"c": [{"d": 1.5}]}}]]
    assert str(struct_of(pages)) == (
        "struct<a: list<item: int64>, b: struct<c: list<item: struct<d: double>>>>"
    )
    assert str(struct_of([[{"a": None, "b": []}]])) == "struct<a: string, b: list<item: string>>"

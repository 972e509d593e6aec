"""Qdrant: a folder that qdrant-edge opens, a collection that a client searches."""

from __future__ import annotations

import json
import uuid
from collections import namedtuple

import numpy as np
import pytest
import qdrant_edge as edge
from qdrant_client import QdrantClient
from qdrant_client.http import models

from requant.adapters.qdrant import folder
from requant.errors import EngineError, ExistsError
from requant.integration.export import ExportError, export
from requant.integration.export.payloads import Payloads, point_id
from tests.databases import brute_force, metadata, vectors
from tests.qdrant_server import QdrantServer
from tests.test_export_parquet import fill

Point = namedtuple("Point", "vector payload")
METRICS = pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
BOTH = pytest.mark.parametrize("place", ["folder", "server"])


class PointServer(QdrantServer):
    """One that also takes points one by one, as the export sends them."""

    def _carry_out(self, method, parts, body):
        if method == "PUT" and parts[2:] == ["points"]:
            points = [models.PointStruct.model_validate(point) for point in body["points"]]
            self.client.upsert(parts[1], points)
            return 200, {"operation_id": 0, "status": "completed"}
        if parts[2:] == ["points", "scroll"]:
            points, _ = self.client.scroll(
                parts[1], limit=10_000, with_payload=True, with_vectors=True
            )
            return 200, {"points": [point.model_dump(mode="json") for point in points]}
        return super()._carry_out(method, parts, body)


@pytest.fixture
def server():
    running = PointServer()
    yield running
    running.stop()


@pytest.fixture
def target(place, tmp_path, server):
    return str(tmp_path / "shard") if place == "folder" else f"{server.url}/notes"


def opened(target):
    """Everything in a target, by id, and a search: as the plain libraries have them."""
    if "://" in target:
        url, _, name = target.rpartition("/")
        client = QdrantClient(url=url, check_compatibility=False)
        points, _ = client.scroll(name, limit=10_000, with_payload=True, with_vectors=True)

        def search(query, k):
            (answer,) = client.query_batch_points(
                name, [models.QueryRequest(query=query.tolist(), limit=k)]
            )
            return [point.id for point in answer.points]
    else:
        shard = edge.EdgeShard.load(target)
        request = edge.ScrollRequest(limit=10_000, with_payload=True, with_vector=True)
        points, _ = shard.scroll(request)

        def search(query, k):
            nearest = edge.Query.Nearest(query)
            found = shard.query(edge.QueryRequest(limit=k, query=nearest))
            return [_name(point.id) for point in found]

    return {_name(point.id): Point(point.vector, point.payload) for point in points}, search


def _name(found):
    return str(found) if isinstance(found, uuid.UUID) else found


@BOTH
@METRICS
def test_neighbours_under_their_own_ids(db, target, metric):
    notes = db.create_collection("notes", 8, metric)
    ids = [*range(5, 100), 0, 2**53 + 1, uuid.UUID(int=9)]
    ids += [] if "://" in target else [2**63, 2**64 - 1]  # JSON clients of today send them as well
    stored = vectors(len(ids))
    notes.upsert(ids, stored, metadata=metadata(len(ids)))
    report = export(notes, target, format="qdrant", batch=20)
    assert (report.rows, report.without_vector, report.left_out) == (len(ids), 0, 0)
    points, search = opened(target)
    names = [str(name) if isinstance(name, uuid.UUID) else name for name in ids]
    assert points.keys() == set(names)
    for query in vectors(10, seed=1):
        best, _ = brute_force(query, stored, metric, 5)
        assert search(query, 5) == [names[row] for row in best]
    for name, row, entry in zip(names, stored, metadata(len(ids)), strict=True):
        vector, payload = points[name]
        assert {key: payload[key] for key in entry} == entry
        if metric == "cosine":
            norm = payload["requant_norm"]
            np.testing.assert_allclose(np.array(vector) * norm, row, rtol=1e-6, atol=1e-7)
        else:
            assert np.array(vector, np.float32).tobytes() == row.tobytes()
    told = "the length of" in " ".join(report.notes)
    assert told == (metric == "cosine")


@BOTH
def test_what_is_hard_to_carry_is_carried_or_noted(db, target):
    notes = fill(db.create_collection("notes", 8, "l2"))
    report = export(notes, target, format="qdrant", batch=7)
    points, _ = opened(target)
    assert len(points) == len(notes) == report.rows
    for item in notes.iter():
        vector, payload = points[point_id(item.id)]
        assert payload.get("document") == item.document
        native = item.id == 7 or isinstance(item.id, uuid.UUID)
        assert native or str(payload["id"]) == str(item.id)
        assert (item.vector is None) == (not vector)
        metadata = {k: v for k, v in payload.items() if k not in ("document", "id")}
        if "requant_metadata" in payload:
            metadata = json.loads(payload["requant_metadata"])
        assert metadata == (item.metadata or {})
        assert (item.metadata == {}) == (payload.get("requant_metadata") == "{}")
    notes_told = " ".join(report.notes)
    assert "uuid5(NAMESPACE_OID, id)" in notes_told
    assert "the metadata of 3 items cannot be a payload as it is" in notes_told
    assert "2 points without a vector" in notes_told


@BOTH
def test_unit_vectors_need_no_norm_and_an_empty_collection(db, target):
    notes = db.create_collection("notes", 2)
    assert export(notes, target, format="qdrant").rows == 0
    notes.upsert([1, 2], [[1, 0], [0.6, 0.8]])
    report = export(notes, target, format="qdrant", overwrite=True, where={})
    assert (report.rows, report.notes) == (2, [])
    points, search = opened(target)
    assert points[1].payload in (None, {})
    assert search(np.array([1, 0.1], np.float32), 1) == [1]


@BOTH
def test_refused_and_overwritten(db, target):
    notes = db.create_collection("notes", 8, "l2")
    notes.upsert(range(30), vectors(30), metadata=metadata(30))
    export(notes, target, format="qdrant")
    with pytest.raises(ExistsError, match="exists"):
        export(notes, target, format="qdrant")
    export(notes, target, format="qdrant", overwrite=True, where={"even": True})
    assert opened(target)[0].keys() == set(range(0, 30, 2))


def test_a_folder_that_is_not_ours_is_left_alone(db, tmp_path):
    notes = db.create_collection("notes", 8, "l2")
    folder = tmp_path / "theirs"
    folder.mkdir()
    config = edge.EdgeConfig(vectors=edge.EdgeVectorParams(size=8, distance=edge.Distance.Dot))
    edge.EdgeShard.create(str(folder), config).close()
    with pytest.raises(ExistsError, match="is no export of this format"):
        export(notes, folder, format="qdrant", overwrite=True)
    assert (folder / "edge_config.json").exists()


def test_a_server_that_fails_keeps_nothing_half(db, server):
    notes = db.create_collection("notes", 8, "l2")
    notes.upsert(range(30), vectors(30))

    def stop(done, _total):
        if done >= 20:
            server.fail(500, 1)

    with pytest.raises(EngineError, match="500"):
        export(notes, f"{server.url}/notes", format="qdrant", batch=10, progress=stop)
    assert not server.client.collection_exists("notes")
    server.fail(503, 2)  # which passes
    target = f"{server.url}/collections/notes"  # as the server itself names it
    assert export(notes, target, format="qdrant").target == f"{server.url}/notes"
    assert server.client.count("notes").count == 30


def test_the_key_comes_from_the_environment(db, server, monkeypatch):
    notes = db.create_collection("notes", 8, "l2")
    server.key = "open sesame"
    with pytest.raises(EngineError, match="the API key is missing"):
        export(notes, f"{server.url}/notes", format="qdrant")
    monkeypatch.setenv("QDRANT_API_KEY", "open sesame")
    export(notes, f"{server.url}/notes", format="qdrant")


def test_no_room_on_the_disk(db, tmp_path, monkeypatch):
    notes = db.create_collection("notes", 8, "l2")
    notes.upsert(range(30), vectors(30))
    monkeypatch.setattr(folder, "has_room", lambda _path, needed: needed == 0)
    with pytest.raises(EngineError, match="nearly full"):
        export(notes, tmp_path / "shard", format="qdrant")
    assert list(tmp_path.glob("*shard*")) == []


def test_what_qdrant_refuses(db, tmp_path, monkeypatch):
    notes = db.create_collection("notes", 8, "l2")
    notes.upsert([1], vectors(1))
    # A vector of another width is what it refuses most surely.
    monkeypatch.setattr(Payloads, "points", lambda *_: [(1, np.ones(3, np.float32), {})])
    with pytest.raises(ExportError, match=r"qdrant cannot write the export: .*dimension"):
        export(notes, tmp_path / "shard", format="qdrant")
    assert list(tmp_path.glob("*shard*")) == []

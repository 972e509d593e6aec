"""Collections of Qdrant that other programs keep, asked as they are."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge as edge
from qdrant_client import QdrantClient, models

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.protocol import Attached, IndexSpec
from requant.adapters.qdrant import QdrantBackend
from requant.quantizers.codes import CodeSpec
from requant.quantizers.errors import DimensionError, InputError
from requant.testing import AttachConformance
from requant.testing.attaching.bench import contents
from tests.qdrant_server import running

N, D, K = 300, 16, 7
RNG = np.random.default_rng(7)
VECTORS = RNG.normal(size=(N, D)).astype(np.float32)
QUERIES = RNG.normal(size=(9, D)).astype(np.float32)
NAMES = {"whole": ("Cosine", D), "half": ("Euclid", D // 2), "far": ("Manhattan", D)}
WIDTHS = {"whole": D, "half": D // 2}


def mixed(n: int) -> list[Any]:
    """Ids as Qdrant takes them: whole numbers and UUIDs, beside each other."""
    return [i * 3 if i % 2 else str(uuid.UUID(int=i << 64)) for i in range(n)]


IDS = mixed(N)


class TestAttachedShard(AttachConformance):
    backend = QdrantBackend
    bad_params = ({"hnsw_ef": -1}, {"exact": 1}, {"rescore": "yes"})

    @pytest.fixture(autouse=True)
    def _copies(self, tmp_path_factory, monkeypatch):
        place = tmp_path_factory.mktemp("scratch")
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        yield
        assert not list(place.iterdir())

    def make(self, name, vectors, ids, metric):
        distance = {"cosine": "Cosine", "ip": "Dot", "l2": "Euclid"}[metric]
        params = edge.EdgeVectorParams(
            size=vectors.shape[1], distance=getattr(edge.Distance, distance)
        )
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        config = edge.EdgeConfig(vectors=params, wal_enabled=False)
        shard = edge.EdgeShard.create(str(path), config)
        if len(ids):
            points = [edge.Point(*point) for point in zip(ids, vectors.tolist(), strict=True)]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.flush()
        shard.close()
        return str(path)

    def ids(self, n):
        return mixed(n)


@pytest.fixture(scope="module")
def http_server():
    with running() as server:
        yield server


class TestAttachedOnAServer(AttachConformance):
    backend = QdrantBackend
    bad_params = ({"hnsw_ef": -1}, {"exact": 1}, {"rescore": "yes"}, {"timeout": 0})

    @pytest.fixture(autouse=True)
    def _collections(self, http_server):
        self._server, self._run = http_server, uuid.uuid4().hex[:12]

    def make(self, name, vectors, ids, metric):
        distance = {"cosine": "COSINE", "ip": "DOT", "l2": "EUCLID"}[metric]
        config = models.VectorParams(size=vectors.shape[1], distance=models.Distance[distance])
        name, client = f"{name}-{self._run}", self._server.client
        client.delete_collection(name)
        client.create_collection(name, config)
        if len(ids):
            client.upsert(name, models.Batch(ids=ids, vectors=vectors.tolist()))
        return f"{self._server.url}/{name}"

    def params(self, metric):
        return {"retries": 0}

    def ids(self, n):
        return mixed(n)

    def remove(self, location):
        self._server.client.delete_collection(location.rpartition("/")[2])


def vectors_of(row: int) -> dict[str, list[float]]:
    held = {"whole": VECTORS[row], "far": VECTORS[row]}
    if row < 100:  # points need not have every vector
        held["half"] = VECTORS[row, : D // 2]
    return {name: vector.tolist() for name, vector in held.items()}


def shard_in(path: Path, **options: Any) -> Any:
    """An open shard of named vectors."""
    path.mkdir()
    config = edge.EdgeConfig(
        vectors={
            name: edge.EdgeVectorParams(size=size, distance=getattr(edge.Distance, distance))
            for name, (distance, size) in NAMES.items()
        },
        sparse_vectors={"words": edge.EdgeSparseVectorParams()},
        **options,
    )
    shard = edge.EdgeShard.create(str(path), config)
    points = [edge.Point(IDS[row], vectors_of(row)) for row in range(N)]
    shard.update(edge.UpdateOperation.upsert_points(points))
    shard.flush()
    return shard


def found_by(shard: Any, queries: Any, name: str) -> list[list[str]]:
    return [
        [
            str(point.id)
            for point in shard.query(
                edge.QueryRequest(limit=K, query=edge.Query.Nearest(query, using=name))
            )
        ]
        for query in queries.tolist()
    ]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies are made."""
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@contextmanager
def attached(path: Path, scratch: Path, **params: Any) -> Iterator[Attached]:
    """An attached shard, whose copy is gone afterwards."""
    foreign = QdrantBackend.attach(str(path), params)
    try:
        yield foreign
    finally:
        foreign.close()
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("wal", [True, False])
@pytest.mark.parametrize("name", ["whole", "half"])
def test_answers_are_those_of_the_shard(
    tmp_path: Path, scratch: Path, name: str, wal: bool
) -> None:
    shard = shard_in(tmp_path / "shard", wal_enabled=wal)
    queries = QUERIES[:, : WIDTHS[name]].copy()
    wanted = found_by(shard, queries, name)
    shard.close()
    before = contents(tmp_path)
    for params in ({}, {"hnsw_ef": 64}, {"exact": True}, {"rescore": True}):
        with attached(tmp_path / "shard", scratch, vector=name, **params) as foreign:
            assert foreign.dim == WIDTHS[name]
            assert foreign.metric == {"whole": "cosine", "half": "l2"}[name]
            assert len(foreign) == {"whole": N, "half": 100}[name]
            assert foreign.ask(queries, K) == wanted
            assert foreign.ask(queries[:1], K, effort=99) == wanted[:1]
    assert contents(tmp_path) == before


def test_points_need_not_have_the_vector(tmp_path: Path, scratch: Path) -> None:
    shard_in(tmp_path / "shard").close()
    with attached(tmp_path / "shard", scratch, vector="half") as foreign:
        queries = QUERIES[:, : D // 2].copy()
        assert sorted(foreign.ask(queries[:1], 10**6)[0]) == sorted(map(str, IDS[:100]))
        with pytest.raises(DimensionError):
            foreign.ask(QUERIES, 3)


def test_which_vector_has_to_be_clear(tmp_path: Path, scratch: Path) -> None:
    shard_in(tmp_path / "shard").close()
    for params, said in (
        ({}, "which vector.*'whole'"),
        ({"vector": "words"}, "a sparse vector"),
        ({"vector": "no"}, "no vector of it"),
        ({"vector": "far"}, "compares by Manhattan"),
        ({"vector": "half", "ef": 3}, "no parameter 'ef'"),
        ({"vector": "half", "exact": 1}, "True or False"),
    ):
        with pytest.raises(InputError, match=said):
            QdrantBackend.attach(str(tmp_path / "shard"), params)
    assert not list(scratch.iterdir())


def test_a_shard_that_is_open_elsewhere(tmp_path: Path, scratch: Path) -> None:
    shard = shard_in(tmp_path / "shard")
    with pytest.raises(EngineError, match="another program has the shard"):
        QdrantBackend.attach(str(tmp_path / "shard"), {"vector": "half"})
    shard.close()
    foreign = QdrantBackend.attach(str(tmp_path / "shard"), {"vector": "half"})
    # Its owner goes on while we ask.
    shard = edge.EdgeShard.load(str(tmp_path / "shard"))
    assert len(foreign) == 100
    shard.close()
    foreign.close()


def test_what_is_no_shard_is_refused(tmp_path: Path, scratch: Path) -> None:
    client = QdrantClient(path=str(tmp_path / "client"))
    client.create_collection("c", models.VectorParams(size=4, distance=models.Distance.DOT))
    client.close()
    for location in (f"local:{tmp_path / 'client'}", str(tmp_path / "client"), ":memory:"):
        with pytest.raises(InputError, match="pickle"):
            QdrantBackend.attach(location, {})
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(CorruptIndexError, match="no shard"):
            QdrantBackend.attach(str(path), {})
    QdrantBackend.create(IndexSpec(CodeSpec("float32", 4), "ip"), str(tmp_path / "ours")).close()
    with pytest.raises(InputError, match="requant's own"):
        QdrantBackend.attach(str(tmp_path / "ours"), {})
    shard_in(tmp_path / "shard").close()
    for file in (tmp_path / "shard" / "segments").rglob("segment.json"):
        file.write_text("{")
    with pytest.raises(CorruptIndexError, match="cannot read the shard"):
        QdrantBackend.attach(str(tmp_path / "shard"), {"vector": "half"})
    assert not list(scratch.iterdir())


def test_a_copy_is_removed_by_whoever_forgets_to_close(tmp_path: Path, scratch: Path) -> None:
    shard_in(tmp_path / "shard").close()
    program = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[2]\n"
        "from requant.adapters.qdrant import QdrantBackend\n"
        "foreign = QdrantBackend.attach(sys.argv[1], {'vector': 'half'})\n"
        "print(len(foreign))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "shard"), str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "100\n", "")
    assert not list(scratch.iterdir())


def test_answers_are_those_of_the_server() -> None:
    with running(key="sesame") as server:
        vectors = {
            name: models.VectorParams(size=size, distance=models.Distance[distance.upper()])
            for name, (distance, size) in NAMES.items()
            if name != "far"
        }
        held = server.client
        held.create_collection("notes", vectors)
        held.upsert(
            "notes",
            [
                models.PointStruct(
                    id=IDS[row], vector={n: v for n, v in vectors_of(row).items() if n in vectors}
                )
                for row in range(N)
            ],
        )
        params = {"vector": "half", "api_key": "sesame", "retries": 0}
        queries = QUERIES[:, : D // 2].copy()
        wanted = [
            [str(point.id) for point in held.query_points("notes", row, "half", limit=K).points]
            for row in queries.tolist()
        ]
        server.requests.clear()
        foreign = QdrantBackend.attach(f"{server.url}/notes", params)
        assert (foreign.dim, foreign.metric) == (D // 2, "l2")
        assert foreign.ask(queries, K) == wanted
        assert foreign.ask(queries, K, effort=50) == wanted
        assert len(foreign) == 100
        stamp = foreign.stamp()
        assert stamp.startswith("points=100 distance=Euclid ")
        assert foreign.stamp() == stamp
        foreign.close()
        assert {line.split()[0] for line in server.requests} <= {"GET", "POST"}
        assert not any("upsert" in line or "delete" in line for line in server.requests)
        with pytest.raises(CorruptIndexError, match="no collection"):
            QdrantBackend.attach(f"{server.url}/missing", params)
        with pytest.raises(EngineError, match="refused"):
            QdrantBackend.attach(f"{server.url}/notes", params | {"api_key": "wrong"})
        with pytest.raises(InputError, match="names no collection"):
            QdrantBackend.attach(f"{server.url}/", params)
    with pytest.raises(EngineError, match="cannot be reached"):
        QdrantBackend.attach(f"{server.url}/notes", params)


def test_one_unnamed_vector_on_a_server() -> None:
    with running() as server:
        config = models.VectorParams(size=D, distance=models.Distance.DOT)
        server.client.create_collection("notes", config)
        points = [models.PointStruct(id=i, vector=VECTORS[i].tolist()) for i in range(N)]
        server.client.upsert("notes", points)
        foreign = QdrantBackend.attach(f"{server.url}/notes", {"rescore": False})
        wanted = np.argsort(-(QUERIES @ VECTORS.T), axis=1)[:, :K]
        assert (foreign.metric, len(foreign)) == ("ip", N)
        assert foreign.ask(QUERIES, K) == [[str(i) for i in row] for row in wanted]
        foreign.close()


@pytest.mark.parametrize("wal", [True, False])
def test_a_stamp_tells_what_the_owner_wrote(tmp_path: Path, scratch: Path, wal: bool) -> None:
    shard_in(tmp_path / "shard", wal_enabled=wal).close()
    with attached(tmp_path / "shard", scratch, vector="half") as foreign:
        stamp = foreign.stamp()
        # Opening alone writes to the folder, but not to the points.
        before = contents(tmp_path)
        shard = edge.EdgeShard.load(str(tmp_path / "shard"))
        if wal:
            with pytest.raises(EngineError, match="another program has the shard"):
                foreign.stamp()
        shard.close()
        assert contents(tmp_path) != before
        assert foreign.stamp() == stamp
        shard = edge.EdgeShard.load(str(tmp_path / "shard"))
        point = edge.Point(IDS[5], vectors_of(6))
        shard.update(edge.UpdateOperation.upsert_points([point]))
        shard.close()
        assert foreign.stamp() != stamp

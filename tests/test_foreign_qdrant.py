"""Collections of Qdrant: on a server, in a folder of the client, in a shard of the edge engine."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import subprocess
import sys
import uuid
import warnings

import numpy as np
import pytest
import qdrant_edge as edge
from qdrant_client import QdrantClient, models

from requant.integration.errors import SourceError
from requant.integration.readers import Wanted, open_foreign
from tests import inside, qdrant_server
from tests.cli import floats

N, DIM = 60, 6
ROWS = floats(N, DIM) * 3
UNITS = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
IDS = [i if i % 2 else uuid.UUID(int=i + 10**30) for i in range(N)]
IDS[1] = 2**63
PAYLOADS = [
    {"text": f"item {i}", "n": 2**53 + i, "none": None, "deep": {"a": [1, {"b": 2.5}], "c": None}}
    for i in range(N)
]
DISTANCES = {"Cosine": "cosine", "Dot": "ip", "Euclid": "l2", "Manhattan": None}


def points(vectors=ROWS, payloads=PAYLOADS):
    rows = zip(IDS[: len(vectors)], vectors, payloads, strict=True)
    return [
        models.PointStruct(
            id=str(i) if isinstance(i, uuid.UUID) else i,
            vector=vector if isinstance(vector, dict) else vector.tolist(),
            payload=payload,
        )
        for i, vector, payload in rows
    ]


def fill(client, name="notes", distance="Cosine", config=None, held=None, **options):
    if config is None:
        config = models.VectorParams(size=DIM, distance=distance)
    client.create_collection(name, config, **options)
    client.upsert(name, held or points())


def local(path, *collections):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = QdrantClient(path=str(path))
        for options in collections or ({},):
            fill(client, **options)
        client.close()
    return path


def shard(path, distance="Cosine", config=None, vectors=ROWS):
    path.mkdir()
    vectors = [vector if isinstance(vector, dict) else vector.tolist() for vector in vectors]
    config = config or edge.EdgeVectorParams(size=DIM, distance=getattr(edge.Distance, distance))
    opened = edge.EdgeShard.create(str(path), edge.EdgeConfig(vectors=config))
    made = [
        edge.Point(str(i) if isinstance(i, uuid.UUID) else i, vector, payload)
        for i, vector, payload in zip(IDS, vectors, PAYLOADS, strict=True)
    ]
    opened.update(edge.UpdateOperation.upsert_points(made))
    opened.close()
    return path


@pytest.fixture
def server(monkeypatch):
    def scroll(client, name, body):
        wanted = models.ScrollRequest.model_validate(body)
        found, after = client.scroll(
            name,
            limit=wanted.limit,
            offset=wanted.offset,
            with_payload=wanted.with_payload,
            with_vectors=wanted.with_vector,
        )
        return {"points": qdrant_server.plain(found), "next_page_offset": after}

    monkeypatch.setitem(qdrant_server.POINTS, ("POST", "points/scroll"), scroll)
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    with qdrant_server.running() as running:
        yield running


def read(source, wanted=None, size=7):
    """Return the source, and items as {id: (vector, document, metadata)}."""
    opened = open_foreign(source, wanted or Wanted())
    items = {}
    for batch in opened.batches(size):
        assert len(batch) <= size
        present = np.ones(len(batch), bool) if batch.present is None else batch.present
        rows = iter(batch.vectors)
        vectors = [next(rows) if there else None for there in present]
        documents = batch.documents or [None] * len(batch)
        items.update(
            zip(batch.ids, zip(vectors, documents, batch.metadata, strict=True), strict=True)
        )
        assert batch.vectors.dtype == np.float32
    opened.close()
    assert len(items) == opened.rows
    return opened, items


def same(items, rows, ids=IDS):
    assert items.keys() == set(ids)
    assert {type(i) for i in items} == {int, uuid.UUID}
    assert np.allclose([items[i][0] for i in ids], rows, atol=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_server(server, distance):
    fill(server.client, distance=distance)
    for address in (f"{server.url}/collections/notes", f"qdrant+{server.url}/notes"):
        source, items = read(address)
        assert source.metric == DISTANCES[distance]
        assert source.kind == "Qdrant collection (server)"
        cosine = distance == "Cosine"
        assert source.fidelity == ("normalised" if cosine else "exact")
        same(items, UNITS if cosine else ROWS)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_folder_of_the_client(tmp_path, distance):
    """It keeps what it was given: of a cosine collection the lengths, too."""
    source, items = read(local(tmp_path / "q", {"distance": distance}))
    assert (source.metric, source.fidelity) == (DISTANCES[distance], "exact")
    same(items, ROWS)
    assert all((items[i][0] == row).all() for i, row in zip(IDS, ROWS, strict=True))


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_shard(tmp_path, distance):
    source, items = read(shard(tmp_path / "s", distance))
    assert (source.metric, source.kind) == (DISTANCES[distance], "Qdrant edge shard")
    cosine = distance == "Cosine"
    assert source.fidelity == ("normalised" if cosine else "exact")
    same(items, UNITS if cosine else ROWS)


def test_payloads_become_documents_and_metadata(server, tmp_path):
    fill(server.client)
    address = f"{server.url}/collections/notes"
    for source in (address, local(tmp_path / "q"), shard(tmp_path / "s")):
        _, items = read(source)
        for i, payload in zip(IDS, PAYLOADS, strict=True):
            _, document, metadata = items[i]
            assert document == payload["text"]
            # A peer made 0 of null, and floats of integers.
            assert metadata == {key: payload[key] for key in ("n", "none", "deep")}
            assert type(metadata["n"]) is int


def test_columns_as_wanted(tmp_path):
    payloads = [{"key": f"k{i}", "title": f"t{i}", "text": 5, "n": i} for i in range(N)]
    path = local(tmp_path / "q", {"held": points(payloads=payloads)})
    _, items = read(path)
    assert items[IDS[0]][1:] == (None, payloads[0])
    wanted = Wanted(ids="key", documents="title", metadata=("n", "nix"))
    _, items = read(path, wanted)
    assert items["k3"][1:] == ("t3", {"n": 3})
    with pytest.raises(SourceError, match=r"no id under the payload key 'nix' \(--ids\)"):
        read(path, Wanted(ids="nix"))
    with pytest.raises(SourceError, match="id '5' occurs a second time"):
        read(path, Wanted(ids="text"))


def named():
    dot = models.Distance.DOT
    config = {
        "a": models.VectorParams(size=DIM, distance=dot),
        "b": models.VectorParams(size=2, distance=models.Distance.EUCLID),
        "m": models.VectorParams(
            size=2, distance=dot, multivector_config=models.MultiVectorConfig(comparator="max_sim")
        ),
    }
    vectors = [
        {
            **({"a": row.tolist()} if i % 3 else {}),
            "b": [i, 1.0],
            "m": [[1.0, 2.0], [3.0, 4.0]],
            "s": models.SparseVector(indices=[i], values=[0.5]),
        }
        for i, row in enumerate(ROWS)
    ]
    sparse = {"s": models.SparseVectorParams()}
    return {"config": config, "held": points(vectors), "sparse_vectors_config": sparse}


def test_named_vectors_are_chosen_and_the_others_said(tmp_path):
    path = local(tmp_path / "q", named())
    with pytest.raises(SourceError, match=r"which vector\? Choose one with --vector .*: 'a', 'b'"):
        read(path)
    with pytest.raises(SourceError, match="no vector 'm'"):
        read(path, Wanted(vector="m"))
    source, items = read(path, Wanted(vector="a"))
    assert (source.metric, source.dim) == ("ip", DIM)
    assert source.notes == [
        "vectors left out: 'b'",
        "multivectors left out: 'm'",
        "sparse vectors left out: 's'",
    ]
    for row, i in enumerate(IDS):
        vector = items[i][0]
        assert vector is None if row % 3 == 0 else (vector == ROWS[row]).all()
    source, items = read(path, Wanted(vector="b"))
    assert (source.metric, items[IDS[4]][0].tolist()) == ("l2", [4, 1])


def test_a_named_vector_of_a_shard(tmp_path):
    params = edge.EdgeVectorParams(size=DIM, distance=edge.Distance.Dot)
    source, items = read(
        shard(tmp_path / "s", config={"a": params}, vectors=[{"a": r.tolist()} for r in ROWS])
    )
    assert source.metric == "ip"
    same(items, ROWS)


def test_a_folder_with_several_collections(tmp_path):
    path = local(tmp_path / "q", {"name": "one"}, {"name": "two", "distance": "Dot"})
    with pytest.raises(SourceError, match=f"name one of: {path}/collection/one, "):
        open_foreign(path, Wanted())
    source, items = read(path / "collection" / "two")
    assert source.metric == "ip"
    same(items, ROWS)


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("where", ["point", "payload"])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, where):
    path = local(tmp_path / "q")
    evil = Evil(tmp_path / "mark")
    if where == "payload":
        evil = models.PointStruct.model_construct(id=1, vector=[0.0] * DIM, payload={"x": evil})
    with sqlite3.connect(path / "collection/notes/storage.sqlite") as database:
        database.execute("INSERT INTO points VALUES ('x', ?)", (pickle.dumps(evil),))
    database.close()
    with pytest.raises(SourceError, match=r"row 61: this pickle asks for \w+\.system"):
        read(path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("data", [b"", b"\x80\x04.", b"nonsense", pickle.dumps({"id": 1}), "text"])
def test_a_point_that_is_none(tmp_path, data):
    path = local(tmp_path / "q")
    with sqlite3.connect(path / "collection/notes/storage.sqlite") as database:
        database.execute("INSERT INTO points VALUES ('x', ?)", (data,))
    database.close()
    with pytest.raises(SourceError, match=r"storage\.sqlite row 61"):
        read(path)


def test_of_several_spellings_of_one_uuid_the_newest_counts(tmp_path):
    path = local(tmp_path / "q")
    point = points()[2]
    newer = point.model_copy(update={"id": point.id.upper(), "payload": {"text": "newer"}})
    with sqlite3.connect(path / "collection/notes/storage.sqlite") as database:
        database.execute("INSERT INTO points VALUES ('x', ?)", (pickle.dumps(newer),))
    database.close()
    items = {}
    for batch in open_foreign(path, Wanted()).batches(7):
        items.update(zip(batch.ids, batch.documents, strict=True))
    assert len(items) == N
    assert items[IDS[2]] == "newer"


def test_a_local_folder_needs_no_client_and_is_not_written_to(tmp_path):
    path = local(tmp_path / "q")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    code = (
        "import sys\n"
        "from requant.integration.readers import Wanted, open_foreign\n"
        f"print(sum(map(len, open_foreign({str(path)!r}, Wanted()).batches(9))))\n"
        "assert not any(name.startswith(('qdrant', 'faiss', 'lancedb')) for name in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{N}\n"
    assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("spoilt", ["{", "[]", '{"collections": {"notes": 5}}'])
def test_a_damaged_description(tmp_path, spoilt):
    path = local(tmp_path / "q")
    (path / "meta.json").write_text(spoilt)
    with pytest.raises(SourceError, match=r"meta\.json"):
        open_foreign(path, Wanted())


def test_a_damaged_configuration(tmp_path):
    path = local(tmp_path / "q")
    meta = json.loads((path / "meta.json").read_text())
    meta["collections"]["notes"]["vectors"] = {"size": "many"}
    (path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(SourceError, match="its configuration cannot be understood"):
        open_foreign(path, Wanted())


def test_a_shard_that_is_open_elsewhere_or_damaged(tmp_path):
    path = shard(tmp_path / "s")
    opened = edge.EdgeShard.load(str(path))
    with pytest.raises(SourceError, match=str(path)):
        open_foreign(path, Wanted())
    opened.close()
    for file in (path / "segments").rglob("*"):
        if file.is_file():
            file.write_bytes(b"\0" * 10)
    with pytest.raises(SourceError, match=str(path)):
        read(path)


def test_addresses_that_name_nothing(server):
    with pytest.raises(SourceError, match="no such collection"):
        open_foreign(f"{server.url}/collections/nix", Wanted())
    with pytest.raises(SourceError) as told:
        open_foreign("qdrant+http://user:secret@localhost/notes", Wanted())
    assert "secret" not in str(told.value)
    with pytest.raises(SourceError, match="names no collection"):
        open_foreign("qdrant+http://localhost:6333/", Wanted())
    with pytest.raises(SourceError, match="is no source that can be read"):
        open_foreign(f"{server.url}/notes", Wanted())


def test_a_key_comes_from_the_environment(server, monkeypatch):
    fill(server.client)
    server.key = "let me in"
    with pytest.raises(SourceError, match="REQUANT_QDRANT_API_KEY"):
        read(f"{server.url}/collections/notes")
    monkeypatch.setenv("REQUANT_QDRANT_API_KEY", "let me in")
    assert len(read(f"{server.url}/collections/notes")[1]) == N


def test_a_server_that_fails_for_a_while(server):
    fill(server.client)
    opened = open_foreign(f"{server.url}/collections/notes", Wanted())
    server.fail(503, 2)
    assert sum(map(len, opened.batches(10))) == N


def test_a_server_that_goes_away_midway(server, monkeypatch):
    monkeypatch.setattr(inside.QDRANT_READER_RETRIES, 1)
    fill(server.client)
    batches = open_foreign(f"{server.url}/collections/notes", Wanted()).batches(10)
    next(batches)
    server.stop()
    with pytest.raises(SourceError, match="cannot be reached"):
        list(batches)


def test_the_payloads_of_langchain(tmp_path):
    """Their metadata stand in an object of their own; other payloads are as they were."""
    payloads = [
        {"page_content": "one", "metadata": {"n": 1, "metadata": "x"}},
        {"page_content": "two", "metadata": None},
        {"page_content": "three", "metadata": {}},
        {"page_content": "four", "metadata": {"n": 4}, "own": True},
        {"page_content": "five", "metadata": "text"},
        {"page_content": "six"},
    ]
    local(tmp_path, {"held": points(ROWS[:6], payloads[:6])})
    (batch,) = open_foreign(str(tmp_path), Wanted()).batches(100)
    found = dict(zip(batch.documents, batch.metadata, strict=True))
    assert found == {
        "one": {"n": 1, "metadata": "x"},
        "two": None,
        "three": None,
        "four": {"metadata": {"n": 4}, "own": True},
        "five": {"metadata": "text"},
        "six": None,
    }
    (named,) = open_foreign(str(tmp_path), Wanted(documents="page_content")).batches(100)
    assert {"metadata": {"n": 4}, "own": True} in named.metadata
    assert {"metadata": {"n": 1, "metadata": "x"}} in named.metadata

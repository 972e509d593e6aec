"""LanceDB tables that other programs keep, asked as they are."""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import HnswSq, IvfFlat, IvfPq

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.lancedb import LancedbBackend
from requant.adapters.protocol import Attached
from requant.quantizers.errors import InputError
from requant.testing import AttachConformance
from tests.conformance.attaching import attached_by
from tests.object_storage import BUCKET, running_object_storage

N, D, K = 1000, 16, 7
RNG = np.random.default_rng(7)
VECTORS = RNG.normal(size=(N, D)).astype(np.float32)
QUERIES = RNG.normal(size=(9, D)).astype(np.float32)
NAMES = [f"note {i * 37 % N}" for i in range(N)]


def lists(values: Any, width: int = D) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)


class TestAttachedLancedb(AttachConformance):
    backend = LancedbBackend
    bad_params = ({"nprobes": -1}, {"ef": True}, {"refine_factor": 0.5}, {"metric": "hamming"})

    def make(self, name, vectors, ids, metric):
        database = lancedb.connect(self.folder)
        database.drop_table(name, ignore_missing=True)
        rows = pa.table({"id": pa.array(ids, pa.string()), "vector": lists(vectors)})
        database.create_table(name, rows)
        return str(self.folder / f"{name}.lance")

    def params(self, metric):
        return {"metric": metric}

    def ids(self, n):
        return [f"note {i * 37 % 1000}" for i in range(n)]


def made(folder: Path | str, name: str = "notes", **columns: Any) -> Any:
    """A table of LanceDB's own making."""
    database = lancedb.connect(folder)
    columns = columns or {"id": NAMES, "vector": lists(VECTORS)}
    return database.create_table(name, pa.table(columns))


def attached(path: Path, **params: Any) -> AbstractContextManager[Attached]:
    return attached_by(LancedbBackend, path, **params)


def own(table: Any, column: str = "id", **wishes: Any) -> list[list[str]]:
    """What LanceDB itself answers."""
    answers = []
    for query in QUERIES:
        search = table.search(query, vector_column_name="vector").limit(K)
        for wish, value in wishes.items():
            search = getattr(search, wish)(value)
        rows = search.with_row_id(True).to_list()
        answers.append([str(row[column]) for row in rows])
    return answers


@pytest.mark.parametrize("name", ["notes", "notes.lance"])
def test_answers_are_those_of_a_scan(tmp_path: Path, name: str) -> None:
    table = made(tmp_path)
    with attached(tmp_path / name) as foreign:
        assert (foreign.dim, foreign.metric, len(foreign)) == (D, None, N)
        assert foreign.ask(QUERIES, K) == own(table)
        assert foreign.ask(QUERIES[:1], K) == own(table)[:1]
    for metric, distance in (("cosine", "cosine"), ("ip", "dot"), ("l2", "l2")):
        with attached(tmp_path / name, metric=metric) as foreign:
            assert foreign.metric == metric
            assert foreign.ask(QUERIES, K) == own(table, distance_type=distance)


@pytest.mark.parametrize(
    ("distance", "metric"), [("cosine", "cosine"), ("dot", "ip"), ("l2", "l2")]
)
def test_answers_are_those_of_an_index(tmp_path: Path, distance: str, metric: str) -> None:
    table = made(tmp_path)
    table.create_index("vector", config=IvfFlat(distance_type=distance, num_partitions=8))
    with attached(tmp_path / "notes", nprobes=1) as foreign:
        assert foreign.metric == metric
        one = own(table, distance_type=distance, nprobes=1)
        assert foreign.ask(QUERIES, K) == one
        every = own(table, distance_type=distance, nprobes=8)
        assert foreign.ask(QUERIES, K, effort=8) == every != one
    with pytest.raises(InputError, match="compares by"):
        LancedbBackend.attach(str(tmp_path / "notes"), {"metric": "l2" if metric == "ip" else "ip"})


def test_compressed_vectors_and_graphs(tmp_path: Path) -> None:
    table = made(tmp_path)
    table.create_index("vector", config=IvfPq(num_partitions=2, num_sub_vectors=4))
    with attached(tmp_path / "notes", refine_factor=20, nprobes=2) as foreign:
        assert foreign.ask(QUERIES, K) == own(table, refine_factor=20, nprobes=2)
    graph = made(tmp_path, "graph", id=NAMES, vector=lists(VECTORS))
    graph.create_index("vector", config=HnswSq(distance_type="cosine", num_partitions=1))
    with attached(tmp_path / "graph", ef=50) as foreign:
        assert foreign.metric == "cosine"
        assert foreign.ask(QUERIES, K) == own(graph, distance_type="cosine", ef=50)
        assert foreign.ask(QUERIES, K, effort=200) == own(graph, distance_type="cosine", ef=200)


def test_normalised_vectors_under_another_distance(tmp_path: Path) -> None:
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    table = made(tmp_path, id=NAMES, vector=lists(unit))
    table.create_index("vector", config=IvfFlat(distance_type="l2", num_partitions=4))
    with attached(tmp_path / "notes", metric="cosine", nprobes=4) as foreign:
        assert foreign.metric == "cosine"
        nearest = np.argsort(-(QUERIES @ unit.T), axis=1)[:, :K]
        assert foreign.ask(QUERIES * 9, K) == [[NAMES[i] for i in row] for row in nearest]


def test_ids_of_every_kind(tmp_path: Path) -> None:
    uuids = [uuid.UUID(int=i << 64 | i) for i in range(N)]
    kinds = {
        "whole": (pa.array(range(N), pa.uint64()), list(map(str, range(N)))),
        "raw": (pa.array([u.bytes for u in uuids], pa.binary(16)), list(map(str, uuids))),
        "uuid": (pa.array([u.bytes for u in uuids], pa.uuid()), list(map(str, uuids))),
        "text": (pa.array(map(str, uuids), pa.large_string()), list(map(str, uuids))),
        "_rowid": (None, list(map(str, range(N)))),
    }
    held = {name: column for name, (column, _) in kinds.items() if column is not None}
    made(tmp_path, vector=lists(VECTORS), share=pa.array(VECTORS[:, 0]), **held)
    squares = ((QUERIES[:, None] - VECTORS) ** 2).sum(axis=2)
    nearest = np.argsort(squares, axis=1)[:, :K]
    for name, (_, wanted) in kinds.items():
        with attached(tmp_path / "notes", id=name) as foreign:
            assert foreign.ask(QUERIES, K) == [[wanted[i] for i in row] for row in nearest]
    with attached(tmp_path / "notes") as foreign:  # no column `id`
        assert foreign.ask(QUERIES, K) == [[str(i) for i in row] for row in nearest]
    for name, said in (("share", "not whole numbers"), ("no", "has no column")):
        with pytest.raises(InputError, match=said):
            LancedbBackend.attach(str(tmp_path / "notes"), {"id": name})
    made(tmp_path, "gaps", id=[None, *NAMES[1:]], vector=lists(VECTORS))
    with attached(tmp_path / "gaps") as foreign, pytest.raises(EngineError, match="has no id"):
        foreign.ask(QUERIES, N)


def test_which_vectors_have_to_be_clear(tmp_path: Path) -> None:
    halves, bits = VECTORS.astype(np.float16), np.packbits(VECTORS > 0, axis=1)
    made(tmp_path, id=NAMES, a=lists(VECTORS), b=lists(halves), c=lists(bits, D // 8))
    for params, said in (
        ({}, "which vectors.*a, b, c"),
        ({"vector": "id"}, "no column of vectors 'id'"),
        ({"vector": "a", "probes": 3}, "no parameter 'probes'"),
        ({"vector": "a", "metric": "hamming"}, "metric must be"),
        ({"vector": "a", "nprobes": -1}, "nprobes"),
    ):
        with pytest.raises(InputError, match=said):
            LancedbBackend.attach(str(tmp_path / "notes"), params)
    squares = ((QUERIES[:, None] - halves) ** 2).sum(axis=2)
    with attached(tmp_path / "notes", vector="b") as foreign:
        assert [row[0] for row in foreign.ask(QUERIES, K)] == [NAMES[i] for i in squares.argmin(1)]
        assert len(foreign.ask(QUERIES * np.float32(1e30), K)) == len(QUERIES)
    with attached(tmp_path / "notes", vector="c", metric="cosine") as foreign:
        assert (foreign.dim, foreign.metric) == (D, "cosine")
        apart = ((QUERIES > 0)[:, None] != (VECTORS > 0)).sum(axis=2)
        for row, answer in enumerate(foreign.ask(QUERIES, K)):
            found = [int(apart[row, NAMES.index(name)]) for name in answer]
            assert found == sorted(apart[row])[:K]


def test_the_newest_version_is_asked(tmp_path: Path) -> None:
    table = made(tmp_path)
    foreign = LancedbBackend.attach(str(tmp_path / "notes"), {})
    assert len(foreign) == N
    table.add(pa.table({"id": ["late"], "vector": lists(QUERIES[:1])}))
    assert (len(foreign), foreign.ask(QUERIES[:1], 1)) == (N + 1, [["late"]])
    table.delete("id = 'late'")
    assert foreign.ask(QUERIES[:1], 1) != [["late"]]
    foreign.close()


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "db")
    with pytest.raises(InputError, match=r"is a database.*notes"):
        LancedbBackend.attach(str(tmp_path / "db"), {})
    (tmp_path / "db" / "empty.lance").mkdir()
    for path in (tmp_path / "db" / "no", tmp_path / "no" / "notes", tmp_path / "db" / "empty"):
        with pytest.raises(CorruptIndexError):
            LancedbBackend.attach(str(path), {})
    assert not (tmp_path / "no").exists()
    for location in ("", "s3://bucket", "db://database/table"):
        with pytest.raises(InputError):
            LancedbBackend.attach(location, {})


def test_a_table_in_object_storage() -> None:
    with running_object_storage() as storage:
        place = f"s3://{BUCKET}/some/prefix"
        database = lancedb.connect(place, storage_options=storage.options)
        table = database.create_table("notes", pa.table({"id": NAMES, "vector": lists(VECTORS)}))
        before = storage.keys("some/")
        foreign = LancedbBackend.attach(f"{place}/notes", {"storage_options": storage.options})
        assert foreign.ask(QUERIES, K) == own(table)
        stamp = foreign.stamp()
        assert foreign.stamp() == stamp
        assert storage.keys("some/") == before
        table.delete(f"id = '{NAMES[0]}'")
        assert foreign.stamp() != stamp
        foreign.close()
        with pytest.raises(CorruptIndexError, match="no lancedb table"):
            LancedbBackend.attach(f"{place}/missing", {"storage_options": storage.options})


def test_a_stamp_tells_of_every_write(tmp_path: Path) -> None:
    table = made(tmp_path)
    foreign = LancedbBackend.attach(str(tmp_path / "notes"), {})
    stamps = [foreign.stamp()]
    table.add(pa.table({"id": ["late"], "vector": lists(QUERIES[:1])}))
    stamps.append(foreign.stamp())
    table.delete("id = 'late'")
    stamps.append(foreign.stamp())
    table.update(where=f"id = '{NAMES[0]}'", values={"id": "other"})
    stamps.append(foreign.stamp())
    table.restore(1)
    stamps.append(foreign.stamp())
    made(tmp_path, "other").to_arrow()  # beside it
    assert foreign.stamp() == stamps[-1]
    assert len(set(stamps)) == 5
    foreign.close()

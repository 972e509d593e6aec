"""usearch, Qdrant and LanceDB by themselves, with their own codes and their own rescoring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dataset import K
from benchmarks.peers.contender import Ask, Contender, Vectors

BATCH = 2000
SCALED = 127


def build_usearch(vectors: Vectors, folder: Path) -> None:
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="cos", dtype="i8", connectivity=16)
    index.add(np.arange(len(vectors)), as_int8(vectors))
    index.save(folder / "index.usearch")


def serve_usearch(folder: Path) -> Mapping[str, Ask]:
    from usearch.index import Index

    def asked(ef: int) -> Ask:
        index = Index.restore(folder / "index.usearch")
        index.expansion_search = ef
        return lambda query: index.search(as_int8(query), K).keys.tolist()

    return {f"expansion {ef}": asked(ef) for ef in (16, 64, 256)}


def as_int8(vectors: Vectors) -> Any:
    return np.rint(vectors * (SCALED / np.abs(vectors).max(axis=-1, keepdims=True))).astype(np.int8)


def edge_config(quantization: Callable[[], Any], graph: bool, dim: int) -> Any:
    import qdrant_edge as edge

    return edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(
            size=dim,
            distance=edge.Distance.Dot,
            on_disk=not graph,
            quantization_config=quantization(),
            hnsw_config=edge.HnswIndexConfig(
                m=16 if graph else 0, ef_construct=100, full_scan_threshold=10
            ),
        )
    )


def two_bits() -> Any:
    import qdrant_edge as edge

    encoding = edge.BinaryQuantizationEncoding.TwoBits
    return edge.BinaryQuantizationConfig(always_ram=True, encoding=encoding)


def scalar() -> Any:
    import qdrant_edge as edge

    return edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8, always_ram=True)


def build_edge(quantization: Callable[[], Any], graph: bool, vectors: Vectors, at: Path) -> None:
    import qdrant_edge as edge

    (at / "shard").mkdir()
    config = edge_config(quantization, graph, vectors.shape[1])
    shard = edge.EdgeShard.create(str(at / "shard"), config)
    for start in range(0, len(vectors), BATCH):
        part = vectors[start : start + BATCH].tolist()
        points = [edge.Point(start + row, vector) for row, vector in enumerate(part)]
        shard.update(edge.UpdateOperation.upsert_points(points))
    shard.optimize()
    shard.flush()
    shard.close()


def serve_edge(settings: tuple[tuple[int | None, float], ...], folder: Path) -> Mapping[str, Ask]:
    import qdrant_edge as edge

    shard = edge.EdgeShard.load(str(folder / "shard"))

    def asked(ef: int | None, factor: float) -> Ask:
        own = edge.QuantizationSearchParams(rescore=True, oversampling=factor)
        params = edge.SearchParams(hnsw_ef=ef, quantization=own)

        def ask(query: Vectors) -> list[int]:
            nearest = edge.Query.Nearest(query.tolist())
            found = shard.query(edge.QueryRequest(limit=K, query=nearest, params=params))
            return [point.id for point in found]

        return ask

    return {
        (f"hnsw_ef {ef}, " if ef else "") + f"oversampling {factor:g}": asked(ef, factor)
        for ef, factor in settings
    }


def build_lance(kind: str, vectors: Vectors, folder: Path) -> None:
    import lancedb
    import pyarrow as pa
    from lancedb.index import IvfPq, IvfRq

    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    data = pa.table({"key": pa.array(np.arange(len(vectors))), "vector": column})
    table = lancedb.connect(folder).create_table("t", data)
    lists = max(1, len(vectors) // 4096)
    made: dict[str, Any] = {
        "IVF_RQ": lambda: IvfRq(distance_type="dot", num_partitions=lists, num_bits=2),
        "IVF_PQ": lambda: IvfPq(
            distance_type="dot", num_partitions=lists, num_sub_vectors=vectors.shape[1] // 4
        ),
    }
    table.create_index("vector", config=made[kind]())


def serve_lance(folder: Path) -> Mapping[str, Ask]:
    import lancedb

    table = lancedb.connect(folder).open_table("t")

    def asked(probes: int, factor: int) -> Ask:
        def ask(query: Vectors) -> list[int]:
            search = table.search(query).distance_type("dot").limit(K)
            search = search.nprobes(probes).refine_factor(factor).select(["key", "_distance"])
            found: list[int] = search.to_arrow()["key"].to_pylist()
            return found

        return ask

    return {
        f"nprobes {probes}, refine_factor {factor}": asked(probes, factor)
        for probes, factor in ((4, 4), (10, 4), (28, 4), (28, 10))
    }


FLAT = ((None, 4.0), (None, 8.0), (None, 24.0))
GRAPH = tuple((ef, 2.0) for ef in (16, 32, 64, 128, 256))

CONTENDERS = (
    Contender("usearch i8", build_usearch, serve_usearch, ("usearch.index",)),
    Contender(
        "Qdrant edge, 2 bits",
        partial(build_edge, two_bits, False),
        partial(serve_edge, FLAT),
        ("qdrant_edge",),
    ),
    Contender(
        "Qdrant edge, HNSW int8",
        partial(build_edge, scalar, True),
        partial(serve_edge, GRAPH),
        ("qdrant_edge",),
    ),
    *(
        Contender(f"LanceDB {kind}", partial(build_lance, kind), serve_lance, ("lancedb",))
        for kind in ("IVF_RQ", "IVF_PQ")
    ),
)

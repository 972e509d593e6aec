"""Qdrant and LanceDB driven by hand: the same codes, and the engines' own two passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import qdrant_edge as edge
from lancedb.index import IvfFlat, IvfRq, IvfSq
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

Codes = NDArray[Any]
_BATCH = 2000


def as_qdrant(codes: Codes) -> NDArray[np.float32]:
    """Return bits as signs, int8 shifted to unsigned, floats as they are: `(n, d) float32`."""
    if codes.dtype == np.uint8:
        return np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1
    if codes.dtype == np.int8:
        return codes.astype(np.float32) + 128
    return codes


class Edge:
    """A shard of qdrant-edge: bits as compressed signs, int8 in bytes, or compressed floats."""

    def __init__(
        self, folder: Path, codes: Codes, oversampling: float | None = None, bits: int = 1
    ) -> None:
        """Upload `codes (n, w)` under their row numbers."""
        first = as_qdrant(codes[:1])
        binary, int8 = codes.dtype == np.uint8, codes.dtype == np.int8
        two = edge.BinaryQuantizationEncoding.TwoBits if bits == 2 else None
        quantization = edge.BinaryQuantizationConfig(always_ram=True, encoding=two)
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(
                size=first.shape[1],
                distance=edge.Distance.Euclid if int8 else edge.Distance.Dot,
                datatype=edge.VectorStorageDatatype.Uint8 if int8 else None,
                on_disk=not int8,
                quantization_config=None if int8 else quantization,
                hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000),
            )
        )
        folder.mkdir(parents=True)
        self.shard = edge.EdgeShard.create(str(folder), config)
        for start in range(0, len(codes), _BATCH):
            rows = as_qdrant(codes[start : start + _BATCH]).tolist()
            points = [edge.Point(start + i, row) for i, row in enumerate(rows)]
            self.shard.update(edge.UpdateOperation.upsert_points(points))
        self.shard.optimize()
        self.shard.flush()
        own = not binary and not int8
        self.params = edge.SearchParams(
            quantization=edge.QuantizationSearchParams(
                rescore=own, oversampling=oversampling if own else None
            )
        )

    def oversample(self, factor: float) -> None:
        """Rescore so many times k from now on, with the floats that Qdrant keeps."""
        quantization = edge.QuantizationSearchParams(rescore=True, oversampling=factor)
        self.params = edge.SearchParams(quantization=quantization)

    def ask(self, query: Codes, k: int) -> list[int]:
        """Search for one row of codes."""
        vector = edge.Query.Nearest(as_qdrant(query[None])[0].tolist())
        request = edge.QueryRequest(limit=k, query=vector, params=self.params)
        return [point.id for point in self.shard.query(request)]

    def close(self) -> None:
        """Let go of the folder."""
        self.shard.close()


class Local:
    """The client's local mode, in memory."""

    def __init__(self, folder: Path, codes: Codes) -> None:
        """Upload `codes (n, w)` under their row numbers."""
        self.client = QdrantClient(":memory:")
        self.int8 = codes.dtype == np.int8
        distance = models.Distance.EUCLID if self.int8 else models.Distance.DOT
        size = as_qdrant(codes[:1]).shape[1]
        self.client.create_collection("c", models.VectorParams(size=size, distance=distance))
        for start in range(0, len(codes), _BATCH):
            rows = as_qdrant(codes[start : start + _BATCH]).tolist()
            ids = list(range(start, start + len(rows)))
            self.client.upsert("c", models.Batch(ids=ids, vectors=rows))

    def ask(self, query: Codes, k: int) -> list[int]:
        """Search for one row of codes."""
        vector = as_qdrant(query[None])[0].tolist()
        found = self.client.query_points("c", vector, limit=k, with_payload=False)
        return [point.id for point in found.points]

    def close(self) -> None:
        """Let go of the memory."""
        self.client.close()


class Lance:
    """A table of LanceDB: bits in IVF_FLAT, int8 as halves in IVF_SQ, floats in IVF_RQ."""

    def __init__(
        self, folder: Path, codes: Codes, refine: int | None = None, bits: int = 1
    ) -> None:
        """Upload `codes (n, w)` with their row numbers."""
        self.refine, self.bits = refine, codes.dtype == np.uint8
        stored = codes.astype(np.float16) if codes.dtype == np.int8 else codes
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), codes.shape[1])
        rows = pa.table({"key": pa.array(np.arange(len(codes))), "vector": vectors})
        self.table = lancedb.connect(folder).create_table("t", rows)
        if self.bits:
            config: Any = IvfFlat(distance_type="hamming", num_partitions=1)
        elif codes.dtype == np.int8:
            config = IvfSq(distance_type="l2", num_partitions=1)
        else:
            config = IvfRq(distance_type="dot", num_partitions=1, num_bits=bits)
        self.table.create_index("vector", config=config)
        self.metric = config.distance_type
        self.half = codes.dtype == np.int8

    def oversample(self, factor: float) -> None:
        """Rescore so many times k from now on, with the floats that LanceDB keeps."""
        self.refine = int(factor)

    def ask(self, query: Codes, k: int) -> list[int]:
        """Search for one row of codes."""
        vector = query.astype(np.float16) if self.half else query
        search = self.table.search(vector).distance_type(self.metric).limit(k)
        if self.refine is not None:
            search = search.refine_factor(self.refine)
        found: list[int] = search.select(["key", "_distance"]).to_arrow()["key"].to_pylist()
        return found

    def close(self) -> None:
        """A table needs no closing."""

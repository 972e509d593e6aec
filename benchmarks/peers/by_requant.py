"""requant: codes in an engine, floats in SQLite; ids, documents and metadata included."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import requant
from benchmarks.dataset import K
from benchmarks.peers.contender import Ask, Contender, Vectors

NAME = "peers"
# Bytes of text and metadata as WordNet's definitions have them: a hit is read whole.
TEXT = "a definition of the length that definitions have, in number {row} of a dictionary"


def build(index: dict[str, Any], vectors: Vectors, folder: Path) -> None:
    with requant.open(folder / "peers.requant") as db:
        items = db.create_collection(NAME, vectors.shape[1], "cosine")
        for start in range(0, len(vectors), 10_000):
            part = range(start, min(start + 10_000, len(vectors)))
            texts = [TEXT.format(row=row) for row in part]
            items.upsert(part, vectors[start : part.stop], texts, [{"row": row} for row in part])
        items.add_index("main", **index)
        items.flush()


def serve(tried: tuple[float, ...], efforts: tuple[int, ...], folder: Path) -> Mapping[str, Ask]:
    items = requant.open(folder / "peers.requant").collection(NAME)

    def asked(**how: Any) -> Ask:
        return lambda query: [hit.id for hit in items.search(query, K, **how)]  # type: ignore[misc]  # the ids are rows

    if efforts:
        return {
            f"effort {effort}, {round(K * factor)} candidates": asked(
                effort=effort, oversample=factor
            )
            for effort in efforts
            for factor in tried
        }
    return {f"{round(K * factor)} candidates": asked(oversample=factor) for factor in tried}


def contender(
    engine: str, precision: str, tried: tuple[float, ...], *efforts: int, **more: Any
) -> Contender:
    told = [engine, precision, *(str(value) for value in more.values())]
    index = {"engine": engine, "precision": precision, **more}
    imports = {"faiss": "faiss", "usearch": "usearch.index", "qdrant": "qdrant_edge"}
    return Contender(
        f"requant {' '.join(told)}",
        partial(build, index),
        partial(serve, tried, efforts),
        (imports.get(engine, engine), "requant.database"),
    )


CONTENDERS = (
    contender("faiss", "int2", (1.5, 2, 3, 4, 8)),
    contender("faiss", "int4", (1, 1.5, 2, 4)),
    contender("faiss", "int8", (1, 1.2, 2)),
    contender("faiss", "binary", (4, 8, 12, 16)),
    contender("faiss", "int8", (1.5,), 16, 32, 64, 128, 256, index_type="hnsw"),
    contender("usearch", "int8", (1.5,), 16, 32, 64, 128, 256, index_type="hnsw"),
    contender("qdrant", "binary", (8, 14)),
    contender("lancedb", "binary", (8, 14)),
)

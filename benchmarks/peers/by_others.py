"""Chroma, sqlite-vec, sentence-transformers and turbovec, as their documentation uses them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dataset import K
from benchmarks.peers.contender import Ask, Contender, Vectors, rows


def build_chroma(vectors: Vectors, folder: Path) -> None:
    import chromadb

    client = chromadb.PersistentClient(folder / "chroma")
    hnsw = {"space": "ip", "ef_construction": 160, "max_neighbors": 24}
    collection = client.create_collection("peers", configuration={"hnsw": hnsw})  # type: ignore[arg-type]  # a plain dict is one
    step = client.get_max_batch_size()
    for start in range(0, len(vectors), step):
        part = vectors[start : start + step]
        names = [str(row) for row in range(start, start + len(part))]
        collection.add(ids=names, embeddings=part)


def serve_chroma(folder: Path) -> Mapping[str, Ask]:
    import chromadb

    collection = chromadb.PersistentClient(folder / "chroma").get_collection("peers")

    def asked(ef: int) -> Ask:
        def ask(query: Vectors) -> list[int]:
            found = collection.query(query_embeddings=[query], n_results=K, include=[])
            return [int(name) for name in found["ids"][0]]

        return ask

    # What a graph may spend is fixed for as long as the process has it loaded.
    return {"ef_search 100 (its default)": asked(100)}


def database(folder: Path) -> Any:
    # Many builds of Python have a sqlite3 module that loads no extensions.
    import apsw
    import sqlite_vec

    connection = apsw.Connection(str(folder / "vec.db"))
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    return connection


def build_sqlite_vec(vectors: Vectors, folder: Path) -> None:
    connection = database(folder)
    dim = vectors.shape[1]
    connection.execute(
        f"CREATE VIRTUAL TABLE v USING vec0(embedding float[{dim}] distance_metric=cosine, "
        f"coarse bit[{dim}])"
    )
    insert = "INSERT INTO v(rowid, embedding, coarse) VALUES (?, ?, vec_quantize_binary(?))"
    with connection:
        connection.executemany(
            insert, ((n, row.tobytes(), row.tobytes()) for n, row in enumerate(vectors))
        )


def serve_sqlite_vec(folder: Path) -> Mapping[str, Ask]:
    connection = database(folder)
    # The two passes of its documentation.
    coarse = (
        "WITH coarse AS (SELECT rowid, embedding FROM v "
        "WHERE coarse MATCH vec_quantize_binary(?) ORDER BY distance LIMIT ?) "
        "SELECT rowid FROM coarse ORDER BY vec_distance_cosine(embedding, ?) LIMIT ?"
    )
    exact = "SELECT rowid FROM v WHERE embedding MATCH ? ORDER BY distance LIMIT ?"

    def two_passes(candidates: int) -> Ask:
        def ask(query: Vectors) -> list[int]:
            values = (query.tobytes(), candidates, query.tobytes(), K)
            return [number for (number,) in connection.execute(coarse, values)]

        return ask

    def one_pass(query: Vectors) -> list[int]:
        return [number for (number,) in connection.execute(exact, (query.tobytes(), K))]

    passes = {f"bits, {many} rescored": two_passes(many) for many in (160, 640, 1600)}
    return {**passes, "exact": one_pass}


def build_st(precision: str, vectors: Vectors, folder: Path) -> None:
    import faiss
    from sentence_transformers.util.quantization import (
        quantize_embeddings,
        semantic_search_faiss,
        semantic_search_usearch,
    )

    codes = quantize_embeddings(vectors, precision)  # type: ignore[arg-type]  # one of its names
    if precision == "int8":
        ranges = np.stack([vectors.min(axis=0), vectors.max(axis=0)])
        np.save(folder / "ranges.npy", ranges)
        search: Any = semantic_search_usearch
    else:
        search = semantic_search_faiss
    *_, index = search(
        vectors[:1] if precision != "int8" else codes[:1],
        corpus_embeddings=codes,
        corpus_precision=precision,
        rescore=False,
        output_index=True,
    )
    if precision == "int8":
        index.save(folder / "index.usearch")
    else:
        faiss.write_index_binary(index, str(folder / "index.faiss"))


def serve_st(precision: str, folder: Path) -> Mapping[str, Ask]:
    import faiss
    from sentence_transformers.util import quantization

    if precision == "int8":
        from usearch.index import Index

        search: Any = quantization.semantic_search_usearch
        index: Any = Index.restore(folder / "index.usearch")
        more = {"ranges": np.load(folder / "ranges.npy"), "exact": False}
    else:
        search = quantization.semantic_search_faiss
        index, more = faiss.read_index_binary(str(folder / "index.faiss")), {}

    def asked(multiplier: int) -> Ask:
        def ask(query: Vectors) -> list[int]:
            found, _ = search(
                query[None],
                corpus_index=index,
                corpus_precision=precision,
                top_k=K,
                rescore=True,
                rescore_multiplier=multiplier,
                **more,
            )
            return [hit["corpus_id"] for hit in found[0]]

        return ask

    return {f"rescore_multiplier {many}": asked(many) for many in (2, 8, 32)}


def build_turbovec(bits: int, vectors: Vectors, folder: Path) -> None:
    import turbovec

    index = turbovec.TurboQuantIndex(vectors.shape[1], bits)
    index.add(np.ascontiguousarray(vectors))
    index.write(str(folder / "index.turbovec"))


def serve_turbovec(folder: Path) -> Mapping[str, Ask]:
    import turbovec

    index = turbovec.TurboQuantIndex.load(str(folder / "index.turbovec"))
    return {
        "codes alone": lambda query: rows(index.search(np.ascontiguousarray(query[None]), K)[1])
    }


CONTENDERS = (
    Contender("Chroma", build_chroma, serve_chroma, ("chromadb",)),
    Contender("sqlite-vec", build_sqlite_vec, serve_sqlite_vec, ("sqlite_vec", "apsw")),
    *(
        Contender(
            f"sentence-transformers {precision}",
            partial(build_st, precision),
            partial(serve_st, precision),
            ("sentence_transformers", "faiss", "usearch.index"),
        )
        for precision in ("ubinary", "int8")
    ),
    *(
        Contender(
            f"turbovec {bits} bits", partial(build_turbovec, bits), serve_turbovec, ("turbovec",)
        )
        for bits in (2, 4)
    ),
)

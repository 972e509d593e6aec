"""What Haystack's retriever costs above `Collection.search`.

    python -m benchmarks.frameworks haystack

Definitions of WordNet from examples/wordnet; the calls take turns in one process, in an order that
changes, and medians are compared: with documents, without embeddings. What stands above a search
does not depend on how long it takes, so a small collection tells it best.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter_ns

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")

from benchmarks.dataset import Dataset, K, load
from requant.integration.haystack import RequantDocumentStore, RequantEmbeddingRetriever

ROWS, ROUNDS = 500, 10


def measured(found: Dataset, count: int) -> dict[str, float]:
    """Return microseconds a query: of the collection, and of what stands above it."""
    store = RequantDocumentStore(embedding_dim=found.vectors.shape[1])
    items = found.items[:ROWS]
    store.collection.upsert(
        [one["id"] for one in items], found.vectors[:ROWS],
        [one["text"] for one in items], [{"pos": one["pos"]} for one in items],
    )  # fmt: skip
    store.collection.flush()
    queries = found.queries[:count].astype(float).tolist()
    retriever = RequantEmbeddingRetriever(store, top_k=K)
    calls = {
        "Collection.search": lambda query: store.collection.search(query, K),
        "embedding_retrieval": lambda query: store.embedding_retrieval(query, top_k=K),
        "retriever.run": lambda query: retriever.run(query_embedding=query),
    }
    took: dict[str, list[int]] = {name: [] for name in calls}
    names, rng = list(calls), Random(0)
    for round in range(ROUNDS + 1):
        for query in queries:
            rng.shuffle(names)
            for name in names:
                call, begun = calls[name], perf_counter_ns()
                call(query)
                if round:  # the first warms up
                    took[name].append(perf_counter_ns() - begun)
    return {name: median(each) / 1000 for name, each in took.items()}


def main(data: Path | None, queries: int) -> None:
    took = measured(load(data), queries)
    base = took["Collection.search"]
    for name, micro in took.items():
        print(f"{name:22}{micro:9.1f} us a query{micro - base:+9.1f}")

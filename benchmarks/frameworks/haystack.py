"""What Haystack's retriever costs above `Collection.search`.

    python -m benchmarks.frameworks.haystack

Definitions of WordNet from examples/wordnet; the calls take turns in one process, in an order that
changes, and medians are compared: with documents, without embeddings. What stands above a search
does not depend on how long it takes, so a small collection tells it best.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter_ns

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")

import numpy as np

from requant.integration.haystack import RequantDocumentStore, RequantEmbeddingRetriever

WORDNET = Path(__file__).parents[2] / "examples" / "wordnet"
K = 10


def measured(rounds: int, n: int) -> dict[str, float]:
    """Return microseconds a query: of the collection, and of what stands above it."""
    store = RequantDocumentStore(embedding_dim=384)
    vectors = np.load(WORDNET / "vectors_f16.npy")[:n].astype(np.float32)
    with gzip.open(WORDNET / "items.jsonl.gz", "rt") as lines:
        items = [json.loads(line) for line, _ in zip(lines, vectors, strict=False)]
    store.collection.upsert(
        [one["id"] for one in items], vectors,
        [one["text"] for one in items], [{"pos": one["pos"]} for one in items],
    )  # fmt: skip
    store.collection.flush()
    queries = np.load(WORDNET / "queries_f16.npy").astype(float).tolist()
    retriever = RequantEmbeddingRetriever(store, top_k=K)
    calls = {
        "Collection.search": lambda query: store.collection.search(query, K),
        "embedding_retrieval": lambda query: store.embedding_retrieval(query, top_k=K),
        "retriever.run": lambda query: retriever.run(query_embedding=query),
    }
    took: dict[str, list[int]] = {name: [] for name in calls}
    names, rng = list(calls), Random(0)
    for round in range(rounds + 1):
        for query in queries:
            rng.shuffle(names)
            for name in names:
                call, begun = calls[name], perf_counter_ns()
                call(query)
                if round:  # the first warms up
                    took[name].append(perf_counter_ns() - begun)
    return {name: median(each) / 1000 for name, each in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--documents", type=int, default=500)
    given = parser.parse_args()
    took = measured(given.rounds, given.documents)
    base = took["Collection.search"]
    for name, micro in took.items():
        print(f"{name:22}{micro:9.1f} us a query{micro - base:+9.1f}")


if __name__ == "__main__":
    main()

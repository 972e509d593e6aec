"""One store of LangChain in a process of its own: recall, CPU and memory; run as a child.

python -m benchmarks.frameworks.langchain_child faiss|requant PLACE INDEX OVERSAMPLE VECTORS QUERIES
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from dataclasses import asdict
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from benchmarks.resident import resident

K = 10
ROUNDS = 3  # the first of which warms up what both read


class Numbered(Embeddings):
    """Embeds the text "7" as the query of that number."""

    def __init__(self, queries: Any) -> None:
        self._queries = queries

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        # As FAISS and requant are given it by most models: a list of floats.
        return self._queries[int(text)]


def opened(kind: str, place: str, embedding: Numbered) -> Any:
    """Open the store, with what it imports imported before."""
    if kind == "faiss":
        warnings.simplefilter("ignore")
        import faiss
        from langchain_community.vectorstores import FAISS

        faiss.omp_set_num_threads(1)
        before = resident()
        return before, FAISS.load_local(place, embedding, allow_dangerous_deserialization=True)
    import requant.adapters.faiss
    import requant.database  # noqa: F401
    from requant.integration.langchain import RequantVectorStore

    before = resident()
    return before, RequantVectorStore(embedding, place, metric="l2")


def main(kind: str, place: str, index: str, oversample: str, vectors: str, queries: str) -> None:
    """Search for every query, and print what that has cost."""
    rows = np.load(queries)
    before, store = opened(kind, place, Numbered(rows.tolist()))
    options: dict[str, Any] = {}
    if kind == "requant":
        store.collection.use_index(index)
        options["oversample"] = float(oversample)

    def ask(number: int, **more: Any) -> list[Any]:
        return store.similarity_search_with_score(str(number), k=K, **options, **more)

    for _ in range(ROUNDS):
        scores, seconds = [], []
        for number in range(len(rows)):
            begun = time.process_time()
            found = ask(number)
            seconds.append(time.process_time() - begun)
            # FAISS tells the squared distance, requant minus that.
            scores.append([abs(score) for _, score in found])
    memory = resident().beyond(before)
    some = range(min(len(rows), 50))
    filtered = [len(ask(number, filter={"pos": "adv"})) for number in some]
    stored = np.load(vectors, mmap_mode="r")
    print(
        json.dumps(
            {
                "recall": recall(stored, rows, np.array(scores)),
                "ms": float(np.median(seconds)) * 1e3,
                **asdict(memory),
                "filtered": float(np.mean(filtered)),
            }
        )
    )


def recall(stored: Any, queries: Any, distances: Any) -> float:
    """Return the share of results that are at least as near as the K-th nearest."""
    hits, rows = 0, np.asarray(stored, np.float32)
    lengths = np.einsum("nd,nd->n", rows, rows)
    for start in range(0, len(queries), 100):
        part = queries[start : start + 100]
        exact = np.einsum("nd,nd->n", part, part)[:, None] + lengths - 2 * (part @ rows.T)
        worst = np.partition(exact, K - 1, axis=1)[:, K - 1]
        hits += int((distances[start : start + 100] <= worst[:, None] + 1e-5).sum())
    return hits / (K * len(queries))


if __name__ == "__main__":
    main(*sys.argv[1:])

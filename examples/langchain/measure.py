"""One store in a process of its own: recall, milliseconds of CPU a query, memory beyond imports.

python measure.py KIND PLACE TEXTS QUERIES
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np

warnings.simplefilter("ignore")  # langchain-community says that nobody maintains it

from stores import opened  # noqa: E402
from wordnet import K, Recorded  # noqa: E402

# What a store imports when it is first used, none of which is what it holds.
IMPORTS = {
    "requant": ["requant.database", "requant.adapters.faiss"],
    "faiss": ["faiss", "langchain_community.vectorstores.faiss"],
    "qdrant": ["langchain_qdrant", "qdrant_client.local.qdrant_local"],
    "chroma": ["langchain_chroma", "chromadb.api.rust"],
}


def resident() -> float:
    """Return the megabytes that this process has of its own; mapped files are the page cache's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1e3


def main(kind: str, place: str, texts: int, queries: int) -> None:
    """Search, and print what it took."""
    embedding = Recorded()
    for module in IMPORTS[kind.partition("-")[0]]:
        import_module(module)
    before = resident()
    store = opened(kind, place, embedding)
    store.similarity_search(embedding.queries[0], k=K)
    found, seconds = [], []
    for query in embedding.queries[:queries]:
        begun = time.process_time()
        found.append(store.similarity_search(query, k=K))
        seconds.append(time.process_time() - begun)
    told = {
        "recall": round(embedding.recall(found, texts), 4),
        "ms": round(float(np.median(seconds)) * 1e3, 3),
        "resident_mb": round(resident() - before, 1),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

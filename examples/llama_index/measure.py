"""One store in a process of its own: recall, milliseconds of CPU a query, memory beyond imports.

python measure.py KIND PLACE NODES QUERIES
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
from stores import opened
from wordnet import recall

# What a store imports when it is first used, none of which is what it holds.
IMPORTS = {
    "requant": ["requant.database", "requant.adapters.usearch"],
    "simple": [],
    "qdrant": ["qdrant_client.local.qdrant_local"],
    "chroma": ["chromadb.api.rust"],
}


def resident() -> float:
    """Return the megabytes that this process has of its own; mapped files are the page cache's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1e3


def main(kind: str, place: str, nodes: int, queries: int) -> None:
    """Search, and print what it took."""
    for module in IMPORTS[kind]:
        import_module(module)
    before = resident()
    ask = opened(kind, place)
    ask(0)
    found, seconds = [], []
    for number in range(queries):
        begun = time.process_time()
        found.append(ask(number))
        seconds.append(time.process_time() - begun)
    told = {
        "recall": round(recall(found, nodes), 4),
        "ms": round(float(np.median(seconds)) * 1e3, 3),
        "resident_mb": round(resident() - before, 1),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

"""What searches take while an index is far behind: `python -m benchmarks.catching_up 64 384`.

25,000 rows are written beside an HNSW index of 20,000, and 100 searches follow. Each does a share
of the catching up and scores the rest; milliseconds of CPU of the thread that searches, since the
machine may have others to serve.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import requant
from benchmarks import inside
from requant.collection import Collection

START, MORE, SEARCHES = 20_000, 25_000, 100


def main() -> None:
    """Measure at each dimension that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dims", type=int, nargs="*", default=[64, 384])
    for dim in parser.parse_args().dims:
        print(measured(dim), flush=True)


def measured(dim: int) -> str:
    """Return a line of what was measured."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((START + MORE, dim), dtype=np.float32)
    queries = random.standard_normal((SEARCHES, dim), dtype=np.float32)
    with requant.open(":memory:") as db:
        items = db.create_collection("items", dim)
        items.upsert(range(START), rows[:START])
        items.add_index("hnsw", engine="faiss", precision="int8", index_type="hnsw")
        plain = float(np.median(times(items, queries)))
        items.upsert(range(START, START + MORE), rows[START:])
        first, *rest = times(items, queries)
        followed = inside.held(items, "hnsw") - START
        middle, most = float(np.median(rest)), max(rest)
    return (
        f"d={dim}: a search {plain:.1f} ms; behind: the first {first:.0f}, then {middle:.1f}, "
        f"at most {most:.0f}; {followed:,} of {MORE:,} rows followed by {SEARCHES} searches"
    )


def times(items: Collection, queries: np.ndarray) -> list[float]:
    """Return the CPU milliseconds of a search for each query."""
    found = []
    for query in queries:
        begun = time.thread_time()
        items.search(query)
        found.append((time.thread_time() - begun) * 1e3)
    return found


if __name__ == "__main__":
    main()

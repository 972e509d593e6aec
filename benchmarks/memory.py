"""What a process that only searches has in memory: its own MB above its imports, and mapped files.

python -m benchmarks.memory ours DB INDEX FACTOR QUERIES.npy
python -m benchmarks.memory edge|lance FOLDER FACTOR QUERIES.npy
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import lancedb
import numpy as np
import qdrant_edge as edge

import requant
import requant.database
from benchmarks.by_hand import Edge, Lance
from benchmarks.resident import resident

K = 10


def ours(path: str, index: str, factor: str) -> Callable[[np.ndarray], object]:
    """Open a database of ours."""
    items = requant.open(path).collection("wordnet")
    return lambda query: items.search(query, K, oversample=float(factor), index=index)


def by_edge(folder: str, factor: str) -> Callable[[np.ndarray], object]:
    """Open a shard that `Edge` made."""
    engine = Edge.__new__(Edge)
    engine.shard = edge.EdgeShard.load(folder)
    engine.oversample(float(factor))
    return lambda query: engine.ask(query, K)


def by_lance(folder: str, factor: str) -> Callable[[np.ndarray], object]:
    """Open a table that `Lance` made."""
    engine = Lance.__new__(Lance)
    engine.table, engine.half = lancedb.connect(folder).open_table("t"), False
    engine.metric, engine.refine = "dot", int(float(factor))
    return lambda query: engine.ask(query, K)


def main() -> None:
    """Search for every query, and print what that has cost."""
    kind, *arguments, queries = sys.argv[1:]
    rows = np.load(queries)
    before = resident()
    ask = {"ours": ours, "edge": by_edge, "lance": by_lance}[kind](*arguments)
    for query in rows:
        ask(query)
    print(resident().beyond(before))


if __name__ == "__main__":
    main()

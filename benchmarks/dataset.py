"""The data of the benchmarks: all of WordNet where it is given, else the subset in examples/."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rebuild_data import ITEMS, QUERY_VECTORS, VECTORS

SUBSET = Path(__file__).resolve().parent.parent / "examples" / "wordnet"
K = 10


@dataclass(frozen=True)
class Dataset:
    """Vectors `(n, 384) float32` with their items, queries, and what exact search scores."""

    vectors: NDArray[np.float32]
    items: list[dict[str, Any]]
    queries: NDArray[np.float32]
    worst: NDArray[np.float32]

    def recall(self, scores: NDArray[np.float32]) -> float:
        """Return recall@10 of exact `scores (q, 10)`, counted by distance.

        A hit is a result at least as near as the tenth nearest; exact duplicates tie.
        """
        return float((scores >= self.worst[: len(scores), None] - 1e-6).mean())


def load(folder: Path | None) -> Dataset:
    """Read the four files of the full data from `folder`, or those of the subset."""
    names = (VECTORS, ITEMS, QUERY_VECTORS)
    if folder is None:
        folder, names = SUBSET, ("vectors_f16.npy", "items.jsonl.gz", "queries_f16.npy")
    vectors = np.load(folder / names[0]).astype(np.float32)
    items = load_items(folder, names[1])
    queries = np.load(folder / names[2]).astype(np.float32)
    return Dataset(vectors, items, queries, _tenth_best(vectors, queries))


def load_items(folder: Path, name: str = ITEMS) -> list[dict[str, Any]]:
    """Read the items alone."""
    with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _tenth_best(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of the tenth nearest vector of each query."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    worst = np.empty(len(queries), np.float32)
    for start in range(0, len(queries), 250):
        part = queries[start : start + 250]
        scores = (part / np.linalg.norm(part, axis=1, keepdims=True)) @ unit.T
        worst[start : start + 250] = np.partition(scores, -K, axis=1)[:, -K]
    return worst

"""What FAISS answers, as candidates; and which rows it may answer with."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from requant.adapters.faiss.threads import OneThread
from requant.adapters.keys import Rows
from requant.adapters.protocol import Candidates, IndexSpec, Keys
from requant.quantizers.arrays import Codes


def ask(index: Any, vectors: NDArray[Any], k: int, params: Any) -> tuple[NDArray[Any], Keys]:
    """Search a FAISS index, for a single query on the caller's thread alone.

    FAISS spreads queries over its threads, never one query.
    """
    if len(vectors) > 1:
        distances, rows = index.search(vectors, k, params=params)
        return distances, rows
    with OneThread():
        distances, rows = index.search(vectors, k, params=params)
        return distances, rows


def candidates(
    spec: IndexSpec, distances: NDArray[Any], keys: Keys, k: int, codes: Codes | None = None
) -> Candidates:
    """Turn FAISS's `(q, m)` answer, in which `keys` are -1 where it found nothing, into ours."""
    if spec.metric == "ip":
        np.negative(distances, out=distances)
    return Candidates.padded(spec, keys, distances, k, codes)


def among_rows(rows: Rows, n: int) -> Any:
    """Return a selector of `rows` out of n; the caller keeps it alive during the search."""
    chosen = np.zeros(n, bool)
    chosen[rows] = True
    return faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))

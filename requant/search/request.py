"""What is searched for, and what is found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.filters import Filter
from requant.quantizers.arrays import Codes, Float32s

Found = tuple[Keys, Float32s]

MAX_K = 100_000


class Request(NamedTuple):
    """What is searched for: `queries (q, d) float32`, how many results, and how hard to try.

    Among the items that meet `condition` and whose keys, in order, are `keys`; None stands for all.
    Where `vectors (n, d)` of the keys have been read already, they are here. `recall` stands for
    as hard as the index was found to have to try for it.
    """

    queries: Float32s
    k: int
    oversample: float | None = None
    effort: int | None = None
    condition: Filter | None = None
    keys: Keys | None = None
    vectors: Float32s | None = None
    recall: float | None = None

    def known(self, keys: Keys | None) -> tuple[Keys, Float32s] | None:
        """Return some of the keys, in order, with their vectors, if these have been read."""
        if keys is None or self.keys is None or self.vectors is None:
            return None
        every = len(keys) == len(self.keys)
        return keys, self.vectors if every else self.vectors[np.searchsorted(self.keys, keys)]


class Asked(NamedTuple):
    """Queries as given, as they are scored, as the quantizer takes them, and encoded."""

    queries: Float32s
    exact: NDArray[np.float64]
    prepared: Float32s
    encoded: Codes

    def take(self, at: NDArray[np.intp]) -> Asked:
        """Return some of the queries."""
        return Asked(self.queries[at], self.exact[at], self.prepared[at], self.encoded[at])

"""What histories are drawn from: few ids, so that they meet again, and vectors by their seeds."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from hypothesis import strategies as st

from requant.quantizers.arrays import Float32s
from requant.store import Id

POOL: list[Id] = [*range(16), *"abcdefgh", "a long id with spaces, 'quotes' and ünïcode"]
WHO = st.integers(0, 1)
SEEDS = st.integers(0, 9999)
NUMBERS = st.integers(0, 4)
_IDS = st.lists(st.sampled_from(POOL), min_size=1, max_size=12, unique=True)
INDEXES = st.sampled_from(["one", "two", "three"])
_SHAPES = st.sampled_from(["vectors", "vectors", "all", "documents", "metadata", "none"])
_KINDS = st.sampled_from(["upsert", "upsert", "upsert", "add", "delete", "delete where"])

Kind = Literal["upsert", "add", "delete", "delete where"]
Shape = Literal["vectors", "all", "documents", "metadata", "none"]


class Change(NamedTuple):
    """One call that writes."""

    kind: Kind
    ids: list[Id]
    shape: Shape
    n: int
    seed: int

    def columns(
        self, dim: int
    ) -> tuple[Float32s | None, list[str | None] | None, list[dict[str, Any] | None] | None]:
        """Return vectors, documents and metadata, as far as the call gives them."""
        rows, shape = len(self.ids), self.shape
        vectors = some_vectors(rows, dim, self.seed) if shape in ("vectors", "all") else None
        documents: list[str | None] | None = None
        metadata: list[dict[str, Any] | None] | None = None
        if shape in ("documents", "all"):
            documents = [f"text {self.seed} {row}" if row % 3 else None for row in range(rows)]
        if shape in ("metadata", "all"):
            metadata = [{"n": (self.n + row) % 5} if row % 4 else None for row in range(rows)]
        return vectors, documents, metadata


CHANGES = st.builds(Change, _KINDS, _IDS, _SHAPES, NUMBERS, SEEDS)


def some_vectors(n: int, dim: int, seed: int) -> Float32s:
    """Return `(n, dim) float32`: most of them random, some equal, a few of them zero."""
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((n, dim)) * rng.uniform(0.5, 2, (n, 1))).astype(np.float32)
    if seed % 7 == 0:
        rows[::2] = rows[0]
    if seed % 11 == 0:
        rows[-1] = 0
    return rows

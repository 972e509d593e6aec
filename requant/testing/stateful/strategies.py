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
_SHAPES = st.sampled_from(["vectors", "vectors", "some", "all", "documents", "metadata", "none"])
_KINDS = st.sampled_from(
    ["upsert"] * 5
    + ["add", "skip", "last", "delete", "delete where", "update", "update where"] * 2
    + ["clear"]
)

Vectors = Float32s | list[Float32s | None] | None
Documents = list[str | None] | None
Metadata = list[dict[str, Any] | None] | None
Kind = Literal[
    "upsert", "add", "skip", "last", "delete", "delete where", "update", "update where", "clear"
]
Shape = Literal["vectors", "some", "all", "documents", "metadata", "none"]


class Change(NamedTuple):
    """One call that writes."""

    kind: Kind
    ids: list[Id]
    shape: Shape
    n: int
    seed: int

    @property
    def patch(self) -> dict[str, Any]:
        """A patch of metadata."""
        choices: list[dict[str, Any]] = [
            {"n": (self.n + 1) % 5}, {"n": None, "m": {"x": self.seed}}, {"m": {"x": None, "y": 1}},
            {"m": None}, {"m": [None]},
        ]  # fmt: skip
        return choices[self.seed % len(choices)]

    def columns(self, dim: int, ids: list[Id]) -> tuple[Vectors, Documents, Metadata]:
        """Return vectors, documents and metadata of `ids`, as far as the call gives them."""
        rows, shape = len(ids), self.shape
        vectors: Vectors = None
        if shape in ("vectors", "all", "some"):
            vectors = some_vectors(rows, dim, self.seed)
        if shape == "some" and vectors is not None:
            vectors = [None if row % 3 == 0 else vector for row, vector in enumerate(vectors)]
        documents: Documents = None
        metadata: Metadata = None
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
        rows[::2] = rows[:1]
    if seed % 11 == 0:
        rows[-1:] = 0
    return rows

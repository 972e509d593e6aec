"""int4 and int2: centred and rotated, then 16 or 4 Lloyd-Max levels of a Gaussian a dimension.

After a random rotation the coordinates of real embeddings are close to Gaussian, so the levels
that Lloyd (1982) and Max (1960) found best for a Gaussian need no training beyond one sigma.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from requant.quantizers.affine import Affine
from requant.quantizers.arrays import Codes, Float32s, as_vectors
from requant.quantizers.chunks import encode_in_chunks, row_slices
from requant.quantizers.codes import CodeMetric, CodeSpec, level_values, pack_levels
from requant.quantizers.serial import State

_COUNTS = {"int4": 16, "int2": 4}


@dataclass(frozen=True, eq=False)
class LevelQuantizer:
    """A level index a dimension; a query stays float32 and meets the levels' values.

    >>> q = LevelQuantizer.fit([[1.0, 0.0], [-1.0, 0.5]], "int2")
    >>> q.encode([[1.0, 0.25]]).shape
    (1, 1)
    """

    affine: Affine
    sigma: float
    format: Literal["int4", "int2"] = "int2"

    @classmethod
    def fit(
        cls, sample: ArrayLike, format: Literal["int4", "int2"] = "int2", *, seed: int = 0
    ) -> LevelQuantizer:
        """Learn mean and sigma from `sample (n, d)`; raises InputError on an empty one."""
        vectors = as_vectors(sample, name="sample")
        affine = Affine.fit(vectors, centred=True, rotated=True, seed=seed)
        return cls(affine, spread(vectors, affine.centre), format)

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        return self.affine.dim

    @property
    def spec(self) -> CodeSpec:
        """The shape of the codes, with the values of the levels."""
        levels = tuple(self.sigma * level for level in gaussian_levels(_COUNTS[self.format]))
        return CodeSpec(self.format, self.dim, levels)

    @property
    def metrics(self) -> tuple[CodeMetric, ...]:
        """Both metrics rank as the dequantized vectors do."""
        return ("ip", "l2")

    @property
    def uniform(self) -> bool:
        """All dimensions share one scale."""
        return True

    @property
    def oversample(self) -> float:
        """1.5 for int4 and 3 for int2 were measured on WordNet."""
        return 2.0 if self.format == "int4" else 4.0

    def encode(self, vectors: ArrayLike) -> Codes:
        """Return `(n, w) uint8`, level indices packed low bits first, of `vectors (n, d)`."""
        floats = as_vectors(vectors, self.dim, finite=False)
        return encode_in_chunks(floats, self.spec, self._kernel)

    def encode_query(self, vectors: ArrayLike, metric: CodeMetric) -> Codes:
        """Return queries `(q, d) float32` in the space of the levels."""
        floats = as_vectors(vectors, self.dim)
        if metric == "ip":
            return np.ascontiguousarray(self.affine.direction(floats))
        return self.affine.forward(floats, np.empty_like(floats))

    def decode(self, codes: Codes) -> Float32s:
        """Return the level values turned back, `(n, d) float32`."""
        return self.affine.backward(level_values(codes, self.spec))

    def state(self) -> State:
        """Return what makes it."""
        return State("levels", {"sigma": self.sigma, "format": self.format}, self.affine.arrays())

    @classmethod
    def from_state(cls, state: State) -> LevelQuantizer:
        """Undo `state`."""
        affine = Affine.from_arrays(dict(state.arrays))
        return cls(affine, state.fields["sigma"], state.fields["format"])

    def _kernel(self, rows: Float32s, scratch: Float32s, out: Codes) -> None:
        values = self.affine.forward(rows, scratch)
        levels = gaussian_levels(_COUNTS[self.format])
        indices = np.zeros(rows.shape, np.uint8)
        for low, high in pairwise(levels):
            indices += values > np.float32(self.sigma * (low + high) / 2)
        out[:] = pack_levels(indices, self.spec.bits)


def spread(vectors: Float32s, centre: Float32s | float = 0.0) -> float:
    """Return the root mean square of all values of `vectors (n, d) - centre`, 1 for constant data.

    A part at a time: in double precision a whole sample would be three times as large.
    """
    squares = 0.0
    for rows in row_slices(*vectors.shape):
        squares += float(np.square(vectors[rows] - centre, dtype=np.float64).sum())
    sigma = math.sqrt(squares / vectors.size)
    return sigma if sigma > float(np.finfo(np.float32).tiny) else 1.0


@cache
def gaussian_levels(count: int) -> tuple[float, ...]:
    """Return the `count` levels that quantize a standard Gaussian with the least squared error.

    Lloyd's iteration: each level is the mean of the Gaussian between the midpoints around it
    (Max, "Quantizing for minimum distortion", 1960).

    >>> [round(level, 4) for level in gaussian_levels(4)]
    [-1.5104, -0.4528, 0.4528, 1.5104]
    """
    levels = [4 * (2 * i + 1 - count) / count for i in range(count)]
    for _ in range(4000):
        edges = [
            -math.inf,
            *((a + b) / 2 for a, b in pairwise(levels)),
            math.inf,
        ]
        update = [_mean_between(a, b) for a, b in pairwise(edges)]
        moved = max(abs(a - b) for a, b in zip(update, levels, strict=True))
        levels = update
        if moved < 1e-12:
            break
    # Symmetrised, so that rounding does not tell left from right.
    return tuple((levels[i] - levels[-1 - i]) / 2 for i in range(count))


def _mean_between(a: float, b: float) -> float:
    def density(x: float) -> float:
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    mass = (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))) / 2
    return (density(a) - density(b)) / mass

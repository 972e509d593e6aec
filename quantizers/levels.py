"""int4 and int2: centred and rotated, then 16 or 4 Lloyd-Max levels of a Gaussian a dimension.

After a random rotation the coordinates of real embeddings are close to Gaussian, so the levels
that Lloyd (1982) and Max (1960) found best for a Gaussian need no training beyond one sigma.

Of vectors that are compared by angle (metric cosine) the codes are true to length and compared by
distance, see `requant.quantizers.lengths`; else each value gets its nearest level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from requant.quantizers.affine import Affine
from requant.quantizers.arrays import Codes, Float32s, as_vectors
from requant.quantizers.chunks import encode_in_chunks, row_slices
from requant.quantizers.codes import CodeMetric, CodeSpec, level_values, pack_levels, unpack_levels
from requant.quantizers.lengths import (
    Bools,
    Floats,
    how_many,
    is_count,
    is_stretched,
    largest,
    squared_lengths,
)
from requant.quantizers.serial import State

_COUNTS = {"int4": 16, "int2": 4}
# How much of the squared length of Gaussian values is left to their levels.
_KEPT = {"int4": 0.99050, "int2": 0.88252}
# How much more or less a code of int4 may be off in squared length than the one expected.
_OFF = 0.02
_TINY = np.float32(1e-9)


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
    true_to_length: bool = False

    @classmethod
    def fit(
        cls,
        sample: ArrayLike,
        format: Literal["int4", "int2"] = "int2",
        *,
        true_to_length: bool = False,
        seed: int = 0,
    ) -> LevelQuantizer:
        """Learn mean and sigma from `sample (n, d)`; raises InputError on an empty one."""
        vectors = as_vectors(sample, name="sample")
        affine = Affine.fit(vectors, centred=True, rotated=True, seed=seed)
        return cls(affine, spread(vectors, affine.centre), format, true_to_length)

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
        """Both rank as the dequantized vectors do; what is true to length, by distance."""
        return ("l2",) if self.true_to_length else ("ip", "l2")

    @property
    def uniform(self) -> bool:
        """All dimensions share one scale."""
        return True

    @property
    def oversample(self) -> float:
        """1.2 for int4 and 2.5 for int2 were measured on WordNet; 1.3 and 3 by products."""
        if self.format == "int4":
            return 2.0
        return 2.8 if self.true_to_length else 4.0

    def encode(self, vectors: ArrayLike) -> Codes:
        """Return `(n, w) uint8`, level indices packed low bits first, of `vectors (n, d)`."""
        floats = as_vectors(vectors, self.dim, finite=False)
        kernel = self._nearest
        if self.true_to_length:
            kernel = self._true_int4 if self.format == "int4" else self._true_int2
        return encode_in_chunks(floats, self.spec, kernel)

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
        fields = {"sigma": self.sigma, "format": self.format}
        if not self.true_to_length:
            return State("levels", fields, self.affine.arrays())
        return State("levels", {**fields, "true_to_length": True}, self.affine.arrays(), version=2)

    @classmethod
    def from_state(cls, state: State) -> LevelQuantizer:
        """Undo `state`."""
        affine = Affine.from_arrays(dict(state.arrays))
        true = bool(state.fields.get("true_to_length", False))
        return cls(affine, state.fields["sigma"], state.fields["format"], true)

    def stands_for(self, vectors: Float32s, codes: Codes) -> Bools:
        """Tell which `codes (n, w)` may be those of `vectors (n, d)`, whatever rounding does."""
        values = self.affine.scaled(vectors, np.empty_like(vectors), self.sigma)
        levels = np.asarray(gaussian_levels(_COUNTS[self.format]))
        edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
        indices = unpack_levels(codes, self.spec)
        good = is_stretched(values, edges[indices], edges[indices + 1])
        if self.format == "int2":
            counts = np.count_nonzero((indices == 0) | (indices == 3), axis=1)
            return good & is_count(counts, self._large_ones(values), self.dim)
        squares = squared_lengths(values)
        expected = unpack_levels(self.encode(vectors), self.spec)
        off, least = (np.abs(_ratio(levels[some], squares) - 1) for some in (indices, expected))
        return good & (off <= least + _OFF)

    def _large_ones(self, values: Float32s) -> Floats:
        """Return how many values of each row are to have the large level: `(n,)`, unrounded."""
        _, _, low, high = gaussian_levels(4)
        wanted = _KEPT["int2"] * squared_lengths(values) - low**2 * self.dim
        return np.asarray(wanted / (high**2 - low**2))

    def _true_int2(self, rows: Float32s, scratch: Float32s, out: Codes) -> None:
        values = self.affine.scaled(rows, scratch, self.sigma)
        counts = how_many(self._large_ones(values), self.dim)
        positive = values > 0
        large = largest(np.abs(values, out=values), counts)
        indices = positive.view(np.uint8) << np.uint8(1)
        indices |= (positive == large).view(np.uint8)
        out[:] = pack_levels(indices, 2)

    def _true_int4(self, rows: Float32s, scratch: Float32s, out: Codes) -> None:
        values = self.affine.scaled(rows, scratch, self.sigma)
        negative = (values <= 0).view(np.uint8) * np.uint8(15)
        sizes = np.abs(values, out=values)
        squares = squared_lengths(sizes)
        levels = np.asarray(gaussian_levels(16)[8:], np.float32)
        indices = _nearest_level(sizes, levels)
        ratio = _ratio(levels[indices], squares)
        sizes *= np.clip(ratio**-0.5, 0.5, 2).astype(np.float32)[:, None]
        again = _nearest_level(sizes, levels)
        nearer = np.abs(_ratio(levels[again], squares) - 1) < np.abs(ratio - 1)
        indices[nearer] = again[nearer]
        # Level 8 + i of a positive value is level 7 - i of a negative one.
        out[:] = pack_levels((indices | np.uint8(8)) ^ negative, 4)

    def _nearest(self, rows: Float32s, scratch: Float32s, out: Codes) -> None:
        values = self.affine.forward(rows, scratch)
        levels = gaussian_levels(_COUNTS[self.format])
        indices = np.zeros(rows.shape, np.uint8)
        for low, high in pairwise(levels):
            indices += values > np.float32(self.sigma * (low + high) / 2)
        out[:] = pack_levels(indices, self.spec.bits)


def _nearest_level(values: Float32s, levels: Float32s) -> NDArray[np.uint8]:
    """Return the index of the nearest of the ascending `levels` for each of `values (n, d)`."""
    indices = np.zeros(values.shape, np.uint8)
    for low, high in pairwise(levels):
        indices += values > (low + high) / 2
    return indices


def _ratio(decoded: Floats, squares: Float32s) -> Floats:
    """Return how long `decoded (n, d)` is beside what it should be, both squared: `(n,)`."""
    own = np.einsum("ij,ij->i", decoded, decoded)
    return np.asarray(own / np.maximum(np.float32(_KEPT["int4"]) * squares, _TINY))


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

"""int1: centred and rotated, then one of 16 points for each four dimensions: a bit a dimension.

One point is 0, the other 15 are spread over a sphere, so that the number of groups that are not 0
makes the length of a code. They were found by Lloyd's iteration on Gaussian values, as is the
radius: the mean product of such a group with its nearest direction. Signs of four dimensions,
which all have one length, need half as many candidates again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from requant.quantizers.affine import Affine
from requant.quantizers.arrays import Codes, Float32s, as_vectors
from requant.quantizers.chunks import encode_in_chunks
from requant.quantizers.codes import (
    POINT_BITS,
    POINT_DIMS,
    CodeMetric,
    CodeSpec,
    level_values,
    pack_levels,
    unpack_points,
)
from requant.quantizers.lengths import (
    ROUNDING,
    Bools,
    Floats,
    how_many,
    is_count,
    largest,
    squared_lengths,
)
from requant.quantizers.levels import spread
from requant.quantizers.serial import State

_DIRECTIONS = np.array(
    [
        [-0.9327, -0.2897, 0.0033, -0.2146],
        [-0.5649, 0.5803, -0.1408, 0.5694],
        [-0.4509, 0.7005, 0.2375, -0.4996],
        [-0.4074, 0.0315, -0.9126, -0.0143],
        [-0.4047, -0.5150, 0.0874, 0.7505],
        [-0.3489, 0.1157, 0.9068, 0.2063],
        [-0.0730, -0.5854, 0.5673, -0.5746],
        [-0.0171, -0.0443, -0.3650, -0.9298],
        [0.0414, -0.9035, -0.4190, -0.0806],
        [0.3348, 0.7805, -0.5104, -0.1353],
        [0.3981, -0.0749, -0.5710, 0.7141],
        [0.4549, 0.5666, 0.3301, 0.6025],
        [0.5701, -0.5366, 0.5078, 0.3595],
        [0.5714, 0.3686, 0.5570, -0.4769],
        [0.8910, -0.1931, -0.3159, -0.2629],
    ]
)
_NUMBERS = np.arange(1, 16, dtype=np.int32)[:, None]
_RADIUS = 1.7040
# How much of the squared length of Gaussian values is left to their points.
_KEPT = 0.65809

# How many products of directions and groups stand in a cache.
_PRODUCTS = 1 << 16


@dataclass(frozen=True, eq=False)
class PointQuantizer:
    """A point index for four dimensions; a query stays float32 and meets the points' values.

    >>> q = PointQuantizer.fit([[1.0, 0.0], [-1.0, 0.5]])
    >>> q.encode([[1.0, 0.25]]).shape
    (1, 1)
    """

    affine: Affine
    sigma: float
    true_to_length: bool = False

    @classmethod
    def fit(
        cls, sample: ArrayLike, *, true_to_length: bool = False, seed: int = 0
    ) -> PointQuantizer:
        """Learn mean and sigma from `sample (n, d)`; raises InputError on an empty one."""
        vectors = as_vectors(sample, name="sample")
        affine = Affine.fit(vectors, centred=True, rotated=True, seed=seed)
        return cls(affine, spread(vectors, affine.centre), true_to_length)

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        return self.affine.dim

    @property
    def groups(self) -> int:
        """How many points a code has."""
        return -(-self.dim // POINT_DIMS)

    @property
    def spec(self) -> CodeSpec:
        """The shape of the codes, with the values of the points; dimensions of zeros fill it up."""
        points = np.concatenate([np.zeros((1, POINT_DIMS)), _DIRECTIONS])
        values = points * (_RADIUS * self.sigma)
        return CodeSpec("int1", self.groups * POINT_DIMS, tuple(values.ravel().tolist()))

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
        """7.6 was measured on WordNet, and 10 of codes that are not true to length."""
        return 8.5 if self.true_to_length else 12.0

    def encode(self, vectors: ArrayLike) -> Codes:
        """Return `(n, w) uint8`, two point indices a byte, of `vectors (n, d)`."""
        floats = as_vectors(vectors, self.dim, finite=False)
        return encode_in_chunks(floats, self.spec, self._kernel)

    def encode_query(self, vectors: ArrayLike, metric: CodeMetric) -> Codes:
        """Return queries `(q, spec.dim) float32` in the space of the points."""
        floats = as_vectors(vectors, self.dim)
        if metric == "ip":
            return self._filled(self.affine.direction(floats))
        return self._filled(self.affine.forward(floats, np.empty_like(floats)))

    def decode(self, codes: Codes) -> Float32s:
        """Return the values of the points turned back, `(n, d) float32`."""
        values = level_values(codes, self.spec)[:, : self.dim]
        return self.affine.backward(np.ascontiguousarray(values))

    def state(self) -> State:
        """Return what makes it."""
        fields = {"sigma": self.sigma, "true_to_length": self.true_to_length}
        return State("points", fields, self.affine.arrays(), version=2)

    @classmethod
    def from_state(cls, state: State) -> PointQuantizer:
        """Undo `state`."""
        affine = Affine.from_arrays(dict(state.arrays))
        return cls(affine, state.fields["sigma"], bool(state.fields["true_to_length"]))

    def stands_for(self, vectors: Float32s, codes: Codes) -> Bools:
        """Tell which `codes (n, w)` may be those of `vectors (n, d)`, whatever rounding does."""
        values = self._filled(self.affine.scaled(vectors, np.empty_like(vectors), self.sigma))
        shape = len(values), self.groups
        products = _products(values).T.reshape(*shape, -1)
        most = products.max(axis=2)
        indices = unpack_points(codes, self.spec)
        there = indices > 0
        own = np.take_along_axis(products, np.maximum(indices, 1)[:, :, None] - 1, axis=2)[:, :, 0]
        good = (~there | (own >= most - ROUNDING)).all(axis=1)
        chosen = np.where(there, most, np.inf).min(axis=1)
        others = np.where(there, -np.inf, most).max(axis=1)
        good &= chosen >= others - ROUNDING
        counts = np.count_nonzero(there, axis=1)
        return np.asarray(good & is_count(counts, self._outer_ones(values), self.groups))

    def _filled(self, values: Float32s) -> Float32s:
        """Return `values (n, d)` with zeros behind, as many as fill the last group."""
        more = self.groups * POINT_DIMS - self.dim
        filled = np.pad(values, ((0, 0), (0, more))) if more else values
        return np.ascontiguousarray(filled)

    def _outer_ones(self, values: Float32s) -> Floats:
        """Return how many points of each row are not to be 0: `(n,)`, unrounded."""
        return squared_lengths(values) * np.float32(_KEPT / _RADIUS**2)

    def _kernel(self, rows: Float32s, scratch: Float32s, out: Codes) -> None:
        values = self._filled(self.affine.scaled(rows, scratch, self.sigma))
        sizes, indices = _nearest_points(values, self.groups)
        if self.true_to_length:
            outer = largest(sizes, how_many(self._outer_ones(values), self.groups))
        else:
            outer = sizes > _RADIUS / 2
        out[:] = pack_levels(indices * outer, POINT_BITS)


def _nearest_points(values: Float32s, groups: int) -> tuple[Float32s, NDArray[np.uint8]]:
    """Return the largest product of each group of `values (n, d)`, and whose: two `(n, groups)`.

    The last bits of a product make room for the number of its direction, so that one maximum tells
    both.
    """
    n = len(values)
    sizes, indices = np.empty((n, groups), np.float32), np.empty((n, groups), np.uint8)
    step = max(1, _PRODUCTS // (groups * len(_NUMBERS)))
    for start in range(0, n, step):
        products = _products(values[start : start + step])
        bits = products.view(np.int32)
        bits &= ~15
        bits |= _NUMBERS
        most = products.max(axis=0).reshape(-1, groups)
        sizes[start : start + step] = most
        indices[start : start + step] = most.view(np.int32) & 15
    return sizes, indices


def _products(values: Float32s) -> Float32s:
    """Return the products of the directions with each group of `values (n, d)`: `(15, n * g)`."""
    groups = values.reshape(-1, POINT_DIMS)
    if len(groups) == 1:
        # BLAS sums a lone row in another order, and codes must not depend on the batch.
        return _products(np.repeat(groups, 2, axis=0))[:, :1]
    return np.asarray(_DIRECTIONS.astype(np.float32) @ groups.T)

"""Binary codes: signs, or thermometers of 2 to 4 bits a dimension, compared by Hamming distance.

A thermometer of b bits writes the level 0..b of a value as that many ones, in b planes of `dim`
bits that follow one another, so Hamming distance counts the levels between two values. The
thresholds cut a Gaussian into b + 1 equally likely parts, which centring and a rotation make
true enough of real embeddings.

Of vectors that are compared by angle (metric cosine) thermometers of 2 bits are true to length, see
`requant.quantizers.lengths`: instead of a threshold, the number of outer levels is set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from requant.quantizers.affine import Affine
from requant.quantizers.arrays import Codes, Float32s, as_vectors
from requant.quantizers.chunks import encode_in_chunks
from requant.quantizers.codes import CodeMetric, CodeSpec
from requant.quantizers.errors import InputError
from requant.quantizers.lengths import (
    Bools,
    Floats,
    how_many,
    is_count,
    is_stretched,
    largest,
    squared_lengths,
)
from requant.quantizers.levels import spread
from requant.quantizers.serial import State


@dataclass(frozen=True, eq=False)
class BinaryQuantizer:
    """Bits a dimension: `bits` of them, set where `rotate(x - centre)` exceeds each threshold.

    Without centre and rotation `bits=1` gives the ubinary codes of sentence-transformers.

    >>> BinaryQuantizer.signs(8).encode([[1, -1, 1, 0, 0, 0, 0, 2]]).tolist()
    [[161]]
    """

    affine: Affine | None
    bits: int
    sigma: float
    width: int
    by_distance: bool = False

    @classmethod
    def fit(
        cls,
        sample: ArrayLike,
        bits: int = 2,
        *,
        centre: bool = True,
        rotate: bool = True,
        true_to_length: bool = False,
        seed: int = 0,
    ) -> BinaryQuantizer:
        """Learn mean and sigma from `sample (n, d)`.

        What is to be `true_to_length` is, if it is centred, estimated by distance; codes of 2 bits
        are made for it.

        Raises:
            InputError: `bits` is not 1, 2, 3 or 4, or the sample is empty.
        """
        if type(bits) is not int or not 1 <= bits <= 4:
            raise InputError(f"binary codes have 1, 2, 3 or 4 bits a dimension, not {bits!r}")
        vectors = as_vectors(sample, name="sample")
        if not len(vectors):
            raise InputError("a quantizer cannot be fitted on an empty sample")
        if not (centre or rotate):
            return cls(None, bits, spread(vectors), vectors.shape[1])
        affine = Affine.fit(vectors, centred=centre, rotated=rotate, seed=seed)
        by_distance = true_to_length and centre
        return cls(affine, bits, spread(vectors, affine.centre), affine.dim, by_distance)

    @classmethod
    def signs(cls, dim: int) -> BinaryQuantizer:
        """Return the quantizer of plain signs, which needs no sample."""
        return cls(None, 1, 1.0, dim)

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        return self.width

    @property
    def spec(self) -> CodeSpec:
        """The shape of the codes: `bits` x `dim` bits a row."""
        return CodeSpec("binary", self.bits * self.dim)

    @property
    def metrics(self) -> tuple[CodeMetric, ...]:
        """Bits have one metric."""
        return ("hamming",)

    @property
    def true_to_length(self) -> bool:
        """Whether the number of outer levels makes the length of a code."""
        return self.by_distance and self.bits == 2

    @property
    def uniform(self) -> bool:
        """All dimensions share their thresholds."""
        return True

    @cached_property
    def thresholds(self) -> tuple[np.float32, ...]:
        """The `bits` cuts, ascending."""
        normal = NormalDist()
        shares = [(i + 1) / (self.bits + 1) for i in range(self.bits)]
        return tuple(np.float32(self.sigma * normal.inv_cdf(share)) for share in shares)

    @property
    def oversample(self) -> float:
        """73 for plain signs, 52 for centred ones, 14, 7.6 and 6 for 2 to 4 bits were measured.

        Of 2 bits that are true to length 11, or 13 where a third of them is kept by `estimate`.
        """
        if self.true_to_length:
            return 14.0
        return {1: 60.0, 2: 16.0, 3: 10.0, 4: 8.0}[self.bits] if self.affine else 80.0

    def encode(self, vectors: ArrayLike) -> Codes:
        """Return `(n, ceil(bits * d / 8)) uint8` of `vectors (n, d)`."""
        floats = as_vectors(vectors, self.dim, finite=False)
        kernel = self._true if self.true_to_length else self._kernel
        return encode_in_chunks(floats, self.spec, kernel)

    def encode_query(self, vectors: ArrayLike, metric: CodeMetric) -> Codes:
        """Return queries in the form of documents."""
        return self.encode(vectors)

    def decode(self, codes: Codes) -> Float32s:
        """Return `(n, d) float32`: for each value the mean of its level under a Gaussian."""
        levels = self._bit_array(codes).reshape(len(codes), self.bits, self.dim).sum(axis=1)
        means = np.asarray(_level_means(self.bits), np.float32) * np.float32(self.sigma)
        values: Float32s = means[levels]
        return self.affine.backward(values) if self.affine else values

    def estimate(self, query: Float32s, codes: Codes) -> Float32s:
        """Return how near `codes (m, w)` are to one query `(1, d) float32`, higher is nearer.

        The query keeps its floats, so candidates that tie by Hamming distance are told apart
        before their vectors are fetched: `(m,) float32`, up to a constant the inner product with
        the levels, or their squared distance, halved and negated.
        """
        if self.affine and self.by_distance:
            weights = self._distance_weights(self.affine.forward(query, np.empty_like(query))[0])
        else:
            turned = self.affine.direction(query) if self.affine else query
            weights = np.concatenate([turned[0]] * self.bits)
        scores: Float32s = self._bit_array(codes).astype(np.float32) @ weights
        return scores

    def state(self) -> State:
        """Return what makes it."""
        fields = {"bits": self.bits, "sigma": self.sigma, "dim": self.width}
        if not (self.affine and self.by_distance):
            return State("binary", fields, self.affine.arrays() if self.affine else {})
        return State("binary", {**fields, "by_distance": True}, self.affine.arrays(), version=2)

    @classmethod
    def from_state(cls, state: State) -> BinaryQuantizer:
        """Undo `state`."""
        affine = Affine.from_arrays(dict(state.arrays)) if state.arrays else None
        by_distance = affine is not None and bool(state.fields.get("by_distance", False))
        fields = state.fields
        return cls(affine, fields["bits"], fields["sigma"], fields["dim"], by_distance)

    def stands_for(self, vectors: Float32s, codes: Codes) -> Bools:
        """Tell which `codes (n, w)` may be those of `vectors (n, d)`, whatever rounding does."""
        assert self.affine is not None
        values = self.affine.scaled(vectors, np.empty_like(vectors), self.sigma)
        edges = np.array([-np.inf, *self.thresholds, np.inf]) / self.sigma
        planes = self._bit_array(codes).reshape(len(codes), 2, self.dim)
        levels = planes.sum(axis=1)
        good = is_stretched(values, edges[levels], edges[levels + 1])
        good &= (planes[:, 0] >= planes[:, 1]).all(axis=1)  # level 1 is written in one way only
        counts = np.count_nonzero(levels != 1, axis=1)
        return good & is_count(counts, self._outer_ones(values), self.dim)

    def _distance_weights(self, query: Float32s) -> Float32s:
        """Return weights of the bits that make their sum a distance from `query (d,)`, negated.

        Up to a constant a query: a bit tells that a value is the mean of the next higher level.
        """
        means = [mean * self.sigma for mean in _level_means(self.bits)]
        weights = [query * (b - a) - (b * b - a * a) / 2 for a, b in pairwise(means)]
        return np.concatenate(weights).astype(np.float32)

    def _outer_ones(self, values: Float32s) -> Floats:
        """Return how many values of each row are to have an outer level: `(n,)`, unrounded."""
        return squared_lengths(values) * np.float32(2 / 3)

    def _true(self, rows: Float32s, scratch: Float32s, out: Codes) -> None:
        assert self.affine is not None
        values = self.affine.scaled(rows, scratch, self.sigma)
        counts = how_many(self._outer_ones(values), self.dim)
        positive = values > 0
        outer = largest(np.abs(values, out=values), counts)
        _pack_planes([positive | ~outer, positive & outer], out)

    def _bit_array(self, codes: Codes) -> Codes:
        return np.unpackbits(codes, axis=1, count=self.bits * self.dim)

    def _kernel(self, rows: Float32s, scratch: Float32s, out: Codes) -> None:
        values = self.affine.forward(rows, scratch) if self.affine else rows
        _pack_planes((values > threshold for threshold in self.thresholds), out)


def _pack_planes(planes: Iterable[Bools], out: Codes) -> None:
    """Pack bit planes `(n, d)`, one after the other, into the rows of `out`."""
    first, *others = planes
    n, dim = first.shape
    if dim % 8:
        out[:] = np.packbits(np.concatenate([first, *others], axis=1), axis=1)
        return
    # Each plane fills whole bytes, so it can be packed flat, without a row at a time.
    width = dim // 8
    for number, plane in enumerate([first, *others]):
        packed = np.packbits(plane.reshape(-1))
        out[:, number * width : (number + 1) * width] = packed.reshape(n, width)


def _level_means(bits: int) -> list[float]:
    """Return the means of the `bits + 1` equally likely parts of a standard Gaussian."""
    normal = NormalDist()
    count = bits + 1
    edges = [0.0, *(normal.pdf(normal.inv_cdf(i / count)) for i in range(1, count)), 0.0]
    return [count * (low - high) for low, high in pairwise(edges)]

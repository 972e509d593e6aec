"""Codes that are true to length: each as long, on the scale of the codes, as its vector.

Rounding each value alone makes codes a little too long or too short, each in its own way, which a
distance between codes takes for farness. So as many of the largest values of a row are given the
large level as make its length right: the row is stretched before it is rounded. Distances from
such codes rank as those from the vectors, also where all vectors lie in one direction from the
origin: an inner product would mix the errors of the codes with the large mean.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Codes, Float32s

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]

# How far rounding may carry a value, in units of sigma, on another processor.
ROUNDING = 1e-4


@runtime_checkable
class Stretching(Protocol):
    """A quantizer whose codes are true to length if it says so."""

    @property
    def true_to_length(self) -> bool:
        """Whether they are."""
        ...

    def stands_for(self, vectors: Float32s, codes: Codes) -> Bools:
        """Tell which `codes (n, w)` may be those of `vectors (n, d)`, whatever rounding does."""
        ...


def squared_lengths(values: Float32s) -> Float32s:
    """Return the squared length of each row of `values (n, d)`: `(n,) float32`."""
    squares: Float32s = np.einsum("ij,ij->i", values, values)
    return squares


def how_many(wishes: Floats, most: int) -> NDArray[np.int64]:
    """Round `wishes (n,)` to whole numbers from 0 to `most`."""
    wishes = np.clip(np.nan_to_num(wishes, nan=0.0, posinf=most), 0, most)
    return np.rint(wishes).astype(np.int64)


def largest(sizes: Float32s, counts: NDArray[np.int64]) -> Bools:
    """Tell which are the `counts (n,)` largest of each row of `sizes (n, d)`; the first, of equals.

    >>> largest(np.float32([[1, 3, 2, 2], [5, 5, 5, 5]]), np.array([2, 0])).tolist()
    [[False, True, True, False], [False, False, False, False]]
    """
    n, d = sizes.shape
    least = np.sort(sizes, axis=1)[np.arange(n), np.minimum(d - counts, d - 1)]
    least[counts == 0] = np.inf
    chosen: Bools = sizes >= least[:, None]
    surplus = np.count_nonzero(chosen, axis=1) - counts
    tied = np.flatnonzero(surplus)
    if len(tied):
        equal = sizes[tied] == least[tied, None]
        keep = np.count_nonzero(equal, axis=1) - surplus[tied]
        chosen[tied] &= ~(equal & (np.cumsum(equal, axis=1) > keep[:, None]))
    return chosen


def is_count(counts: NDArray[np.int64], wishes: Floats, most: int) -> Bools:
    """Tell where `counts (n,)` are `wishes (n,)` rounded, whichever way rounding took."""
    slack = 0.5 + 10 * ROUNDING + 1e-5 * counts  # a sum of squares is rounded by its own size
    near: Bools = np.abs(counts - np.clip(wishes, 0, most)) <= slack
    return near


def is_stretched(values: Float32s, lower: Floats, upper: Floats) -> Bools:
    """Tell which rows of `values (n, d)` lie from `lower` to `upper` once they are stretched.

    By one factor a row, whatever it is; at a border a value may be on either side.
    """
    sizes = np.maximum(np.abs(values, dtype=np.float64), 1e-9)
    falling = values < 0
    low = np.where(falling, -upper, lower) - ROUNDING
    high = np.where(falling, -lower, upper) + ROUNDING
    least = np.maximum((low / sizes).max(axis=1), 0)
    most = (high / sizes).min(axis=1)
    return np.asarray(least <= most)

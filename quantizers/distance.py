"""The reference: distances between codes in plain NumPy, by which every engine is judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.codes import CodeMetric, CodeSpec, level_values
from requant.quantizers.errors import UnsupportedError

_POPCOUNT = np.array([bin(i).count("1") for i in range(256)], np.uint16)


def code_distances(queries: Codes, codes: Codes, spec: CodeSpec, metric: CodeMetric) -> Float32s:
    """Distances from queries `(q, w')` to codes `(n, w)`, `(q, n) float32`, lower is nearer.

    `ip` gives the negated inner product, `l2` the squared Euclidean distance, `hamming` the number
    of bits that differ. Integer formats are exact while a distance stays below 2**53.

    Raises:
        UnsupportedError: the metric has no meaning on the format.

    >>> spec = CodeSpec("int8", 2)
    >>> a = np.array([[1, 2]], np.int8)
    >>> code_distances(a, np.array([[3, 4], [1, 2]], np.int8), spec, "l2").tolist()
    [[8.0, 0.0]]
    """
    if (metric == "hamming") != (spec.format == "binary"):
        raise UnsupportedError(
            f"metric {metric!r} has no meaning on {spec.format} codes: binary codes have hamming, "
            "all others ip and l2"
        )
    if metric == "hamming":
        return np.stack([_POPCOUNT[codes ^ query].sum(axis=1) for query in queries]).astype(
            np.float32
        )
    left, right = queries.astype(np.float64), _values(codes, spec)
    products = left @ right.T
    if metric == "ip":
        return (-products).astype(np.float32)
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :]
    distances: Float32s = np.maximum(squares - 2 * products, 0).astype(np.float32)
    return distances


def _values(codes: Codes, spec: CodeSpec) -> NDArray[np.float64]:
    return (level_values(codes, spec) if spec.levels else codes).astype(np.float64)

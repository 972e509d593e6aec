"""Similarities of embeddings of any precision, right where casting codes to float is wrong.

An int8 or uint8 code says which 255th of its dimension's range a value lies in, and each dimension
has a range of its own: without the ranges the numbers of two dimensions cannot be compared, let
alone multiplied (cast to float32, true similarities 0.5185 / 0.1390 become -0.2233 / -0.5458).
A byte of a binary code is eight signs, not a number.

(Not called `similarity`: importing a module of that name would hide `requant.similarity`, which is
the function.)
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from requant.embeddings.calibration import Calibration
from requant.embeddings.tensors import as_array, like
from requant.errors import DimensionError, InputError
from requant.quantizers.arrays import Float32s, check_finite
from requant.quantizers.chunks import rows_for
from requant.quantizers.dialect_codes import Scalar
from requant.scores import Metric, lengths_of, rounded, score_many

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
Ranges = Calibration | ArrayLike | str

_PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")
_METRICS = ("cosine", "ip", "l2")
# 6 MB of float64 at 384 dimensions.
_ROWS = 2048


def similarity(
    a: Any,
    b: Any,
    *,
    metric: Metric = "cosine",
    precision: Precision | None = None,
    calibration: Ranges | tuple[Ranges | None, Ranges | None] | None = None,
    dim: int | None = None,
) -> Any:
    """Return how similar every row of `a` is to every row of `b`, higher is better.

    Args:
        a: `(n, d)` floats, `(n, d)` int8 or uint8 codes, or `(n, ceil(d / 8))` packed bits; one
            row may be one-dimensional. NumPy arrays, torch tensors or lists.
        b: `(m, ...)`, likewise; the two sides may differ in precision.
        metric: `cosine`, `ip` (inner product) or `l2` (negated squared distance).
        precision: what the integers are: int8, uint8, binary or ubinary. Not needed where
            the shape tells codes of a calibration, or of a float other side, from packed bits.
        calibration: the ranges of int8 and uint8 codes: a `Calibration`, its path, or an array
            `(2, d)`; a tuple where the two sides have one each.
        dim: dimensions of packed bits on both sides, where it is no multiple of 8.

    Bits stand for +1 and -1, codes for the middle of their cells; neither is ever multiplied as an
    integer. Works in chunks: beside the result, memory is bounded by some thousand rows.

    Returns:
        `(n, m) float32`: a tensor if either side is one.

    Raises:
        InputError: int8 or uint8 codes without a calibration, or of another dtype than
            `precision` has; DimensionError: the two sides do not fit; NonFiniteError.

    >>> import numpy as np
    >>> similarity([[3.0, 4.0]], [[4.0, 3.0], [-3.0, -4.0]]).round(2).tolist()
    [[0.9599999785423279, -1.0]]
    >>> codes = np.array([[255, 255], [0, 255]], np.uint8)
    >>> similarity(codes, [[1.0, 0.0]], calibration=[[-1, -1], [1, 1]]).round(2).tolist()
    [[0.7099999785423279], [-0.7099999785423279]]
    """
    left, right = _sides(a, b, metric, precision, calibration, dim)
    out = np.empty((len(left), len(right)), np.float32)
    step = rows_for(left.dim, _ROWS)
    for i in range(0, len(left), step):
        rows = left.floats(slice(i, i + step))
        for j in range(0, len(right), step):
            columns = right.floats(slice(j, j + step))
            out[i : i + step, j : j + step] = _block(rows, columns, metric)
    return like(out, a, b)


def pairwise_similarity(
    a: Any,
    b: Any,
    *,
    metric: Metric = "cosine",
    precision: Precision | None = None,
    calibration: Ranges | tuple[Ranges | None, Ranges | None] | None = None,
    dim: int | None = None,
) -> Any:
    """Return how similar row i of `a` is to row i of `b`, `(n,) float32`.

    Arguments and errors are those of `similarity`; DimensionError if the numbers of rows differ.

    >>> pairwise_similarity([[3.0, 4.0], [0.0, 1.0]], [[3.0, 4.0], [1.0, 0.0]]).tolist()
    [1.0, 0.0]
    """
    left, right = _sides(a, b, metric, precision, calibration, dim)
    if len(left) != len(right):
        raise DimensionError(f"a has {len(left)} rows and b {len(right)}: pairs need as many")
    out = np.empty(len(left), np.float32)
    step = rows_for(left.dim, _ROWS)
    for i in range(0, len(left), step):
        part = slice(i, i + step)
        out[part] = pair_scores(left.floats(part), right.floats(part), metric)
    return like(out, a, b)


def pair_scores(left: Float32s, right: Float32s, metric: Metric) -> Float32s:
    """Return the exact scores of row i of `left (n, d)` against row i of `right (n, d)`."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    if metric == "l2":
        a -= b
        return rounded(-np.einsum("ij,ij->i", a, a))
    products = np.einsum("ij,ij->i", a, b)
    if metric == "cosine":
        products /= lengths_of(a)
        products /= lengths_of(b)
    return rounded(products)


class _Side:
    """One argument: rows, and how they become floats."""

    def __init__(
        self, rows: NDArray[Any], precision: str, ranges: Ranges | None, dim: int, name: str
    ) -> None:
        self._rows = rows
        self._precision = precision
        self.dim = dim
        self._name = name
        self._quantizer = None
        if precision in ("int8", "uint8"):
            if ranges is None:
                raise InputError(_no_ranges(name, precision))
            scalar: Scalar = "int8" if precision == "int8" else "uint8"
            self._quantizer = Calibration.of(ranges).quantizer(scalar)
            if self._quantizer.dim != rows.shape[1]:
                raise DimensionError(
                    f"{name} has {rows.shape[1]} dimensions, its calibration {self._quantizer.dim}"
                )

    def __len__(self) -> int:
        return len(self._rows)

    def floats(self, part: slice) -> Float32s:
        rows = self._rows[part]
        if self._quantizer is not None:
            return self._quantizer.decode(rows)
        if self._precision in ("binary", "ubinary"):
            return signs(rows, self._precision, self.dim)
        with np.errstate(over="ignore"):
            floats = np.ascontiguousarray(rows, np.float32)
        check_finite(floats, self._name, part.start)
        return floats


def signs(codes: NDArray[Any], precision: str, dim: int) -> Float32s:
    """Unpack binary (int8) or ubinary (uint8) codes `(n, w)` into +1 and -1, `(n, dim) float32`.

    >>> signs(np.array([[160]], np.uint8), "ubinary", 4).tolist()
    [[1.0, -1.0, 1.0, -1.0]]
    """
    raw = codes.view(np.uint8) ^ np.uint8(0x80) if precision == "binary" else codes
    bits = np.unpackbits(raw, axis=1, count=dim).astype(np.float32)
    bits *= 2
    bits -= 1
    return bits


def _sides(
    a: Any, b: Any, metric: str, precision: str | None, calibration: Any, dim: int | None
) -> tuple[_Side, _Side]:
    if metric not in _METRICS:
        raise InputError(f"unknown metric {metric!r}: choose one of {', '.join(_METRICS)}")
    if precision is not None and precision not in _PRECISIONS:
        raise InputError(f"unknown precision {precision!r}: choose one of {', '.join(_PRECISIONS)}")
    arrays = _matrix(a, "a"), _matrix(b, "b")
    ranges = calibration if isinstance(calibration, tuple) else (calibration, calibration)
    ranges = tuple(None if one is None else Calibration.of(one) for one in ranges)
    known = _known_dim(arrays, ranges, dim)
    kinds = [
        _precision_of(array, precision, known, name)
        for array, name in zip(arrays, "ab", strict=True)
    ]
    dims = [_dim_of(array, kind, known) for array, kind in zip(arrays, kinds, strict=True)]
    if dims[0] != dims[1]:
        raise DimensionError(f"a has {dims[0]} dimensions ({kinds[0]}), b {dims[1]} ({kinds[1]})")
    left, right = (_Side(*side) for side in zip(arrays, kinds, ranges, dims, "ab", strict=True))
    return left, right


def _matrix(value: Any, name: str) -> NDArray[Any]:
    try:
        array = as_array(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name} cannot be read as an array: {error}") from error
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.shape[1]:
        raise InputError(
            f"{name} must be (n, d) real numbers, not {array.dtype} of shape {array.shape}"
        )
    return array


def _known_dim(arrays: Any, ranges: Any, dim: int | None) -> int | None:
    """Return the dimensions that a calibration or a float side tells."""
    for one in ranges:
        if one is not None and dim is None:
            return int(one.dim)
    for array in arrays:
        if dim is None and array.dtype not in (np.int8, np.uint8):
            return int(array.shape[1])
    return dim


def _precision_of(array: NDArray[Any], precision: str | None, known: int | None, name: str) -> str:
    if array.dtype not in (np.int8, np.uint8):
        return "float32"  # whatever the other side is
    signed = array.dtype == np.int8
    scalar, packed = ("int8", "binary") if signed else ("uint8", "ubinary")
    if precision in (scalar, packed):
        return precision
    if precision is not None and precision != "float32":
        raise InputError(f"{name} holds {array.dtype} codes, and {precision} codes have another")
    width = array.shape[1]
    if known is not None and width in (known, -(-known // 8)):
        return scalar if width == known else packed
    raise InputError(_no_ranges(name, scalar))


def _dim_of(array: NDArray[Any], kind: str, known: int | None) -> int:
    width = int(array.shape[1])
    if kind not in ("binary", "ubinary"):
        return width
    return known if known is not None and -(-known // 8) == width else width * 8


def _no_ranges(name: str, precision: str) -> str:
    packed = "binary" if precision == "int8" else "ubinary"
    return (
        f"{name} holds {precision} numbers, and a similarity of them needs to know what they "
        f"stand for. A code says which 255th of its own dimension's range a value lies in: "
        "cast to float, dimensions with different ranges are multiplied as if they were "
        "alike, which gives wrong similarities. Pass calibration= (the Calibration, or the "
        f"ranges (2, d), that made the codes), or precision={packed!r} if they are packed bits"
    )


def _block(rows: Float32s, columns: Float32s, metric: Metric) -> Float32s:
    if metric != "l2":
        return score_many(rows, columns, metric)
    a, b = rows.astype(np.float64), columns.astype(np.float64)
    squares = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)
    return rounded(-np.maximum(squares - 2 * (a @ b.T), 0))

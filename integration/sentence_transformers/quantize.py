"""`quantize_embeddings`: the codes of sentence-transformers, several times as fast."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from requant.embeddings import Calibration, as_array, column_ranges, to_numpy
from requant.errors import DimensionError, InputError
from requant.quantizers.arrays import check_finite
from requant.quantizers.dialect_codes import Release, Scalar, min_max_codes, sign_codes

logger: logging.Logger = logging.getLogger(__name__)

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
Ranges = ArrayLike | Calibration | str | Path
Array = NDArray[Any]

# Below this many embeddings their ranges are a guess, says sentence-transformers.
FEW = 100


def quantize_embeddings(
    embeddings: Any,
    precision: Precision,
    ranges: Ranges | None = None,
    calibration_embeddings: Any = None,
    *,
    dialect: Release = "6",
) -> Any:
    """Return embeddings as codes, equal bit for bit to those of sentence-transformers.

    Args:
        embeddings: `(n, d)` or `(d,)` floats: NumPy arrays, torch tensors (bfloat16 too), lists
            of either, or a list of `(n_i, d)` matrices, which share their ranges.
        precision: float32; int8 or uint8, `(n, d)`; binary or ubinary, `(n, ceil(d / 8))` int8
            or uint8, eight signs a byte.
        ranges: `(2, d)` minima and maxima, a `Calibration`, or the path of a saved one.
        calibration_embeddings: `(m, d)`, to take the ranges from; else they are taken from
            `embeddings`, and then a text has other codes in every batch.
        dialect: "6" for the codes of sentence-transformers 6 (and 5.7), "5" for those of its
            releases up to 5.1, whose values outside the ranges wrap.

    Returns:
        The codes; `[]` for `[]`, a list for a list of matrices, `(0, d)` for `(0, d)`.

    Raises:
        InputError: int8 or uint8 input, an unknown precision or dialect, or ranges that would
            come from a single embedding.
        DimensionError: ranges of another width; NonFiniteError: NaN or infinity.

    >>> quantize_embeddings([[0.5, 9.0], [1.0, 0.0]], "uint8", ranges=[[0, 0], [1, 9]]).tolist()
    [[127, 254], [254, 0]]
    >>> quantize_embeddings([[0.5, -0.5, 1.0]], "ubinary").tolist()
    [[160]]
    """
    _check_names(precision, dialect)
    if isinstance(embeddings, (list, tuple)):
        if not len(embeddings):
            return []
        matrices = [to_numpy(one) for one in embeddings]
        if getattr(matrices[0], "ndim", 0) == 2:
            return _matrices(matrices, precision, ranges, calibration_embeddings, dialect)
    array = as_floats(embeddings)
    if array.ndim == 2 and not len(array) and array.shape[1]:
        return _nothing(array.shape[1], precision)
    if precision == "float32":
        return array.astype(np.float32)
    rows = array.reshape(-1, array.shape[-1])
    if precision in ("binary", "ubinary"):
        codes = sign_codes(rows)
        if precision == "binary":
            np.bitwise_xor(codes, np.uint8(0x80), out=codes)
            codes = codes.view(np.int8)
    else:
        if array.ndim > 2 and ranges is None and calibration_embeddings is None:
            raise InputError(f"ranges are taken from (n, d) embeddings, not {array.shape}")
        ends = resolve_ranges(array, precision, ranges, calibration_embeddings)
        own = ranges is None and calibration_embeddings is None
        codes = scalar_codes(rows, ends, cast("Scalar", precision), dialect, own=own)
    return codes.reshape(*array.shape[:-1], -1)


def scalar_codes(
    rows: Array, ranges: Array, precision: Scalar, dialect: Release, *, own: bool = False
) -> Array:
    """Return the codes of `rows (n, d)`; raises DimensionError if the ranges do not fit.

    `own` says that the ranges are those of the rows themselves.
    """
    if ranges.shape != (2, rows.shape[1]):
        raise DimensionError(
            f"the embeddings have {rows.shape[1]} dimensions, their ranges have shape "
            f"{ranges.shape} instead of (2, {rows.shape[1]})"
        )
    return min_max_codes(rows, ranges, precision, dialect, own=own)


def resolve_ranges(
    embeddings: Array, precision: str, ranges: Ranges | None, calibration_embeddings: Any
) -> Array:
    """Return `(2, d)` ranges: the given ones, else the calibration set's, else the batch's own.

    Raises InputError if the batch is a single embedding, and logs a warning below 100.
    """
    if isinstance(ranges, (Calibration, str, Path)):
        return Calibration.of(ranges).ranges
    if ranges is not None:
        given = as_array(ranges)
        Calibration.of(given)  # which refuses what cannot be a pair of ends
        return given
    if calibration_embeddings is not None:
        return _ends(as_floats(calibration_embeddings))
    if embeddings.ndim == 1 or len(embeddings) == 1:
        raise InputError(
            f"Cannot compute {precision} quantization ranges from a single embedding. "
            "Call `quantize_embeddings` with `ranges` or `calibration_embeddings` "
            "from a representative set of embeddings instead."
        )
    if len(embeddings) < FEW:
        logger.warning(
            "Computing %s quantization buckets based on %d embeddings. %s quantization is more "
            "stable with `ranges` calculated from more embeddings or a `calibration_embeddings` "
            "that can be used to calculate the buckets.",
            precision,
            len(embeddings),
            precision,
        )
    return _ends(embeddings)


def as_floats(embeddings: Any) -> Array:
    """Return embeddings as an array of reals; raises InputError if they are codes already."""
    try:
        array = as_array(embeddings)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"the embeddings cannot be read as an array: {error}") from error
    if array.dtype in (np.uint8, np.int8):
        raise InputError("Embeddings to quantize must be float rather than int8 or uint8.")
    if array.dtype.kind not in "fiu" or not array.ndim or not array.shape[-1]:
        raise InputError(
            f"embeddings must be (n, d) real numbers, not {array.dtype} of shape {array.shape}"
        )
    return array


def _check_names(precision: str, dialect: str) -> None:
    if precision not in get_args(Precision):
        raise InputError(f"Precision {precision!r} is not supported")
    if dialect not in get_args(Release):
        raise InputError(f"unknown dialect {dialect!r}: choose '6' or '5'")


def _matrices(
    matrices: list[Any], precision: Precision, ranges: Any, calibration: Any, dialect: Release
) -> list[Any]:
    """Quantize multi-vector documents; all of them share their ranges."""
    if precision in ("int8", "uint8") and ranges is None:
        if calibration is not None:
            ranges = resolve_ranges(matrices[0], precision, None, calibration)
        else:
            every = np.concatenate([as_floats(matrix) for matrix in matrices])
            if len(every):
                ranges = resolve_ranges(every, precision, None, None)
    return [
        quantize_embeddings(matrix, precision, ranges, calibration, dialect=dialect)
        for matrix in matrices
    ]


def _nothing(dim: int, precision: str) -> Array:
    width = dim if precision in ("float32", "int8", "uint8") else -(-dim // 8)
    dtypes = {"float32": np.float32, "int8": np.int8, "binary": np.int8}
    return np.zeros((0, width), dtypes.get(precision, np.uint8))


def _ends(array: Array) -> Array:
    if array.ndim != 2 or not len(array):
        raise InputError(f"ranges are taken from (n, d) embeddings, not from shape {array.shape}")
    ends = column_ranges(array)
    if not np.isfinite(ends).all():
        check_finite(array)
    return ends

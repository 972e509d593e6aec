"""Vectors as they arrive, checked once: every other module may rely on what leaves here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from requant.quantizers.errors import DimensionError, InputError, NonFiniteError

Float32s = NDArray[np.float32]
Codes = NDArray[Any]

_SMALL = 4096
_FLOAT32 = np.dtype(np.float32)


def as_vectors(
    vectors: ArrayLike, dim: int | None = None, name: str = "vectors", *, finite: bool = True
) -> Float32s:
    """Return `vectors` as a C-contiguous `(n, d) float32` array, without a copy where possible.

    Accepts lists, NumPy arrays of any real dtype, and whatever offers `__array__` (torch
    tensors on the CPU, Arrow arrays). `finite=False` leaves the search for NaN to the caller.

    Raises:
        InputError: not two-dimensional, empty width, ragged, or not made of real numbers.
        DimensionError: `dim` is given and the width is another.
        NonFiniteError: a row holds NaN or infinity, or overflows float32.

    >>> as_vectors([[1, 2], [3, 4]]).dtype
    dtype('float32')
    """
    array = _real_array(vectors, name)
    if array.ndim != 2:
        hint = "; wrap one vector in a list" if array.ndim == 1 else ""
        raise InputError(f"{name} must have shape (n, d), not {array.shape}{hint}")
    if array.shape[1] == 0:
        raise InputError(f"{name} have no dimensions: shape {array.shape}")
    if dim is not None and array.shape[1] != dim:
        raise DimensionError(f"{name}: {array.shape[1]} dimensions, expected {dim}")
    if array.dtype == _FLOAT32:
        floats: Float32s = np.ascontiguousarray(array)
    else:
        with np.errstate(over="ignore"):
            floats = np.ascontiguousarray(array, dtype=np.float32)
    if finite:
        check_finite(floats, name)
    return floats


def as_vector(vector: ArrayLike, dim: int, name: str = "vector") -> Float32s:
    """Return one vector, `(d,)` or `(1, d)`, as `(1, d) float32`; raises as `as_vectors` does."""
    array = _real_array(vector, name)
    if array.dtype == _FLOAT32 and array.shape == (dim,):  # as mostly
        floats: Float32s = np.ascontiguousarray(array).reshape(1, dim)
        check_finite(floats, name)
        return floats
    if array.ndim == 2 and array.shape[0] != 1:
        raise InputError(f"{name} must be one vector of {dim} numbers, not shape {array.shape}")
    return as_vectors(array.reshape(1, -1) if array.ndim == 1 else array, dim, name)


def check_finite(floats: Float32s, name: str = "vectors", first_row: int = 0) -> None:
    """Raise NonFiniteError naming the first row of `(n, d)` that holds NaN or infinity.

    `first_row` is the number of the first row, for a caller that checks in parts.
    """
    if floats.size > _SMALL:
        # A sum of squares is finite only if every term is, and BLAS is fast at it; a second look
        # is taken only on suspicion (the sum may overflow).
        flat = floats.reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(np.dot(flat, flat)):
                return
    finite = np.isfinite(floats)
    if np.count_nonzero(finite) < finite.size:  # half the time of `all` for one vector
        bad = ~finite.all(axis=1)
        row = int(bad.argmax())
        column = int((~np.isfinite(floats[row])).argmax())
        raise NonFiniteError(
            f"{name} row {first_row + row} holds {floats[row, column]} in dimension {column}: "
            "drop the row or embed its text again"
        )


def _real_array(values: ArrayLike, name: str) -> NDArray[Any]:
    if type(values) is np.ndarray and values.dtype == _FLOAT32:
        return values
    refuse_masked(values, name)
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name} cannot be read as an array: {error}") from error
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise InputError(
            f"{name} must hold real numbers (float16, float32, float64 or integers), "
            f"not dtype {array.dtype}"
        )
    return array


def refuse_masked(values: ArrayLike, name: str) -> None:
    """Raise InputError for masked entries: NumPy would take what is behind the mask for real."""
    if isinstance(values, list | tuple):
        masks = [
            isinstance(row, np.ma.MaskedArray) and bool(np.ma.getmaskarray(row).any())
            for row in values
        ]
        masked = masks.index(True) if True in masks else None
    elif isinstance(values, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(values)
        rows = mask.reshape(len(mask) if mask.ndim > 1 else 1, -1).any(axis=1)
        masked = int(rows.argmax()) if rows.any() else None
    else:
        return
    if masked is not None:
        raise InputError(
            f"{name} row {masked} has masked entries, which have no value: fill them (array.filled"
            "(...)) or drop the row"
        )

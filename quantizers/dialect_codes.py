"""sentence-transformers' codes, bit for bit, from vectors of any real dtype, chunk by chunk.

Release "6" (6.x, and 5.7): `uint8 = clip(floor((x - min) / step), 0, 255)` with float32 ranges,
`step = (max - min) / 255` or 1 where that is 0, `int8 = uint8 - 128`. Release "5" (3.x to 5.1):
ranges in their own dtype, no clipping, and a cast that truncates towards zero after the shift:
half of its int8 codes differ by one, and values outside the ranges wrap.
Sources: `sentence_transformers/util/quantization.py` of 6.2.0, `quantization.py` of 5.1.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Codes, check_finite
from requant.quantizers.threads import in_parts

Release = Literal["5", "6"]
Scalar = Literal["int8", "uint8"]

# 1 MB of float32, measured: smaller chunks pay for their calls, larger ones leave the cache.
_FLOATS = 1 << 18
# Numbers that a thread encodes, at least: some milliseconds.
_PART = 1 << 22
# Constants are repeated to this length: ufuncs pay for every row that they broadcast over.
_TILE = 6144


def bounds(ranges: NDArray[Any], release: Release = "6") -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the lower ends and the steps `(d,)` of `ranges (2, d)`, in the release's dtype."""
    ranges = ranges.astype(np.float32, copy=False) if release == "6" else ranges
    steps: NDArray[Any] = (ranges[1] - ranges[0]) / 255
    if release == "6":
        steps = np.where(steps == 0, steps.dtype.type(1), steps)
    return ranges[0], steps


def min_max_codes(
    values: NDArray[Any],
    ranges: NDArray[Any],
    format: Scalar,
    release: Release = "6",
    *,
    own: bool = False,
) -> Codes:
    """Return the `(n, d)` int8 or uint8 codes of `values (n, d)` of any real dtype.

    Intermediates have the dtype of `values` promoted with that of the ranges, as in the original.
    `own` says that finite `ranges` are those of `values` themselves, which need no clipping then.

    Raises:
        NonFiniteError: a row holds NaN or infinity.

    >>> ends = np.array([[0, 0], [255, 510]], np.float32)
    >>> min_max_codes(np.array([[3.7, 600.0]], np.float32), ends, "uint8").tolist()
    [[3, 255]]
    """
    n, dim = values.shape
    starts, steps = bounds(ranges, release)
    work = np.result_type(values.dtype, starts.dtype, np.float16)
    out = np.empty((n, dim), np.uint8)
    encode = _clipped if release == "6" else _wrapped
    if own and release == "6" and values.dtype == ranges.dtype == np.float32:
        with np.errstate(over="ignore", invalid="ignore"):
            # Not so where a range overflows, or is too small for a step of its own.
            encode = _inside if ((ranges[1] - starts) / steps < 256).all() else _clipped
    ends = starts.astype(work), steps.astype(work)

    def part(some: slice) -> None:
        _encode(values[some], out[some], ends, format, encode, some.start)

    in_parts(n, max(1, _PART // dim), part)
    return out.view(np.int8) if format == "int8" else out


def _encode(
    values: NDArray[Any],
    out: Codes,
    ends: tuple[NDArray[Any], NDArray[Any]],
    format: Scalar,
    encode: Callable[..., None],
    first_row: int,
) -> None:
    """Encode rows, of which the first is `first_row` of all, with these starts and steps."""
    n, dim = values.shape
    tile = max(1, min(_TILE, _FLOATS) // dim)
    many = max(1, _FLOATS // (dim * tile)) * tile
    scratch = np.empty(min(n, many) * dim, ends[0].dtype)
    wide = np.tile(ends[0], tile), np.tile(ends[1], tile)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for first in range(0, n, many):
            chunk, codes = values[first : first + many], out[first : first + many]
            whole = len(chunk) // tile * tile
            for part, constants, width in (
                (slice(whole), wide, tile * dim),
                (slice(whole, None), ends, dim),
            ):
                rows = np.ascontiguousarray(chunk[part])
                if len(rows):
                    shape = (-1, width)
                    room = scratch[: rows.size].reshape(shape)
                    np.subtract(rows.reshape(shape), constants[0], out=room)
                    np.divide(room, constants[1], out=room)
                    place = first_row + first + (part.start or 0)
                    encode(room, rows, codes[part].reshape(shape), format, place)


def sign_codes(values: NDArray[Any]) -> Codes:
    """Return the packed bits `x > 0` of `values (n, d)`: `(n, ceil(d / 8)) uint8`, "ubinary".

    Raises:
        NonFiniteError: a row holds NaN or infinity.

    >>> sign_codes(np.array([[1.0, -1, 1, 0, 0, 0, 0, 2]])).tolist()
    [[161]]
    """
    n, dim = values.shape
    out = np.empty((n, -(-dim // 8)), np.uint8)
    many = max(1, _FLOATS // dim)
    scratch = np.empty(min(n, many) * dim, bool)
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, n, many):
            rows = values[first : first + many]
            flat = rows.reshape(-1)
            # A sum of products is finite only if every factor is; on suspicion, row by row.
            half = (len(flat) + 1) // 2
            if flat.dtype.kind == "f" and not math.isfinite(np.dot(flat[:half], flat[-half:])):
                check_finite(rows, first_row=first)
            bits = np.greater(flat, 0, out=scratch[: len(flat)])
            # Rows that fill whole bytes can be packed flat, without a row at a time.
            fits = dim % 8 == 0
            packed = np.packbits(bits) if fits else np.packbits(bits.reshape(rows.shape), axis=1)
            out[first : first + many] = packed.reshape(len(rows), -1)
    return out


def _clipped(
    room: NDArray[Any], rows: NDArray[Any], codes: Codes, format: Scalar, first: int
) -> None:
    # What lies in [0, 256) is finite, needs no clipping, and the cast floors it; NaN fails this.
    if not (room.min() >= 0 and room.max() < 256):
        check_finite(rows, first_row=first)
        np.clip(room, 0, 255, out=room)
    np.copyto(codes, room, casting="unsafe")
    if format == "int8":
        np.bitwise_xor(codes, np.uint8(0x80), out=codes)  # - 128 in two's complement


def _inside(
    room: NDArray[Any], rows: NDArray[Any], codes: Codes, format: Scalar, first: int
) -> None:
    # From 0 to 255 and a rounding: the cast floors it.
    np.copyto(codes, room, casting="unsafe")
    if format == "int8":
        np.bitwise_xor(codes, np.uint8(0x80), out=codes)


def _wrapped(
    room: NDArray[Any], rows: NDArray[Any], codes: Codes, format: Scalar, first: int
) -> None:
    check_finite(rows, first_row=first)
    if format == "int8":
        room -= 128
        np.copyto(codes.view(np.int8), room, casting="unsafe")
    else:
        np.copyto(codes, room, casting="unsafe")

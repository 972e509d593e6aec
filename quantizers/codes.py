"""What a code is: its format, its width, and how levels and bits are packed into bytes.

Codes cross every border in one form, whatever the engine:

| format            | array           | one row                                                   |
|-------------------|-----------------|-----------------------------------------------------------|
| float32, float16  | `(n, d)`        | the vector                                                |
| native            | `(n, d) float32`| the vector, which the engine compresses in its own way    |
| int8, uint8       | `(n, d)`        | one integer a dimension                                   |
| int4              | `(n, w) uint8`  | two 4-bit level indices a byte, low nibble first          |
| int2              | `(n, w) uint8`  | four 2-bit level indices a byte, lowest bits first        |
| int1              | `(n, w) uint8`  | two 4-bit point indices a byte, each for four dimensions  |
| binary            | `(n, w) uint8`  | bits, most significant first, as `np.packbits` lays them |

A query has the form of a document, except for int4, int2 and int1: their query is the float32
vector itself, since an engine compares it with the *values* of the levels or points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.errors import InputError

Format = Literal["float32", "float16", "int8", "uint8", "int4", "int2", "int1", "binary", "native"]
CodeMetric = Literal["ip", "l2", "hamming"]
FORMATS: tuple[Format, ...] = get_args(Format)

_FLOATS: np.dtype[Any] = np.dtype(np.float32)
_BYTES: np.dtype[Any] = np.dtype(np.uint8)
_DTYPES: dict[Format, np.dtype[Any]] = {
    "float32": _FLOATS, "native": _FLOATS, "float16": np.dtype(np.float16),
    "int8": np.dtype(np.int8),
}  # fmt: skip
_BITS: dict[Format, int] = {
    "float32": 32, "float16": 16, "int8": 8, "uint8": 8, "int4": 4, "int2": 2, "int1": 1,
    "binary": 1, "native": 32,
}  # fmt: skip
# An index of int1 stands for so many dimensions together.
POINT_DIMS = 4
POINT_BITS = 4
_LEVELS: dict[Format, int] = {"int4": 16, "int2": 4, "int1": 16 * POINT_DIMS}


@dataclass(frozen=True)
class CodeSpec:
    """The shape of a code: `dim` values of one format.

    `dim` counts values: for `binary` the bits of a row before padding to whole bytes, for `int1` a
    multiple of 4. `levels` are the values that the indices of int4 (16) and int2 (4) stand for;
    of int1 they are 16 points of four values, one point after the other.

    >>> CodeSpec("int2", 6, levels=(-1.5, -0.5, 0.5, 1.5)).width
    2
    """

    format: Format
    dim: int
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no quantizer makes."""
        if self.format not in FORMATS:
            raise InputError(f"unknown code format {self.format!r}: choose one of {FORMATS}")
        if self.dim < 1:
            raise InputError(f"a code needs at least one value a row, not {self.dim}")
        wanted = _LEVELS.get(self.format, 0)
        if len(self.levels) != wanted:
            raise InputError(f"{self.format} has {wanted} levels, not {len(self.levels)}")
        # Equal levels could not be told apart by an engine that keeps values instead of indices.
        levels = np.asarray(self.levels, np.float32)
        if self.format == "int1":
            if self.dim % POINT_DIMS:
                raise InputError(f"int1 has a multiple of {POINT_DIMS} values, not {self.dim}")
            apart = len(np.unique(levels.reshape(-1, POINT_DIMS), axis=0)) == 16
        else:
            apart = bool((levels[1:] > levels[:-1]).all())
        if not (np.isfinite(levels).all() and apart):
            raise InputError(
                f"levels must be finite and ascend (the points of int1: differ) in float32, not "
                f"{self.levels}"
            )

    @property
    def bits(self) -> int:
        """Bits of one value."""
        return _BITS[self.format]

    @property
    def packed(self) -> bool:
        """Whether several values share a byte."""
        return self.bits < 8

    @property
    def width(self) -> int:
        """Columns of the code array."""
        return -(-self.dim * self.bits // 8) if self.packed else self.dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the code array."""
        return _DTYPES.get(self.format, _BYTES)

    @property
    def query_dtype(self) -> np.dtype[Any]:
        """Dtype of an encoded query: float32 for level codes, else that of the codes."""
        return _FLOATS if self.levels else self.dtype

    @property
    def query_width(self) -> int:
        """Columns of an encoded query: `dim` for level codes, else `width`."""
        return self.dim if self.levels else self.width

    @property
    def row_bytes(self) -> int:
        """Bytes of one code."""
        return self.width * self.dtype.itemsize


def pack_levels(levels: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Pack level indices `(n, d) uint8`, each below `2**bits`, into `(n, w) uint8`.

    >>> pack_levels(np.array([[1, 2, 3, 0, 1]], np.uint8), 2).tolist()
    [[57, 1]]
    """
    per_byte = 8 // bits
    n, d = levels.shape
    if d % per_byte:
        padded = np.zeros((n, -(-d // per_byte) * per_byte), np.uint8)
        padded[:, :d] = levels
        levels = padded
    out = levels[:, 0::per_byte].copy()
    for place in range(1, per_byte):
        out |= levels[:, place::per_byte] << np.uint8(place * bits)
    return out


def unpack_levels(codes: Codes, spec: CodeSpec) -> NDArray[np.uint8]:
    """Undo `pack_levels`: `(n, w) uint8` to level indices `(n, d) uint8`.

    >>> spec = CodeSpec("int2", 5, levels=(0.0, 1.0, 2.0, 3.0))
    >>> unpack_levels(np.array([[57, 1]], np.uint8), spec).tolist()
    [[1, 2, 3, 0, 1]]
    """
    if spec.format == "int1":
        raise InputError("int1 has points, not levels: level_values tells their values")
    return _unpacked(codes, spec.bits)[:, : spec.dim]


def _unpacked(codes: Codes, bits: int) -> NDArray[np.uint8]:
    per_byte = 8 // bits
    out = np.empty((len(codes), codes.shape[1] * per_byte), np.uint8)
    mask = np.uint8(2**bits - 1)
    for place in range(per_byte):
        np.bitwise_and(codes >> np.uint8(place * bits), mask, out=out[:, place::per_byte])
    return out


def unpack_points(codes: Codes, spec: CodeSpec) -> NDArray[np.uint8]:
    """Return the point indices of int1 codes `(n, w) uint8`: `(n, dim / 4)`."""
    return _unpacked(codes, POINT_BITS)[:, : spec.dim // POINT_DIMS]


def level_values(codes: Codes, spec: CodeSpec) -> Float32s:
    """Replace packed indices of levels or points `(n, w) uint8` by their values: float32 `(n, d)`.

    >>> points = [[float(n >> place & 1) for place in range(4)] for n in range(16)]
    >>> spec = CodeSpec("int1", 8, levels=tuple(np.ravel(points).tolist()))
    >>> level_values(np.array([[0x51]], np.uint8), spec).tolist()
    [[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0]]
    """
    levels = np.asarray(spec.levels, np.float32)
    if spec.format != "int1":
        return np.take(levels, unpack_levels(codes, spec))
    points = levels.reshape(-1, POINT_DIMS)
    return np.take(points, unpack_points(codes, spec), axis=0).reshape(len(codes), spec.dim)


def levels_to_thermometer(codes: Codes, spec: CodeSpec) -> NDArray[np.uint8]:
    """Turn packed level codes into bits whose Hamming distance counts the levels between two rows.

    A row of L levels becomes L - 1 bit planes of `dim` bits each, plane p telling "level > p"; the
    planes follow one another. Returns `(n, ceil(dim * (L - 1) / 8)) uint8`.
    """
    levels = unpack_levels(codes, spec)
    planes = [levels > p for p in range(len(spec.levels) - 1)]
    return np.packbits(np.concatenate(planes, axis=1), axis=1)

"""What a code is: its format, its width, and how levels and bits are packed into bytes.

Codes cross every border in one form, whatever the engine:

| format            | array           | one row                                                   |
|-------------------|-----------------|-----------------------------------------------------------|
| float32, float16  | `(n, d)`        | the vector                                                |
| native            | `(n, d) float32`| the vector, which the engine compresses in its own way    |
| int8, uint8       | `(n, d)`        | one integer a dimension                                   |
| int4              | `(n, w) uint8`  | two 4-bit level indices a byte, low nibble first          |
| int2              | `(n, w) uint8`  | four 2-bit level indices a byte, lowest bits first        |
| binary            | `(n, w) uint8`  | bits, most significant first, as `np.packbits` lays them |

A query has the form of a document, except for int4 and int2: their query is the float32 vector
itself, since an engine compares it with the *values* of the levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.errors import InputError

Format = Literal["float32", "float16", "int8", "uint8", "int4", "int2", "binary", "native"]
CodeMetric = Literal["ip", "l2", "hamming"]
FORMATS: tuple[Format, ...] = get_args(Format)

_FLOATS: np.dtype[Any] = np.dtype(np.float32)
_BYTES: np.dtype[Any] = np.dtype(np.uint8)
_DTYPES: dict[Format, np.dtype[Any]] = {
    "float32": _FLOATS, "native": _FLOATS, "float16": np.dtype(np.float16),
    "int8": np.dtype(np.int8),
}  # fmt: skip
_BITS: dict[Format, int] = {
    "float32": 32, "float16": 16, "int8": 8, "uint8": 8, "int4": 4, "int2": 2, "binary": 1,
    "native": 32,
}  # fmt: skip


@dataclass(frozen=True)
class CodeSpec:
    """The shape of a code: `dim` values of one format.

    `dim` counts values, so for `binary` it is the number of bits of a row, before padding to
    whole bytes. `levels` are the values that the indices of int4 (16) and int2 (4) stand for.

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
        wanted = {"int4": 16, "int2": 4}.get(self.format, 0)
        if len(self.levels) != wanted:
            raise InputError(f"{self.format} has {wanted} levels, not {len(self.levels)}")
        # Equal levels could not be told apart by an engine that keeps values instead of indices.
        levels = np.asarray(self.levels, np.float32)
        if not (np.isfinite(levels).all() and (levels[1:] > levels[:-1]).all()):
            raise InputError(f"levels must be finite and ascend in float32, not {self.levels}")

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
    per_byte = 8 // spec.bits
    out = np.empty((len(codes), codes.shape[1] * per_byte), np.uint8)
    mask = np.uint8(2**spec.bits - 1)
    for place in range(per_byte):
        np.bitwise_and(codes >> np.uint8(place * spec.bits), mask, out=out[:, place::per_byte])
    return out[:, : spec.dim]


def level_values(codes: Codes, spec: CodeSpec) -> Float32s:
    """Replace packed level indices `(n, w) uint8` by their values, `(n, d) float32`."""
    return np.take(np.asarray(spec.levels, np.float32), unpack_levels(codes, spec))


def levels_to_thermometer(codes: Codes, spec: CodeSpec) -> NDArray[np.uint8]:
    """Turn packed level codes into bits whose Hamming distance counts the levels between two rows.

    A row of L levels becomes L - 1 bit planes of `dim` bits each, plane p telling "level > p"; the
    planes follow one another. Returns `(n, ceil(dim * (L - 1) / 8)) uint8`.
    """
    levels = unpack_levels(codes, spec)
    planes = [levels > p for p in range(len(spec.levels) - 1)]
    return np.packbits(np.concatenate(planes, axis=1), axis=1)

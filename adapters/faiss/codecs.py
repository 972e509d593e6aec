"""Between our codes and what FAISS takes, keeps and hands back; nothing here imports FAISS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.codes import POINT_DIMS, CodeSpec, Format, level_values

Bytes = NDArray[np.uint8]


class Codec(Protocol):
    """One code format, as FAISS wants it."""

    @property
    def dims(self) -> int:
        """Dimensions of the FAISS index (bits for binary)."""

    @property
    def row_bytes(self) -> int:
        """Bytes that FAISS keeps of one code."""

    def stored(self, codes: Codes) -> Bytes:
        """Return what FAISS keeps of `codes`, `(n, row_bytes) uint8`."""

    def codes(self, stored: Bytes) -> Codes:
        """Undo `stored`."""

    def vectors(self, codes: Codes) -> NDArray[Any]:
        """Return `codes` as FAISS's functions take them: float32, or bytes for binary."""

    def queries(self, queries: Codes) -> NDArray[Any]:
        """Return queries as FAISS's functions take them."""


@dataclass(frozen=True)
class NumberCodec:
    """float32, float16, int8, uint8: kept as they are, given to FAISS as float32."""

    dims: int
    row_bytes: int
    dtype: np.dtype[Any]
    # QT_8bit_direct_signed keeps value + 128, which is the sign bit flipped.
    flip: int = 0

    def stored(self, codes: Codes) -> Bytes:
        """Return the bytes of `codes`."""
        raw: Bytes = codes.view(np.uint8)
        return raw ^ np.uint8(self.flip) if self.flip else raw

    def codes(self, stored: Bytes) -> Codes:
        """Return a copy of the codes that `stored` holds."""
        raw = stored ^ np.uint8(self.flip)
        return raw.view(self.dtype)

    def vectors(self, codes: Codes) -> Float32s:
        """Return `codes` as float32, which holds each of these formats exactly."""
        return codes.astype(np.float32, copy=False)

    queries = vectors


@dataclass(frozen=True)
class BitCodec:
    """binary: bytes all the way."""

    dims: int
    row_bytes: int

    def stored(self, codes: Codes) -> Bytes:
        """Return `codes`."""
        return codes

    def codes(self, stored: Bytes) -> Codes:
        """Return a copy of `stored`."""
        return stored.copy()

    def vectors(self, codes: Codes) -> Bytes:
        """Return `codes`."""
        return codes

    def queries(self, codes: Codes) -> Bytes:
        """Return `codes`."""
        return codes


@dataclass(frozen=True)
class LevelCodec:
    """int4, int2, int1: a nibble stands for the values of `per_nibble` dimensions, up to `dims`.

    A nibble of int1 is a point of four dimensions, all of which are there. Our packing of int2 puts
    the level of dimension 2m in bits 0-1 of nibble m and that of 2m + 1 in bits 2-3, so a packed
    row *is* the row of product-quantizer codes.
    """

    spec: CodeSpec
    nibbles: int
    per_nibble: int

    @property
    def dims(self) -> int:
        """Dimensions of the FAISS index."""
        return self.nibbles * self.per_nibble

    @property
    def row_bytes(self) -> int:
        """Bytes of a row: two nibbles each."""
        return self.spec.width

    def stored(self, codes: Codes) -> Bytes:
        """Return `codes`."""
        return codes

    def codes(self, stored: Bytes) -> Codes:
        """Return a copy of `stored`."""
        return stored.copy()

    def vectors(self, codes: Codes) -> Float32s:
        """Return the values of the levels, `(n, dims) float32`."""
        return self._padded(level_values(codes, self.spec))

    def queries(self, queries: Codes) -> Float32s:
        """Return float32 queries, padded to `dims`."""
        return self._padded(queries)

    def centroids(self) -> Float32s:
        """Return the value of each nibble, `(nibbles, 16, per_nibble) float32`."""
        levels = np.asarray(self.spec.levels, np.float32)
        if self.spec.format == "int1":
            return np.repeat(levels.reshape(1, 16, POINT_DIMS), self.nibbles, axis=0)
        nibble = np.arange(16)
        shifts = np.arange(self.per_nibble) * self.spec.bits
        grid = levels[nibble[:, None] >> shifts & (len(levels) - 1)]
        centroids: Float32s = np.repeat(grid[None], self.nibbles, axis=0)
        if self.dims > self.spec.dim:
            # The padding is 0 in codes and queries and adds nothing to any distance. Its values
            # differ all the same: among equal centroids FAISS's choice depends on the processor.
            centroids[-1, :, -1] -= levels[0]
        return centroids

    def _padded(self, values: Float32s) -> Float32s:
        if values.shape[1] == self.dims:
            return values
        padded = np.zeros((len(values), self.dims), np.float32)
        padded[:, : values.shape[1]] = values
        return padded


def codec_for(spec: CodeSpec) -> Codec:
    """Return the codec of a code format."""
    return _CODECS[spec.format](spec)


def _number(spec: CodeSpec, flip: int = 0) -> NumberCodec:
    return NumberCodec(spec.dim, spec.row_bytes, spec.dtype, flip)


_CODECS: dict[Format, Callable[[CodeSpec], Codec]] = {
    "float32": _number,
    "float16": _number,
    "int8": lambda spec: _number(spec, flip=0x80),
    "uint8": _number,
    "int4": lambda spec: LevelCodec(spec, nibbles=spec.dim, per_nibble=1),
    "int2": lambda spec: LevelCodec(spec, nibbles=-(-spec.dim // 2), per_nibble=2),
    "int1": lambda spec: LevelCodec(spec, spec.dim // POINT_DIMS, per_nibble=POINT_DIMS),
    "binary": lambda spec: BitCodec(spec.width * 8, spec.width),
}

"""Codes as vectors of floats, as Qdrant takes them, and back; scores as distances.

Whole numbers become floats by a look-up of Python's own objects: making new ones is what costs
most of an upload.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import IndexSpec
from requant.quantizers.arrays import Codes

Vectors = list[list[float]]

_FLOATS = [float(value) for value in range(-128, 256)]
_BYTES = np.array(_FLOATS[128:], object)
_SIGNED = np.array(_FLOATS[128:256] + _FLOATS[:128], object)
_SIGNS = np.array([-1.0, 1.0], object)[np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], 1)]
_SHIFT = np.uint8(128)


def vectors_of(codes: Codes, spec: IndexSpec) -> Vectors:
    """Return codes `(n, w)` as lists of floats.

    >>> from requant.quantizers.codes import CodeSpec
    >>> vectors_of(np.array([[-128, 3]], np.int8), IndexSpec(CodeSpec("int8", 2), "l2"))
    [[0.0, 131.0]]
    """
    format = spec.code.format
    vectors: Vectors
    if format == "binary":
        vectors = _SIGNS.take(codes, axis=0).reshape(len(codes), -1).tolist()
    elif format == "uint8":
        vectors = _BYTES.take(codes).tolist()
    elif format == "int8" and spec.metric == "l2":
        vectors = _BYTES.take(codes.view(np.uint8) ^ _SHIFT).tolist()
    elif format == "int8":
        vectors = _SIGNED.take(codes.view(np.uint8)).tolist()
    else:
        vectors = codes.tolist()
    return vectors


def codes_of(vectors: list[Any], spec: IndexSpec) -> Codes:
    """Undo `vectors_of`."""
    format = spec.code.format
    values = np.array(vectors, np.float32).reshape(len(vectors), -1)
    if format == "binary":
        return np.packbits(values > 0, axis=1)
    if format == "int8" and spec.metric == "l2":
        return (values.astype(np.uint8) ^ _SHIFT).view(np.int8)
    codes: Codes = values.astype(spec.code.dtype, copy=False)
    return codes


def distances_of(scores: NDArray[np.float64], spec: IndexSpec, size: int) -> NDArray[np.float64]:
    """Return Qdrant's scores as distances: its Euclid is a root, its Dot the higher the nearer."""
    if spec.metric == "hamming":
        return (size - scores) / 2
    if spec.metric == "ip":
        return -scores
    squares = scores * scores
    return np.rint(squares) if spec.code.format in ("int8", "uint8") else squares

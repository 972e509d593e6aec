"""Codes and queries that look like embeddings: clustered, reproducible, in every format."""

from __future__ import annotations

import numpy as np

from requant.adapters.protocol import Keys
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.codes import POINT_BITS, POINT_DIMS, CodeSpec, Format, pack_levels

_LEVELS: dict[Format, tuple[float, ...]] = {
    "int4": tuple(np.linspace(-2.4, 2.4, 16).tolist()),
    "int2": (-1.5, -0.45, 0.45, 1.5),
    "int1": tuple(np.random.default_rng(1).normal(size=64).tolist()),  # 16 points of 4 values
}
_CLUSTERS = 48


def code_spec(format: Format, dim: int) -> CodeSpec:
    """Return a spec of `dim` values, or a few more, with levels where the format has any."""
    if format == "int1":
        dim = -(-dim // POINT_DIMS) * POINT_DIMS
    return CodeSpec(format, dim, _LEVELS.get(format, ()))


def make_codes(spec: CodeSpec, n: int, seed: int = 0) -> Codes:
    """Return `n` codes of `spec`, the same for the same seed.

    >>> make_codes(code_spec("int2", 6), 3).shape
    (3, 2)
    """
    return _encode(_values(n, spec.dim, seed), spec)


def make_queries(spec: CodeSpec, n: int, seed: int = 1_000_000) -> Codes:
    """Return `n` encoded queries from the same clusters: float32 for int4, int2 and int1."""
    values = _values(n, spec.dim, seed)
    return values if spec.levels else _encode(values, spec)


def make_keys(n: int, seed: int = 0) -> Keys:
    """Return `n` ascending keys with gaps, the last of them beyond 2**61."""
    steps = np.random.default_rng(seed).integers(1, 5, n)
    keys = np.cumsum(steps) - 1
    keys[n - n // 4 :] += 2**61
    return keys.astype(np.int64)


def _values(n: int, dim: int, seed: int) -> Float32s:
    centres = np.random.default_rng(dim).normal(size=(_CLUSTERS, dim))
    rng = np.random.default_rng([seed, dim])
    values = centres[rng.integers(0, _CLUSTERS, n)] + 0.6 * rng.normal(size=(n, dim))
    scaled: Float32s = (values / np.sqrt(1.36)).astype(np.float32)
    return scaled


def _encode(values: Float32s, spec: CodeSpec) -> Codes:
    if spec.format == "binary":
        return np.packbits(values > 0, axis=1)
    if spec.format == "int1":
        points = np.reshape(spec.levels, (-1, POINT_DIMS))
        groups = values.reshape(-1, POINT_DIMS)
        nearest = np.argmax(groups @ points.T - (points**2).sum(axis=1) / 2, axis=1).astype(
            np.uint8
        )
        return pack_levels(nearest.reshape(len(values), spec.dim // POINT_DIMS), POINT_BITS)
    if spec.levels:
        levels = np.asarray(spec.levels)
        indices = np.searchsorted((levels[1:] + levels[:-1]) / 2, values)
        return pack_levels(indices.astype(np.uint8), spec.bits)
    if spec.format in ("int8", "uint8"):
        whole = np.clip(np.rint(values * 40), -127, 127).astype(np.int16)
        return (whole + 128 if spec.format == "uint8" else whole).astype(spec.dtype)
    floats: Codes = values.astype(spec.dtype)
    return floats

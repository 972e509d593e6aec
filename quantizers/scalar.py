"""int8 and uint8: centred, one global symmetric scale.

One scale for all dimensions keeps the integer inner product proportional to the true one, so no
query has to be rescaled a dimension at a time, and a dead dimension stays at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from requant.quantizers.affine import Affine
from requant.quantizers.arrays import Codes, Float32s, as_vectors
from requant.quantizers.chunks import encode_in_chunks
from requant.quantizers.codes import CodeMetric, CodeSpec
from requant.quantizers.serial import State

_LIMIT = 127
# Clipping the outermost values may serve all the others better; these shares of them are tried.
_QUANTILES = (1.0, 0.99999, 0.9999, 0.9995, 0.999)
_SCALE_ROWS = 2000
_SCALE_VALUES = 1 << 20
_TINY = 1e-35


@dataclass(frozen=True, eq=False)
class ScalarQuantizer:
    """code = clip(rint(rotate(x - centre) / scale), -127, 127), plus 128 for uint8.

    >>> q = ScalarQuantizer.fit([[1.0, 0.0], [-1.0, 0.5]])
    >>> q.encode([[1.0, 0.25]]).tolist()
    [[127, 0]]
    """

    affine: Affine
    scale: float
    format: Literal["int8", "uint8"] = "int8"

    @classmethod
    def fit(
        cls,
        sample: ArrayLike,
        format: Literal["int8", "uint8"] = "int8",
        *,
        rotate: bool = False,
        seed: int = 0,
    ) -> ScalarQuantizer:
        """Learn centre and scale from `sample (n, d)`; raises InputError on an empty one."""
        vectors = as_vectors(sample, name="sample")
        affine = Affine.fit(vectors, centred=True, rotated=rotate, seed=seed)
        step = -(-len(vectors) // max(1, min(_SCALE_ROWS, _SCALE_VALUES // vectors.shape[1])))
        rows = np.ascontiguousarray(vectors[::step])
        scale = _best_scale(affine.forward(rows, np.empty_like(rows)))
        return cls(affine, scale, format)

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        return self.affine.dim

    @property
    def spec(self) -> CodeSpec:
        """The shape of the codes."""
        return CodeSpec(self.format, self.dim)

    @property
    def metrics(self) -> tuple[CodeMetric, ...]:
        """An offset changes the order under ip, so unsigned codes have l2 alone."""
        return ("ip", "l2") if self.format == "int8" else ("l2",)

    @property
    def uniform(self) -> bool:
        """All dimensions share one scale."""
        return True

    @property
    def oversample(self) -> float:
        """1.1 was measured on WordNet."""
        return 1.5

    def encode(self, vectors: ArrayLike) -> Codes:
        """Return `(n, d)` int8 or uint8 codes of `vectors (n, d)`."""
        floats = as_vectors(vectors, self.dim, finite=False)
        return encode_in_chunks(floats, self.spec, self._kernel)

    def encode_query(self, vectors: ArrayLike, metric: CodeMetric) -> Codes:
        """Return queries `(q, d)`: under ip rotated and scaled to +-127, under l2 as documents."""
        if metric == "l2":
            return self.encode(vectors)
        return fold(self.affine.direction(as_vectors(vectors, self.dim)))

    def decode(self, codes: Codes) -> Float32s:
        """Return the middle of each code's cell, `(n, d) float32`."""
        offset = 0 if self.format == "int8" else 128
        return self.affine.backward((codes.astype(np.float32) - offset) * np.float32(self.scale))

    def state(self) -> State:
        """Return what makes it."""
        return State("scalar", {"scale": self.scale, "format": self.format}, self.affine.arrays())

    @classmethod
    def from_state(cls, state: State) -> ScalarQuantizer:
        """Undo `state`."""
        affine = Affine.from_arrays(dict(state.arrays))
        return cls(affine, state.fields["scale"], state.fields["format"])

    def _kernel(self, rows: Float32s, scratch: Float32s, out: Codes) -> None:
        values = self.affine.forward(rows, scratch)
        values *= np.float32(1 / self.scale)
        np.rint(values, out=values)
        np.clip(values, -_LIMIT, _LIMIT, out=values)
        if self.format == "uint8":
            values += 128
        np.copyto(out, values, casting="unsafe")


def fold(queries: Float32s) -> Codes:
    """Scale each query `(q, d) float32` so that its largest value is +-127, and round to int8.

    A positive factor a query changes no order under the inner product.
    """
    largest = np.abs(queries).max(axis=1, keepdims=True)
    # The factor of a smaller maximum would overflow; such a query has no direction worth keeping.
    largest[largest < _TINY] = np.inf
    codes: Codes = np.rint(queries * (_LIMIT / largest)).astype(np.int8)
    return codes


def _best_scale(values: Float32s) -> float:
    """Return the width of one step that loses least: max or a high quantile, by squared error."""
    sizes = np.abs(values).ravel()
    limits = np.unique(np.quantile(sizes, _QUANTILES))
    scales = [float(limit) / _LIMIT for limit in limits if limit / _LIMIT > np.finfo("f4").tiny]
    return min(scales, key=lambda scale: _loss(sizes, scale), default=1.0)


def _loss(sizes: Float32s, scale: float) -> float:
    kept = np.minimum(np.rint(sizes / np.float32(scale)), _LIMIT) * np.float32(scale)
    return float(np.square(sizes - kept, dtype=np.float64).mean())

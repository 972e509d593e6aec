"""Random rotations: they spread what a few dimensions hold over all and keep every product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Float32s

# Below this a block mixes too few coordinates to make them look Gaussian.
_SMALLEST_BLOCK = 8


@dataclass(frozen=True, eq=False)
class Rotation:
    """An orthogonal matrix as the Kronecker product of `left (a, a)` and `right (b, b)`, a x b = d.

    A vector read as an `(a, b)` matrix M becomes `left @ M @ right`: two small products instead of
    one `(d, d)` product, at the same recall. Where d has no factors near its root (primes), `left`
    is `(1, 1)` and `right` is dense.
    """

    left: Float32s
    right: Float32s

    @classmethod
    def random(cls, dim: int, seed: int) -> Rotation:
        """Draw a rotation of `dim` dimensions; the same seed gives the same one."""
        rng = np.random.default_rng(seed)
        a = _factor(dim)
        return cls(_orthogonal(a, rng), _orthogonal(dim // a, rng))

    @property
    def dim(self) -> int:
        """Dimensions of the vectors it turns."""
        return len(self.left) * len(self.right)

    def apply(self, vectors: Float32s) -> Float32s:
        """Return `vectors (n, d) float32` turned, as a new array of the same shape."""
        n, a, b = len(vectors), len(self.left), len(self.right)
        rows = vectors.reshape(n * a, b)
        if len(rows) == 1:
            # BLAS sums a lone row in another order, and codes must not depend on the batch.
            return self.apply(np.repeat(vectors, 2, axis=0))[:1]
        turned = rows @ self.right
        if a > 1:
            turned = np.matmul(self.left, turned.reshape(n, a, b))
        result: Float32s = turned.reshape(n, a * b)
        return result

    def undo(self, vectors: Float32s) -> Float32s:
        """Return `vectors (n, d) float32` turned back."""
        return Rotation(self.left.T, self.right.T).apply(np.ascontiguousarray(vectors))


def _factor(dim: int) -> int:
    """Return the divisor of `dim` nearest its root from below; 1 if its blocks would be tiny."""
    best = max(a for a in range(1, int(dim**0.5) + 1) if dim % a == 0)
    return best if best >= _SMALLEST_BLOCK else 1


def _orthogonal(size: int, rng: np.random.Generator) -> Float32s:
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    # QR alone favours some rotations; the signs of R's diagonal make it uniform (Mezzadri 2007).
    signs: NDArray[np.float64] = np.where(np.diag(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray(q * signs, np.float32)

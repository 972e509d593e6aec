"""What int8, the levels and the thermometers share: take the mean away, then perhaps rotate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Float32s
from requant.quantizers.errors import CorruptDataError, InputError
from requant.quantizers.rotation import Rotation

_FAR = np.float32(1e6)


@dataclass(frozen=True, eq=False)
class Affine:
    """`x -> rotate(x - centre)`: distances stay, and products change by a constant a query."""

    centre: Float32s
    rotation: Rotation | None

    @classmethod
    def fit(cls, sample: Float32s, *, centred: bool, rotated: bool, seed: int) -> Affine:
        """Learn the mean of `sample (n, d) float32` and draw a rotation."""
        if len(sample) == 0:
            raise InputError("a quantizer cannot be fitted on an empty sample")
        dim = sample.shape[1]
        mean = sample.mean(axis=0, dtype=np.float64) if centred else np.zeros(dim)
        return cls(mean.astype(np.float32), Rotation.random(dim, seed) if rotated else None)

    @property
    def dim(self) -> int:
        """Dimensions in and out."""
        return len(self.centre)

    def forward(self, rows: Float32s, scratch: Float32s) -> Float32s:
        """Return `rows (n, d)` centred and rotated, in `scratch` or a new array."""
        np.subtract(rows, self.centre, out=scratch)
        return self.rotation.apply(scratch) if self.rotation else scratch

    def scaled(self, rows: Float32s, scratch: Float32s, sigma: float) -> Float32s:
        """Return `rows (n, d)` centred, rotated and in units of `sigma`, in `scratch` or anew.

        What is far outside the sample is clipped, so that squares stay finite.
        """
        values = self.forward(rows, scratch)
        values *= np.float32(1 / sigma)
        return np.clip(values, -_FAR, _FAR, out=values)

    def direction(self, rows: Float32s) -> Float32s:
        """Return `rows (n, d)` rotated only: the centre adds a constant to every product."""
        return self.rotation.apply(rows) if self.rotation else rows

    def backward(self, rows: Float32s) -> Float32s:
        """Undo `forward`."""
        back = self.rotation.undo(rows) if self.rotation else rows
        result: Float32s = back + self.centre
        return result

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the arrays that make it, for serialisation."""
        arrays = {"centre": self.centre}
        if self.rotation:
            arrays |= {"left": self.rotation.left, "right": self.rotation.right}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.float32]]) -> Affine:
        """Undo `arrays`."""
        rotation = Rotation(arrays["left"], arrays["right"]) if "left" in arrays else None
        if rotation and rotation.dim != len(arrays["centre"]):
            raise CorruptDataError("a rotation of another dimension than its centre")
        return cls(arrays["centre"], rotation)

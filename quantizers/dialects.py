"""Codes of other libraries, bit for bit, so that indexes built with them go on being searched.

sentence-transformers (6.x) `quantize_embeddings`: a range [min, max] a dimension, 255 steps,
`uint8 = clip(floor((x - min) / step), 0, 255)`, `int8 = uint8 - 128`; releases up to 5.1 cut and
wrap instead (`requant.quantizers.dialect_codes`). A step a dimension means that a plain inner
product of codes ranks wrong; folding the steps into the query repairs that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from requant.quantizers.arrays import Codes, Float32s, as_vectors
from requant.quantizers.codes import CodeMetric, CodeSpec
from requant.quantizers.dialect_codes import Release, min_max_codes
from requant.quantizers.errors import InputError
from requant.quantizers.scalar import fold
from requant.quantizers.serial import State


@dataclass(frozen=True, eq=False)
class MinMaxQuantizer:
    """The int8 and uint8 codes of sentence-transformers, from `ranges (2, d)`: minima, maxima.

    >>> q = MinMaxQuantizer.from_ranges([[0.0, 0.0], [255.0, 510.0]], "uint8")
    >>> q.encode([[3.7, 510.0]]).tolist()
    [[3, 255]]
    """

    ranges: Float32s
    format: Literal["int8", "uint8"] = "int8"
    release: Release = "6"

    @classmethod
    def fit(
        cls,
        sample: ArrayLike,
        format: Literal["int8", "uint8"] = "int8",
        *,
        release: Release = "6",
    ) -> MinMaxQuantizer:
        """Take the minima and maxima of `sample (n, d)`; raises InputError on fewer than 2 rows."""
        vectors = as_vectors(sample, name="sample")
        if len(vectors) < 2:
            raise InputError(f"ranges need at least 2 sample rows, not {len(vectors)}")
        return cls(np.stack([vectors.min(axis=0), vectors.max(axis=0)]), format, release)

    @classmethod
    def from_ranges(
        cls,
        ranges: ArrayLike,
        format: Literal["int8", "uint8"] = "int8",
        *,
        release: Release = "6",
    ) -> MinMaxQuantizer:
        """Use known ranges, `(2, d)`: the minima and the maxima of each dimension."""
        bounds = as_vectors(ranges, name="ranges")
        if len(bounds) != 2:
            raise InputError(f"ranges must have shape (2, d), not {bounds.shape}")
        if (bounds[0] > bounds[1]).any():
            dim = int((bounds[0] > bounds[1]).argmax())
            raise InputError(f"ranges: the minimum of dimension {dim} exceeds its maximum")
        return cls(bounds, format, release)

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        return int(self.ranges.shape[1])

    @property
    def spec(self) -> CodeSpec:
        """The shape of the codes."""
        return CodeSpec(self.format, self.dim)

    @property
    def metrics(self) -> tuple[CodeMetric, ...]:
        """The folded query makes ip exact; l2 on codes weighs the dimensions unequally."""
        return ("ip", "l2") if self.format == "int8" else ("l2",)

    @property
    def uniform(self) -> bool:
        """Each dimension has a scale of its own."""
        return False

    @property
    def steps(self) -> Float32s:
        """The width of one code in each dimension, 1 where the range is empty."""
        steps: Float32s = (self.ranges[1] - self.ranges[0]) / np.float32(255)
        steps[steps == 0] = 1
        return steps

    @property
    def oversample(self) -> float:
        """1.1 was measured on WordNet with the steps folded in."""
        return 2.0

    def encode(self, vectors: ArrayLike) -> Codes:
        """Return `(n, d)` int8 or uint8, equal bit for bit to sentence-transformers' codes."""
        floats = as_vectors(vectors, self.dim, finite=False)
        return min_max_codes(floats, self.ranges, self.format, self.release)

    def encode_query(self, vectors: ArrayLike, metric: CodeMetric) -> Codes:
        """Return queries `(q, d)`: under ip with the steps folded in, under l2 as documents."""
        if metric == "l2":
            return self.encode(vectors)
        widths = self.ranges[1] - self.ranges[0]
        # A dead dimension's codes are noise or a constant: it must not take the query's range.
        dead = widths <= np.finfo(np.float32).eps * widths.max()
        return fold(as_vectors(vectors, self.dim) * np.where(dead, np.float32(0), self.steps))

    def decode(self, codes: Codes) -> Float32s:
        """Return the middle of each code's cell, `(n, d) float32`."""
        steps = (self.ranges[1] - self.ranges[0]) / np.float32(255)
        values = codes.astype(np.float32)
        if self.release == "5" and self.format == "int8":
            # Truncated after the shift: the cell of a negative code lies below it.
            values += np.sign(values) * np.float32(0.5)
        else:
            values += np.float32(0.5)
        values += 128 if self.format == "int8" else 0
        values *= steps
        values += self.ranges[0]
        return np.clip(values, self.ranges[0], self.ranges[1], out=values)

    def state(self) -> State:
        """Return what makes it."""
        fields: dict[str, str] = {"format": self.format}
        if self.release != "6":
            fields["release"] = self.release
        return State("min-max", fields, {"ranges": self.ranges})

    @classmethod
    def from_state(cls, state: State) -> MinMaxQuantizer:
        """Undo `state`."""
        release = state.fields.get("release", "6")
        return cls(state.arrays["ranges"], state.fields["format"], release)

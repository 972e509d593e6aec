"""No quantization here: float32 as it is, float16 rounded, native left to the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from requant.quantizers.arrays import Codes, Float32s, as_vectors
from requant.quantizers.chunks import encode_in_chunks
from requant.quantizers.codes import CodeMetric, CodeSpec
from requant.quantizers.serial import State

_FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class FloatQuantizer:
    """Codes that are floats.

    >>> FloatQuantizer(2, "float16").encode([[0.1, 1e9]]).tolist()
    [[0.0999755859375, 65504.0]]
    """

    dim: int
    format: Literal["float32", "float16", "native"] = "float32"

    @property
    def spec(self) -> CodeSpec:
        """The shape of the codes."""
        return CodeSpec(self.format, self.dim)

    @property
    def metrics(self) -> tuple[CodeMetric, ...]:
        """Both metrics rank as the vectors do."""
        return ("ip", "l2")

    @property
    def uniform(self) -> bool:
        """Nothing is scaled."""
        return True

    @property
    def oversample(self) -> float:
        """None to spare for float32; float16 swaps near neighbours, native has a bit a value."""
        return {"float32": 1.0, "float16": 1.5, "native": 10.0}[self.format]

    def encode(self, vectors: ArrayLike) -> Codes:
        """Return `vectors (n, d)` as float32 or float16, clipped to the largest float16."""
        floats = as_vectors(vectors, self.dim)
        if self.format != "float16":
            return floats
        return encode_in_chunks(floats, self.spec, _to_float16)

    def encode_query(self, vectors: ArrayLike, metric: CodeMetric) -> Codes:
        """Return the queries in the format of the codes."""
        return self.encode(vectors)

    def decode(self, codes: Codes) -> Float32s:
        """Return `(n, d) float32`."""
        return codes.astype(np.float32)

    def state(self) -> State:
        """Return dimension and format."""
        return State("float", {"dim": self.dim, "format": self.format}, {})

    @classmethod
    def from_state(cls, state: State) -> FloatQuantizer:
        """Undo `state`."""
        return cls(state.fields["dim"], state.fields["format"])


def _to_float16(rows: Float32s, scratch: Float32s, out: Codes) -> None:
    np.clip(rows, -_FLOAT16_MAX, _FLOAT16_MAX, out=scratch)
    out[:] = scratch

"""What every quantizer can do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from numpy.typing import ArrayLike

from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.codes import CodeMetric, CodeSpec
from requant.quantizers.serial import State


class Quantizer(Protocol):
    """Turns `(n, d) float32` into codes. Frozen once fitted; equal bytes mean equal codes."""

    @property
    def dim(self) -> int:
        """Dimensions of the vectors it takes."""
        ...

    @property
    def spec(self) -> CodeSpec:
        """The shape of its codes."""
        ...

    @property
    def metrics(self) -> tuple[CodeMetric, ...]:
        """The metrics on its codes that rank as the vectors do, the more faithful first."""
        ...

    @property
    def uniform(self) -> bool:
        """Whether each dimension counts alike, so that ip and l2 rank normalised vectors alike."""
        ...

    @property
    def oversample(self) -> float:
        """Candidates a result that reached recall 0.99 on real embeddings, with some to spare."""
        ...

    def encode(self, vectors: ArrayLike) -> Codes:
        """Return the codes of `vectors (n, d)`, shape `(n, spec.width)`."""
        ...

    def encode_query(self, vectors: ArrayLike, metric: CodeMetric) -> Codes:
        """Return queries `(q, spec.query_width)` to compare with codes under `metric`."""
        ...

    def decode(self, codes: Codes) -> Float32s:
        """Return what the codes stand for, `(n, d) float32`, as far as that is possible."""
        ...

    def state(self) -> State:
        """Return what makes this quantizer, for `requant.quantizers.to_bytes`."""
        ...


@runtime_checkable
class Refining(Protocol):
    """A quantizer that can tell candidates apart better than the metric on codes does."""

    def estimate(self, query: Float32s, codes: Codes) -> Float32s:
        """Return how near `codes (m, w)` are to one query `(1, d) float32`, higher is nearer."""
        ...

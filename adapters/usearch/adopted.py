"""usearch indexes that people hold in their hands, searched as they are: nothing is copied."""

from __future__ import annotations

from typing import Any

from usearch.index import Index, MetricKind, ScalarKind

from requant.adapters.protocol import Candidates, IndexSpec, Keys
from requant.adapters.usearch.graph import GraphIndex
from requant.quantizers.arrays import Codes
from requant.quantizers.codes import CodeMetric, CodeSpec, Format
from requant.quantizers.errors import InputError, UnsupportedError

_FORMATS: dict[Any, Format] = {
    ScalarKind.F32: "float32",
    ScalarKind.I8: "int8",
    ScalarKind.B1: "binary",
}
_METRICS: dict[Any, CodeMetric] = {
    MetricKind.IP: "ip",
    MetricKind.Cos: "ip",
    MetricKind.L2sq: "l2",
    MetricKind.Hamming: "hamming",
}
# A graph of fewer links was made to be scanned.
_LEAST_LINKS = 4


class AdoptedIndex(GraphIndex):
    """A usearch index as it was handed over.

    Under usearch's metric `cos` the order is that of the cosine, and the distances, 1 - cosine,
    are told as if they were of the inner product of unit vectors.
    """

    def __init__(self, inner: Any, exact: bool) -> None:
        """Tell what `inner` holds; `exact` searches compare every code."""
        if not isinstance(inner, Index):
            raise InputError(f"a {type(inner).__name__} is no usearch index")
        format, metric = _FORMATS.get(inner.dtype), _METRICS.get(inner.metric_kind)
        if format is None or metric is None or (format == "binary") != (metric == "hamming"):
            raise InputError(
                f"a usearch index of dtype {inner.dtype} and metric {inner.metric_kind} is none of "
                "f32 and i8 under ip, cos or l2sq, and b1 under hamming"
            )
        if not exact and inner.connectivity < _LEAST_LINKS:
            raise InputError(
                f"this usearch index has {inner.connectivity} links a node, which is enough to "
                "hold codes for exact search and too few for a graph: build it with exact=False"
            )
        self._exact = exact
        super().__init__(IndexSpec(CodeSpec(format, inner.ndim), metric), inner)

    @property
    def spec(self) -> IndexSpec:
        """What the index holds."""
        return self._spec

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Refuse: the index is somebody else's."""
        raise UnsupportedError("an index made by another program is searched, not written to")

    def delete(self, keys: Keys) -> int:
        """Refuse: the index is somebody else's."""
        raise UnsupportedError("an index made by another program is searched, not written to")

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Walk the graph, or compare every code."""
        if not self._exact:
            return super().search(queries, k, among, effort, codes)
        want = min(k, len(self)) if len(queries) else 0
        if not want:
            return super().search(queries, k, among, None, codes)
        return self._answer(*self._matches(queries, want, exact=True), k, codes)

    def save(self, location: str) -> None:
        """Refuse: the index is somebody else's."""
        raise UnsupportedError("an index made by another program is written by that program")

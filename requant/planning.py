"""Which metric on codes ranks as a collection's metric does, for a quantizer and an engine."""

from __future__ import annotations

from requant.adapters.protocol import IndexType, Support
from requant.errors import UnsupportedError
from requant.quantizers.codes import CodeMetric
from requant.quantizers.protocol import Quantizer
from requant.store.schema import Metric


def wanted_metrics(metric: Metric, index_type: IndexType) -> tuple[CodeMetric, ...]:
    """Return the metrics on codes that rank as `metric` does, the better one first.

    Cosine is computed on normalised vectors, where inner product and distance agree; graphs are
    navigated by a distance more safely than by a product.
    """
    if metric == "ip":
        return ("ip", "hamming")
    if metric == "l2":
        return ("l2", "hamming")
    return ("l2", "ip", "hamming") if index_type == "hnsw" else ("ip", "l2", "hamming")


def choose_metric(
    metric: Metric, quantizer: Quantizer, support: Support, engine: str
) -> CodeMetric:
    """Return the metric on codes; raises UnsupportedError if quantizer and engine share none."""
    for choice in wanted_metrics(metric, support.index_type):
        if choice in quantizer.metrics and choice in support.metrics:
            return choice
    raise UnsupportedError(
        f"{engine} cannot rank {support.format}/{support.index_type} codes as metric {metric!r} "
        f"does: the codes can be compared by {', '.join(quantizer.metrics)}, the engine compares "
        f"by {', '.join(support.metrics)}; use precision 'int8' or 'float32'"
    )
